"""The Recipe: everything that decides what a run does, as typed sections with defaults, ranges and a word on each.

What makes the experiment stands in the shared sections (model, audio, text, optim, batches, run); the device sections
(cpu, cuda, mps, ipu) only say how it is carried out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from asrctl.config.model_config import MAX_LAYERS, MAX_WIDTH
from asrctl.storage import records

DEVICES = ("cpu", "cuda", "mps", "ipu", "ipu-emulated")
# What nobody means to exceed. Every number has limits on both sides: none is found out by memory that runs out.
MAX_STEPS = 10**9
MAX_BATCH = 1_000_000
MAX_AUDIO_S = 1e7
MAX_WORKERS = 1024
MAX_IPUS = 4096
# As model.language_from: nothing; no code of a language is as long.
SCRATCH = "scratch"


def key(default: Any, doc: str, **limits: Any) -> Any:
    """A preset key. limits: `choices`, `low`, `high` (inclusive), `above`, `below` (exclusive)."""
    metadata = dict(limits, doc=doc)
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class SpecAugment:
    """Masks over time and feature channels (Park et al. 2019, as wav2vec 2.0 applies them to the encoder's output)."""

    time_prob: float = key(0.0, "share of frames that start or continue a time mask", low=0, high=1)
    time_length: int = key(10, "frames a time mask spans", low=1, high=10_000)
    feature_prob: float = key(0.0, "share of channels masked", low=0, high=1)
    feature_length: int = key(10, "channels a mask spans", low=1, high=MAX_WIDTH)


@dataclass(frozen=True)
class LoraSection:
    """Small matrices that learn beside frozen ones (LoRA, Hu et al. 2021), together with the head."""

    rank: int = key(0, "columns of the matrices that learn beside frozen ones; 0: no LoRA", low=0, high=4096)
    alpha: float = key(16.0, "what is learned counts alpha / rank (rslora: alpha / sqrt(rank))", above=0, high=1e6)
    dropout: float = key(0.0, "dropout before these matrices", low=0, below=1)
    targets: Tuple[str, ...] = key(
        (), "ends of the names of linear layers (q_proj, v_proj ...); none: all of the transformer layers"
    )
    variant: str = key(
        "lora",
        "lora; rslora (Kalajdzievski 2023), for high ranks; or dora, which learns lengths as well (Liu et al. 2024)",
        choices=("lora", "rslora", "dora"),
    )
    base: str = key(
        "fp32",
        "what frozen matrices are kept in: fp32; bf16, where training is in bf16; or int8 (LLM.int8, Dettmers et al. "
        "2022), those of the transformer layers",
        choices=("fp32", "bf16", "int8"),
    )


@dataclass(frozen=True)
class ModelSection:
    checkpoint: Optional[str] = key(None, "hub name or folder to start from; null: from scratch, by `config`")
    revision: Optional[str] = key(None, "revision of the hub checkpoint")
    architecture: str = key("wav2vec2", "model type of transformers; `asrctl support` names them")
    config: Dict[str, Any] = key({}, "further keys of the transformers configuration")
    head: str = key(
        "keep",
        "a head that does not fit the vocabulary is refused (keep) or drawn anew (reinit)",
        choices=("keep", "reinit"),
    )
    language: Optional[str] = key(
        None,
        "language of a checkpoint of many (MMS): its adapter, head and vocabulary are taken, and only these learn; "
        "null: all of the model",
    )
    language_from: Optional[str] = key(
        None,
        "where the checkpoint has no adapter for model.language: the language whose one is started from, or scratch",
    )
    lora: LoraSection = field(default_factory=LoraSection)
    freeze_feature_encoder: bool = key(True, "leave the convolutional encoder as it is")
    freeze: Tuple[str, ...] = key(
        (), 'weights that do not learn: patterns of their names on disk, such as "*.encoder.layers.0.*", in quotes'
    )
    freeze_layers: int = key(
        0, "so many of the lowest transformer layers do not learn, nor does what comes before", low=0, high=MAX_LAYERS
    )
    hidden_dropout: float = key(0.1, "dropout after attention and feed-forward", low=0, below=1)
    attention_dropout: float = key(0.1, "dropout of attention weights", low=0, below=1)
    activation_dropout: float = key(0.1, "dropout inside the feed-forward", low=0, below=1)
    feat_proj_dropout: float = key(0.0, "dropout after the feature projection", low=0, below=1)
    final_dropout: float = key(0.0, "dropout before the head", low=0, below=1)
    layerdrop: float = key(0.0, "probability to skip a transformer layer", low=0, high=1)
    ctc_loss_reduction: str = key(
        "mean", "mean: each utterance's loss over its labels; sum: as it is", choices=("mean", "sum")
    )
    ctc_zero_infinity: bool = key(False, "an impossible alignment gives loss 0 instead of infinity")
    spec_augment: SpecAugment = field(default_factory=SpecAugment)
    blank_bias: float = key(
        0.0, "added to the blank's bias of a new head; negative shortens the all-blank plateau", low=-1e6, high=1e6
    )
    filterbank: bool = key(False, "from scratch: the first two convolutions start as a mel-spaced filter bank")


@dataclass(frozen=True)
class AudioSection:
    sample_rate: int = key(16000, "samples per second", low=4000, high=48000)
    min_s: float = key(0.0, "shortest utterance kept, in seconds", low=0, high=600)
    max_s: float = key(20.0, "longest utterance kept, in seconds", above=0, high=600)


@dataclass(frozen=True)
class TextSection:
    case: str = key("lower", "case policy of transcripts", choices=("lower", "upper", "keep"))
    remove: str = key("", "plain characters dropped from transcripts; letters in both cases, unless case is keep")
    language: Optional[str] = key(
        None, "code of a language (tr, ar, de-CH ...) whose settled spelling is applied; null: none"
    )
    replace: Dict[str, str] = key(
        {}, "texts that are replaced, {text: replacement}, or the name of a YAML file of them"
    )
    phonemes: Optional[str] = key(None, "voice of eSpeak NG (en-us, de ...) whose phonemes are learned; null: letters")
    vocab_splits: Tuple[str, ...] = key(("train",), "splits whose characters make the vocabulary")
    word_delimiter: str = key("|", "token that stands for the space")
    unk: str = key("[UNK]", "token of unknown characters")
    pad: str = key("[PAD]", "token of padding and the CTC blank")


@dataclass(frozen=True)
class Augment:
    """Changes to the training audio, drawn anew for each utterance and epoch."""

    speed: float = key(0.0, "playing speed varies by up to this share either way", low=0, high=0.5)
    gain_db: float = key(
        0.0, "loudness varies by up to this many dB; without effect where the model normalizes", low=0, high=40
    )
    eq_db: float = key(0.0, "standard deviation, in dB, of a random equalizer", low=0, high=20)
    vtlp: float = key(0.0, "formants move by up to this share either way, as of another vocal tract", low=0, high=0.4)
    noise_snr_db: Optional[float] = key(
        None,
        "utterances get noise at this signal-to-noise ratio or up to 30 dB better; null: none",
        low=-100,
        high=100,
    )
    noise_share: float = key(0.5, "share of the utterances that get noise", low=0, high=1)
    noise_files: Optional[str] = key(None, "folder of recordings to take the noise from; null: it is made")
    reverb_share: float = key(0.0, "share of the utterances that sound as in a room", low=0, high=1)
    reverb_files: Optional[str] = key(None, "folder of recorded impulse responses; null: rooms are simulated")
    clip_share: float = key(
        0.0, "share of the utterances that are clipped, up to a tenth of their samples", low=0, high=1
    )
    low_pass_share: float = key(0.0, "share of the utterances that lose high frequencies", low=0, high=1)
    low_pass_hz: float = key(1500.0, "lowest cutoff of that", low=200, high=24_000)
    codec_share: float = key(0.0, "share of the utterances that go through a codec", low=0, high=1)
    codecs: Tuple[str, ...] = key(
        ("telephone", "opus", "mp3"), "which, each as often", choices=("telephone", "gsm", "opus", "mp3", "vorbis")
    )
    join: int = key(1, "up to this many utterances are joined into one", low=1, high=16)

    @property
    def changes_lengths(self) -> bool:
        """Whether an item of a batch may be longer or shorter than its utterance."""
        return self.speed > 0 or self.join > 1


@dataclass(frozen=True)
class OptimSection:
    optimizer: str = key("adamw", "adamw, or lamb on the IPU", choices=("adamw", "lamb"))
    global_batch: int = key(
        32, "utterances per optimizer step, over all devices and micro-batches", low=1, high=MAX_BATCH
    )
    global_batch_s: Optional[float] = key(
        None,
        "instead: about this many seconds of audio per step, however many utterances that is",
        above=0,
        high=MAX_AUDIO_S,
    )
    learning_rate: float = key(1e-4, "peak learning rate", above=0, high=1e10)
    schedule: str = key(
        "linear",
        "linear or cosine (warm-up, then to zero), tri-stage or constant",
        choices=("linear", "cosine", "tri-stage", "constant"),
    )
    warmup_steps: int = key(0, "steps of warm-up (not for tri-stage)", low=0, high=MAX_STEPS)
    warmup_share: float = key(0.0, "instead: warm-up as a share of all steps", low=0, high=0.9)
    tri_stage: Tuple[float, ...] = key((0.1, 0.4, 0.5), "shares of warm-up, hold and decay", low=0, high=1)
    tri_stage_final: float = key(0.05, "learning rate at the end of tri-stage, as a share of the peak", above=0, high=1)
    epochs: float = key(1.0, "passes over the training split", above=0, high=1e6)
    max_steps: Optional[int] = key(None, "optimizer steps; wins over epochs", low=1, high=MAX_STEPS)
    weight_decay: float = key(0.0, "decoupled weight decay, on matrices only (no biases, no norms)", low=0, high=1e6)
    layer_decay: float = key(
        1.0,
        "learning rate of each layer as a share of that of the one above it (Clark et al. 2020, arXiv 2003.10555); "
        "1: one rate for all",
        above=0,
        high=1,
    )
    head_only_steps: int = key(
        0, "steps in which only the head learns (Baevski et al. 2020, arXiv 2006.11477)", low=0, high=MAX_STEPS
    )
    unfreeze_every: int = key(
        0,
        "steps after which one more layer learns, from the top down (Howard and Ruder 2018, arXiv 1801.06146); "
        "0: all at once",
        low=0,
        high=MAX_STEPS,
    )
    ema_decay: Optional[float] = key(
        None,
        "decay of a moving average of the weights, which is then evaluated and kept, such as 0.999 (Tarvainen and "
        "Valpola 2017, arXiv 1703.01780); null: none",
        low=0,
        below=1,
    )
    adam_betas: Tuple[float, ...] = key((0.9, 0.999), "Adam's decay rates", low=0, below=1)
    adam_eps: float = key(1e-8, "Adam's epsilon", above=0, high=1e6)
    adam_bias_correction: bool = key(True, "false: as IPUTrainer's AdamW does")
    max_grad_norm: Optional[float] = key(1.0, "gradient norm is clipped to this; null: no clipping", above=0, high=1e12)
    seed: int = key(42, "of data order, initialization, dropout and masks", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class BatchesSection:
    shapes: str = key(
        "free", "free: batches of like lengths; static: all padded to max_s and max_labels", choices=("free", "static")
    )
    order: str = key(
        "shuffled",
        "shuffled; grouped by length; or curriculum: from short to long in the first epoch, then shuffled",
        choices=("shuffled", "grouped", "curriculum"),
    )
    drop_last: bool = key(False, "leave out the last, smaller batch of an epoch")
    max_labels: int = key(500, "labels a static batch is padded to", low=1, high=20_000)
    augment: Augment = field(default_factory=Augment)


@dataclass(frozen=True)
class RunSection:
    eval_every: Optional[int] = key(None, "steps between evaluations; null: each epoch", low=1, high=MAX_STEPS)
    save_every: Optional[int] = key(None, "steps between checkpoints; null: as eval_every", low=1, high=MAX_STEPS)
    log_every: int = key(10, "steps between lines of metrics.jsonl", low=1, high=MAX_STEPS)
    keep: int = key(1, "checkpoints kept beside the best", low=1, high=1_000_000)
    early_stopping: Optional[int] = key(
        None, "evaluations without a better WER, or at equal WER CER, after which training stops", low=1, high=MAX_STEPS
    )
    max_silent_steps: Optional[int] = key(
        20000,
        "steps in which every hypothesis is empty after which a run is given up; null: never",
        low=1,
        high=MAX_STEPS,
    )
    eval_max_utterances: Optional[int] = key(
        None, "evaluate on a seeded sample of this many; null: all", low=1, high=MAX_STEPS
    )
    guard: Optional[str] = key(
        None, "prepared data heard before training and at each evaluation: stop where it gets worse, beyond chance"
    )


@dataclass(frozen=True)
class HostSection:
    """How cpu, cuda or mps carries the recipe out."""

    precision: str = key(
        "auto", "auto: bf16 where the chip has it in hardware, else fp32", choices=("auto", "fp32", "bf16", "fp16")
    )
    micro_batch: Optional[int] = key(None, "most utterances in a micro-batch; null: no limit", low=1, high=MAX_BATCH)
    micro_batch_s: Optional[float] = key(
        None,
        "most seconds of padded audio in a micro-batch; null: found by trial on cuda, 45 elsewhere",
        above=0,
        high=MAX_AUDIO_S,
    )
    eval_batch_s: float = key(120.0, "most seconds of padded audio in an evaluation batch", above=0, high=MAX_AUDIO_S)
    workers: int = key(2, "threads that read and collate ahead of training", low=0, high=MAX_WORKERS)
    engine: str = key(
        "auto",
        "packed: frames of all utterances end to end, where shapes are free and the model is known; plain: "
        "transformers' own passes over padded batches; auto: packed on cpu and cuda, plain elsewhere",
        choices=("auto", "packed", "plain"),
    )
    gradient_checkpointing: bool = key(
        False,
        "compute each layer's inner values again for the backward pass instead of keeping them: less memory, a third "
        "more time (Chen et al. 2016, arXiv 1604.06174)",
    )
    cache_features: bool = key(
        True, "keep a frozen encoder's output on disk between epochs (packed, audio not augmented)"
    )
    cache_gb: float = key(
        100.0, "most GB of disk for that, of all runs; at most half of what is free", above=0, high=1e6
    )


@dataclass(frozen=True)
class IpuSection:
    """Graphcore IPU pipeline; the names are those of optimum-graphcore's IPUConfig where it has them."""

    layers_per_ipu: Tuple[int, ...] = key(
        (),
        "7 conv + 1 positional + N transformer + 1 head layers, by IPU; -1: a share of the rest; [-1]: all alike",
        low=-1,
        high=2 * MAX_LAYERS,
    )
    ipus_per_replica: int = key(1, "IPUs a replica spans", low=1, high=MAX_IPUS)
    micro_batch: int = key(1, "utterances per micro-batch", low=1, high=10_000)
    replication: int = key(1, "replicas of the pipeline", low=1, high=MAX_IPUS)
    pod: Optional[int] = key(
        None, "IPUs of the pod; multiplies replicas and the global batch as published", low=1, high=MAX_IPUS
    )
    inference_replication: int = key(1, "replicas for evaluation", low=1, high=MAX_IPUS)
    device_iterations: int = key(1, "global batches per call while training", low=1, high=100_000)
    inference_device_iterations: int = key(1, "micro-batches per call while evaluating", low=1, high=100_000)
    matmul_proportion: Tuple[float, ...] = key((), "memory share of matrix products, by IPU", low=0, high=1)
    optimizer_state_offchip: bool = key(False, "keep the optimizer's state in the host's memory")
    replicated_tensor_sharding: bool = key(True, "share optimizer state among replicas")
    recompute_checkpoint_every_layer: bool = key(False, "keep activations only at layer borders")
    enable_half_partials: bool = key(True, "accumulate matrix products in fp16")
    precision: str = key("fp16", "fp16 or fp32", choices=("fp16", "fp32"))
    loss_scaling: Optional[float] = key(None, "factor of the loss; null: the library's default", above=0, high=2.0**40)
    auto_loss_scaling: bool = key(False, "let the device choose the factor")
    output_mode: str = key(
        "all", "losses that come back; final: the last micro-batch's only", choices=("final", "all", "sum")
    )
    dataloader_mode: str = key(
        "async_rebatched", "how batches reach the device", choices=("sync", "async", "async_rebatched")
    )
    dataloader_workers: int = key(8, "processes that make batches", low=0, high=MAX_WORKERS)
    hosts: int = key(1, "hosts of the pod, for poprun", low=1, high=MAX_IPUS)


@dataclass(frozen=True)
class Recipe:
    """A resolved preset. `as_dict` is what is stored with a run; `experiment` is the part that makes the result."""

    name: str = key("custom", "name of the preset")
    description: str = key("", "what it is for, in a sentence")
    model: ModelSection = field(default_factory=ModelSection)
    audio: AudioSection = field(default_factory=AudioSection)
    text: TextSection = field(default_factory=TextSection)
    optim: OptimSection = field(default_factory=OptimSection)
    batches: BatchesSection = field(default_factory=BatchesSection)
    run: RunSection = field(default_factory=RunSection)
    cpu: HostSection = field(default_factory=HostSection)
    cuda: HostSection = field(default_factory=HostSection)
    mps: HostSection = field(default_factory=HostSection)
    ipu: Optional[IpuSection] = field(default=None)

    def host(self, device_type: str) -> HostSection:
        """The section of a host device: cpu, cuda or mps."""
        return {"cpu": self.cpu, "cuda": self.cuda, "mps": self.mps}[device_type]

    def as_dict(self) -> Dict[str, Any]:
        """Plain JSON/YAML values, every key spelled out."""
        return records.as_dict(self)

    def experiment(self) -> Dict[str, Any]:
        """What must not change between a run and its resumption: all but names, devices, limits and bookkeeping."""
        values = self.as_dict()
        for name in ("name", "description", "run", "cpu", "cuda", "mps"):
            values.pop(name)
        for name in ("epochs", "max_steps"):
            values["optim"].pop(name)
        if values["ipu"] is not None:
            values["ipu"].pop("dataloader_workers")
        return values
