"""recipe + vocabulary -> model; folders of weights -> model and back. No code of a checkpoint ever runs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from asrctl import acoustics, checksums, compat, configs, files, filterbank, processor, trees
from asrctl.errors import BadData, PresetError
from asrctl.features import FeatureRules
from asrctl.ownership import MODEL
from asrctl.recipe import ModelSection
from asrctl.text import Vocabulary
from asrctl.weights import FIX_FOLDER, find_checkpoint, read_config, read_weights, write_tensors

ARCHITECTURES = {
    "wav2vec2": "Wav2Vec2ForCTC",
    "hubert": "HubertForCTC",
    "wavlm": "WavLMForCTC",
    "data2vec-audio": "Data2VecAudioForCTC",
}
HEAD = ("lm_head.weight", "lm_head.bias")
# A model that was trained without SpecAugment has no such weight; it is drawn anew when masks are switched on.
_MASK_EMBEDDING = "masked_spec_embed"
# Parts of pre-training checkpoints that a CTC model has no use for.
_PRETRAINING = ("quantizer.", "project_q.", "project_hid.", "dropout_features.", "label_embeddings_concat")


@dataclass
class Recogniser:
    """A CTC model with what belongs to it: its vocabulary and how its input is made."""

    model: Any
    vocabulary: Vocabulary
    features: FeatureRules

    @property
    def blank(self) -> int:
        return self.vocabulary.blank_id


@dataclass(frozen=True)
class Built:
    """A model to be trained. new_head: the head was drawn anew. notes: what else is worth saying."""

    recogniser: Recogniser
    new_head: bool
    notes: Tuple[str, ...] = ()


# -- building ---------------------------------------------------------------------------------------------------------


def build(section: ModelSection, vocabulary: Vocabulary, *, seed: int, sample_rate: int) -> Built:
    """The model that a recipe asks for, in fp32 on the CPU, seeded.

    Raises PresetError (unknown keys, a head that does not fit), BadData (damaged or incomplete weights),
    MissingArtifact (no such checkpoint).
    """
    if section.checkpoint is None:
        return _from_scratch(section, vocabulary, seed, sample_rate)
    return _from_checkpoint(section, find_checkpoint(section.checkpoint, section.revision), vocabulary, seed)


def _from_scratch(section: ModelSection, vocabulary: Vocabulary, seed: int, sample_rate: int) -> Built:
    config = _config(section.architecture, section.config, section, vocabulary)
    configs.refuse_giants(config, "the preset's model.config", fix="correct the preset's model.config")
    with _seeded(seed):
        model = _instantiate(config)
    if section.filterbank:
        filterbank.draw(acoustics.encoder_of(model), sample_rate)
    _shift_blank(model, vocabulary, section.blank_bias)
    rules = FeatureRules(sample_rate, True, _layer_norm(config))
    return Built(Recogniser(_frozen(model, section), vocabulary, rules), new_head=True)


def _from_checkpoint(section: ModelSection, folder: Path, vocabulary: Vocabulary, seed: int) -> Built:
    values = read_config(folder)
    values.update(section.config)
    config = _config(str(values.pop("model_type", "")), values, section, vocabulary)
    weights = read_weights(folder)
    configs.refuse_giants(config, str(folder / "config.json"), fix=FIX_FOLDER, held=configs.numbers_in(weights))
    model = _without_weights(config)
    keep = _head_fits(section, folder, weights, vocabulary)
    drawn = _load(model, weights, folder, new_head=not keep, seed=seed)
    if not keep:
        _shift_blank(model, vocabulary, section.blank_bias)
    notes = [f"{name} is not in {folder.name} and was drawn anew" for name in drawn if name not in HEAD]
    rules = processor.read_features(folder, layer_norm=_layer_norm(config))
    return Built(Recogniser(_frozen(model, section), vocabulary, rules), not keep, tuple(notes))


def _config(model_type: str, values: Mapping[str, Any], section: ModelSection, vocabulary: Vocabulary) -> Any:
    """The transformers configuration with everything the recipe decides."""
    if model_type not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise PresetError(f"asrctl trains no models of type {model_type!r}", fix=f"use one of {known}")
    known_keys = configs.known_keys(model_type)
    strangers = [key for key in section.config if key not in known_keys]
    if strangers:
        lines = [f"model.config.{key} is not a key of a {model_type} configuration" for key in strangers]
        raise PresetError("the model's configuration has unknown keys", fix="remove or correct them", problems=lines)
    try:
        config = configs.make(model_type, dict(values, **_decided(section, vocabulary)))
    except ValueError as error:
        raise PresetError(
            f"the model's configuration does not fit together ({error})", fix="correct model.config"
        ) from None
    _refuse_wide_masks(config)
    return config


def _refuse_wide_masks(config: Any) -> None:
    if config.mask_feature_prob > 0 and config.mask_feature_length > config.hidden_size:
        raise PresetError(
            f"a mask of {config.mask_feature_length} channels is wider than the model, which has {config.hidden_size}",
            fix="lower model.spec_augment.feature_length",
        )


def _decided(section: ModelSection, vocabulary: Vocabulary) -> Dict[str, Any]:
    masks = section.spec_augment
    on = masks.time_prob > 0 or masks.feature_prob > 0
    return {
        "vocab_size": len(vocabulary),
        "pad_token_id": vocabulary.blank_id,
        # No sentence marks in a CTC vocabulary; ids past the logits would be out of range somewhere.
        "bos_token_id": None,
        "eos_token_id": None,
        "hidden_dropout": section.hidden_dropout,
        "attention_dropout": section.attention_dropout,
        "activation_dropout": section.activation_dropout,
        "feat_proj_dropout": section.feat_proj_dropout,
        "final_dropout": section.final_dropout,
        "layerdrop": section.layerdrop,
        "apply_spec_augment": on,
        "mask_time_prob": masks.time_prob,
        "mask_time_length": masks.time_length,
        "mask_feature_prob": masks.feature_prob,
        "mask_feature_length": masks.feature_length,
        # Short utterances may have fewer frames than one mask: no minimum then (transformers issue 13379).
        "mask_time_min_masks": 0,
        "mask_feature_min_masks": 0,
        "ctc_loss_reduction": section.ctc_loss_reduction,
        "ctc_zero_infinity": section.ctc_zero_infinity,
    }


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers on the CPU from a seed within the block; those of the process go on afterwards as if not used."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _without_weights(config: Any) -> Any:
    """A model whose weights are yet to come: drawing them takes seconds (large: 2.4 s on two cores) for nothing."""
    with _seeded(0), compat.undrawn():  # some are drawn all the same
        return _instantiate(config)


def _instantiate(config: Any) -> Any:
    with compat.quiet_transformers():
        from transformers import AutoModelForCTC

        try:
            return AutoModelForCTC.from_config(config).float()
        except Exception as error:  # whatever a layer says of sizes that do not go together
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise PresetError(
                f"no model can be made of this configuration ({reason})", fix="correct the preset's model.config"
            ) from None


def _shift_blank(model: Any, vocabulary: Vocabulary, bias: float) -> None:
    import torch

    if bias:
        with torch.no_grad():
            model.lm_head.bias[vocabulary.blank_id] += bias


def _layer_norm(config: Any) -> bool:
    """Whether the convolutional encoder norms each frame (data2vec always does) rather than each channel over time."""
    return getattr(config, "feat_extract_norm", "layer") == "layer"


def _frozen(model: Any, section: ModelSection) -> Any:
    if section.freeze_feature_encoder:
        model.freeze_feature_encoder()
    return model


# -- the head ---------------------------------------------------------------------------------------------------------


def _head_fits(section: ModelSection, folder: Path, weights: Mapping[str, Any], vocabulary: Vocabulary) -> bool:
    """Whether the checkpoint's head is for this very vocabulary. Raises PresetError where `head: keep` can not be."""
    if HEAD[0] not in weights:
        if section.head == "reinit":
            return False
        raise PresetError(
            f"{folder.name} has no CTC head", fix="set `model.head: reinit` (--set model.head=reinit) to draw a new one"
        )
    problem = _head_problem(folder, int(weights[HEAD[0]].shape[0]), vocabulary)
    if problem is None:
        return True
    if section.head == "reinit":
        return False
    raise PresetError(
        f"the head of {folder.name} does not fit the vocabulary: {problem}",
        fix="set `model.head: reinit` for a new head, or take its vocabulary: `asrctl vocab --from` this checkpoint",
    )


def _head_problem(folder: Path, size: int, vocabulary: Vocabulary) -> Optional[str]:
    if not (folder / "vocab.json").exists():
        return "the checkpoint carries no vocab.json, so the order of its outputs is unknown"
    theirs = processor.read_vocabulary(folder, size)
    if size != len(vocabulary) or len(theirs) != len(vocabulary):
        return f"it has {size} outputs, the vocabulary has {len(vocabulary)} tokens"
    for index, (ours, other) in enumerate(zip(vocabulary.tokens, theirs.tokens)):
        if ours != other:
            return f"output {index} is {other!r} there and {ours!r} here"
    if theirs.blank_id != vocabulary.blank_id:
        return f"its blank is output {theirs.blank_id}, here it is {vocabulary.blank_id}"
    return None


# -- folders -----------------------------------------------------------------------------------------------------------


def _load(model: Any, weights: Mapping[str, Any], folder: Path, *, new_head: bool, seed: int = 0) -> List[str]:
    """Fill the model, and draw what may be missing; the names of that. Raises BadData for any other missing weight."""
    import torch

    names = compat.model_names(model)
    prefix = model.base_model_prefix + "."
    if not any(name.startswith(prefix) for name in weights):
        weights = {prefix + name: tensor for name, tensor in weights.items()}
    wanted = {name for name in names if not (new_head and name in HEAD)}
    optional = {name for name in wanted if name.endswith(_MASK_EMBEDDING)}
    missing = sorted(wanted - optional - set(weights))
    shapes = model.state_dict()
    unlike = [name for name in sorted(wanted & set(weights)) if weights[name].shape != shapes[names[name]].shape]
    strangers = sorted(name for name in set(weights) - set(names) if not _ignorable(name, prefix))
    problems = (
        [f"{name} is missing" for name in missing]
        + [f"{name} has another shape than the configuration says" for name in unlike]
        + [f"{name} belongs to no part of this model" for name in strangers]
    )
    if problems:
        raise BadData(
            f"the weights of {folder} do not fit its configuration",
            fix="fetch or export that model again",
            problems=problems[:20],
        )
    loaded = {names[name]: weights[name].to(torch.float32) for name in wanted & set(weights)}
    model.load_state_dict(loaded, strict=False)
    lacking = sorted(set(names) - (wanted & set(weights)))
    _draw(model, [names[name] for name in lacking], seed)
    return lacking


def _draw(model: Any, names: Sequence[str], seed: int) -> None:
    """Draw parts as transformers does: the biases and weights of a head, the embedding of masked frames."""
    state = model.state_dict()  # tensors outside of autograd
    with _seeded(seed):
        for name in names:
            if name.endswith(_MASK_EMBEDDING):
                state[name].uniform_()
            elif name.endswith("bias"):
                state[name].zero_()
            else:
                state[name].normal_(std=model.config.initializer_range)


def _ignorable(name: str, prefix: str) -> bool:
    bare = name[len(prefix) :] if name.startswith(prefix) else name
    return bare.startswith(_PRETRAINING) or name in HEAD or name.endswith(_MASK_EMBEDDING)


def load_recogniser(folder: Path) -> Recogniser:
    """A trained model from a Hugging Face folder, in fp32, ready for inference. Raises BadData, MissingArtifact."""
    folder = Path(folder)
    weights = read_weights(folder) if folder.is_dir() else {}
    head = weights.get(HEAD[0])
    outputs = int(head.shape[0]) if head is not None and head.ndim else None
    recogniser = load_shell(folder, held=configs.numbers_in(weights), outputs=outputs)
    if outputs is None:
        raise BadData(f"{folder} has no CTC head", fix="train it first, or choose a fine-tuned model")
    if len(recogniser.vocabulary) != outputs:
        raise BadData(f"{folder} has {outputs} outputs but {len(recogniser.vocabulary)} tokens", fix=FIX_FOLDER)
    _load(recogniser.model, weights, folder, new_head=False)
    recogniser.model.eval()
    return recogniser


def load_shell(folder: Path, *, held: Optional[int] = None, outputs: Optional[int] = None) -> Recogniser:
    """The model that a folder's config.json and vocabulary describe, weights yet to come. Raises BadData.

    held: numbers in the weights that will fill it; a model that is much larger is refused. outputs: of its head.
    """
    values = read_config(folder)
    vocabulary = processor.read_vocabulary(folder, outputs)
    model_type = str(values.pop("model_type"))
    if model_type not in ARCHITECTURES:
        raise BadData(f"{folder} is a {model_type} model", fix=f"choose one of {', '.join(ARCHITECTURES)}")
    values.update(vocab_size=len(vocabulary), pad_token_id=vocabulary.blank_id)
    try:
        config = configs.make(model_type, values)
        configs.refuse_giants(config, str(folder / "config.json"), fix=FIX_FOLDER, held=held)
        model = _without_weights(config)
    except PresetError as error:
        raise BadData(f"{folder / 'config.json'}: {error.message}", fix=FIX_FOLDER) from None
    except ValueError as error:
        raise BadData(f"{folder / 'config.json'} does not fit together ({error})", fix=FIX_FOLDER) from None
    return Recogniser(model, vocabulary, processor.read_features(folder, layer_norm=_layer_norm(config)))


def save_shell(recogniser: Recogniser, folder: Path) -> None:
    """Everything of `save_recogniser` but the weights: what a run needs to be resumed without its first checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "config.json", portable_config(recogniser.model))
    processor.write(folder, recogniser.vocabulary, recogniser.features)


def save_recogniser(recogniser: Recogniser, folder: Path) -> None:
    """Write a folder that plain transformers loads, in either generation: fp32 safetensors under the hub's names."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: tensor.detach().cpu().float().contiguous()
        for name, tensor in compat.canonical_state(recogniser.model).items()
    }
    with files.atomic_path(folder / "model.safetensors") as temporary:
        write_tensors(temporary, state)
    save_shell(recogniser, folder)


def portable_config(model: Any) -> Dict[str, Any]:
    """config.json values that every generation reads: the real architecture's name, fp32, no traces of this machine."""
    values = model.config.to_dict()
    for key in (
        "_name_or_path",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "_attn_implementation",
        "attn_implementation",
    ):
        values.pop(key, None)
    model_type = values["model_type"]
    values["architectures"] = [ARCHITECTURES[model_type]]
    values["torch_dtype"] = "float32"
    # Without it the pipelines of transformers 4.29 load no tokenizer for WavLM and Data2VecAudio.
    values["tokenizer_class"] = processor.TOKENIZER_CLASS
    return {"model_type": model_type, **{key: values[key] for key in sorted(values) if key != "model_type"}}


def save_recogniser_atomically(recogniser: Recogniser, folder: Path) -> None:
    """`save_recogniser` beside `folder`, then in its place: a reader finds the old model or the new one."""
    building = folder.with_name(f".{folder.name}.tmp")
    MODEL.clear(building, folder)
    try:
        save_recogniser(recogniser, building)
        checksums.write_sums(building)
        files.fsync_tree(building)
        trees.replace_tree(building, folder, settling=MODEL.carry)
    except BaseException:
        MODEL.clear(building, folder)
        raise


def save_with_weights(recogniser: Recogniser, weights: Mapping[str, Any], folder: Path) -> None:
    """The same after giving the model other weights. weights: {name on disk: tensor}, such as a checkpoint's."""
    names = compat.model_names(recogniser.model)
    recogniser.model.load_state_dict({names[name]: tensor for name, tensor in weights.items()})
    save_recogniser_atomically(recogniser, folder)


def require_rate(recogniser: Recogniser, sample_rate: int) -> None:
    """Raises PresetError where the data's sample rate is not the checkpoint's."""
    if recogniser.features.sample_rate != sample_rate:
        raise PresetError(
            f"the checkpoint hears {recogniser.features.sample_rate} samples per second, the data has {sample_rate}",
            fix=f"prepare again with --sample-rate {recogniser.features.sample_rate}",
        )
