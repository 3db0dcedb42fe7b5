"""The stock recipe, as a baseline: what transformers' example for CTC speech recognition does, in code of our own.

    python -m benchmarks.stock prepare --listing utterances.json --model MODEL --target ARROW --workers 2
    python -m benchmarks.stock prepare-hub --repository FOLDER --model MODEL --target ARROW
    python -m benchmarks.stock train --data ARROW --model MODEL --bf16 --grouped
    python -m benchmarks.stock eval --data ARROW --model MODEL --bf16

prepare: `datasets.map` decodes each file, normalizes it by the feature extractor and writes float32 Arrow; prepare-hub
begins with `load_dataset` of a repository of Parquet files. train: the
library's Trainer with its defaults (optimizer, clipping, sampler), batch 4, a frozen feature encoder, and a collator
that pads each batch to its longest, with an attention mask only where the checkpoint's feature extractor asks for one.
eval: Trainer.evaluate with batch 8, logits reduced to their argmax on the way. Values are the recipe's defaults and
those of its documented commands. train and eval take their orders from benchmarks/gate.py.

The Trainer groups by length among 50 batches, or a quarter of the corpus where that is less: a small corpus pads more
than the recipe would on one of the usual size (training 15 % instead of 4, evaluation 38 instead of 7 with 98
utterances of LibriSpeech). So training draws from the corpus repeated until it lasts --pool-hours, and a grouped
evaluation reads the utterances sorted by length, which pads least.

One thing differs: today's `datasets` decodes audio by torchcodec, which needs an FFmpeg; files are read by libsndfile
here, as older `datasets` did.
"""

from __future__ import annotations

import argparse
import inspect
import io
import json
import math
from collections import deque
from pathlib import Path
from typing import Any, Deque, Dict, List

from benchmarks.gate import Gate

SAMPLE_RATE = 16000
MAX_SECONDS = 20.0


# -- preparation ------------------------------------------------------------------------------------------------------


def prepare(listing: Path, model: Path, target: Path, workers: int) -> None:
    """listing: JSON [{"id", "path", "text"}] -> Arrow files under `target`."""
    import datasets

    datasets.disable_progress_bars()
    target.mkdir(parents=True)
    processor = load_processor(model)
    rows = json.loads(listing.read_text(encoding="utf-8"))
    raw = datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in ("id", "path", "text")})
    _map(raw, processor, target, workers, column="path")


def prepare_hub(repository: Path, model: Path, target: Path, workers: int) -> None:
    """The same from a repository's Parquet files (columns audio, text, id), as `load_dataset` takes them in."""
    import datasets

    datasets.disable_progress_bars()
    splits = datasets.load_dataset(str(repository), cache_dir=str(target / "cache"))
    for name, split in splits.items():
        (target / name).mkdir(parents=True)
        raw = split.cast_column("audio", datasets.Audio(decode=False))
        _map(raw, load_processor(model), target / name, workers, column="audio")


def _map(raw: Any, processor: Any, target: Path, workers: int, *, column: str) -> None:
    """column: of the recordings."""
    processes = workers if workers > 1 else None
    raw = raw.map(_target_text, remove_columns=["text"], cache_file_name=str(target / "text.tmp"))
    mapped = raw.map(
        _Preprocess(processor, column),
        remove_columns=[column, "target_text"],
        num_proc=processes,
        cache_file_name=str(target / "speech.arrow"),
    )
    mapped.filter(
        _short_enough,
        input_columns=["input_length"],
        num_proc=processes,
        cache_file_name=str(target / "kept.tmp"),
    )


def _target_text(row: Dict[str, Any]) -> Dict[str, Any]:
    return {"target_text": row["text"].lower() + " "}


def _short_enough(length: int) -> bool:
    return 0 < length < MAX_SECONDS * SAMPLE_RATE


class _Preprocess:
    """One utterance -> input_values (float32), input_length, labels."""

    def __init__(self, processor: Any, column: str) -> None:
        self.extractor, self.tokenizer, self.column = processor.feature_extractor, processor.tokenizer, column

    def __call__(self, row: Dict[str, Any]) -> Dict[str, Any]:
        values = self.extractor(_read(row[self.column]), sampling_rate=SAMPLE_RATE).input_values[0]
        return {
            "input_values": values,
            "input_length": len(values),
            "labels": self.tokenizer(row["target_text"]).input_ids,
        }


def _read(recording: Any) -> Any:
    """(time,) float64: one channel at SAMPLE_RATE. recording: a path, or what a repository's cell holds."""
    import soundfile

    samples, rate = soundfile.read(recording if isinstance(recording, str) else io.BytesIO(recording["bytes"]))
    if samples.ndim > 1:
        samples = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        import soxr

        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    return samples


def load_data(folder: Path, hours: float = 0.0) -> Any:
    """What `prepare` wrote, as a datasets.Dataset; again and again until it lasts `hours`."""
    import datasets

    parts = [datasets.Dataset.from_file(str(path)) for path in sorted(folder.glob("speech*.arrow"))]
    whole = datasets.concatenate_datasets(parts)
    kept = whole.filter(_short_enough, input_columns=["input_length"], keep_in_memory=True)
    times = math.ceil(hours * 3600 * SAMPLE_RATE / sum(kept["input_length"]))
    return datasets.concatenate_datasets([kept] * max(1, times))


# -- training and evaluation ------------------------------------------------------------------------------------------


def load_processor(model: Path) -> Any:
    from transformers import Wav2Vec2Processor

    return Wav2Vec2Processor.from_pretrained(str(model))


class PaddingCollator:
    """Pads audio and labels of a batch to their longest; label padding counts for nothing (-100).

    A batch also holds its (real, padded) `seconds`, for `CountingTrainer`.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, features: List[Dict[str, Any]]) -> Dict[str, Any]:
        audio = [{"input_values": feature["input_values"]} for feature in features]
        text = [{"input_ids": feature["labels"]} for feature in features]
        batch = self.processor.feature_extractor.pad(audio, padding="longest", return_tensors="pt")
        labels = self.processor.tokenizer.pad(text, padding="longest", return_tensors="pt")
        batch["labels"] = labels["input_ids"].masked_fill(labels["attention_mask"].ne(1), -100)
        if "attention_mask" in batch:
            batch["attention_mask"] = batch["attention_mask"].long()
        real = sum(len(feature["input_values"]) for feature in features)
        batch["seconds"] = (real / SAMPLE_RATE, batch["input_values"].numel() / SAMPLE_RATE)
        return batch


def load_model(folder: Path, processor: Any, dropout: float, freeze: bool) -> Any:
    """The checkpoint with the recipe's default regularization: time masks, and no dropout unless asked for."""
    from transformers import AutoModelForCTC

    names = ("attention_dropout", "activation_dropout", "hidden_dropout")
    model = AutoModelForCTC.from_pretrained(
        str(folder),
        **dict.fromkeys(names, dropout),
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=True,
        mask_time_prob=0.05,
        mask_time_length=10,
        mask_feature_prob=0.0,
        ctc_loss_reduction="mean",
        pad_token_id=processor.tokenizer.pad_token_id,
        vocab_size=len(processor.tokenizer),
    )
    if freeze:
        model.freeze_feature_encoder()
    return model


def make_trainer(options: argparse.Namespace, data: Any, callbacks: List[Any], *, grouped: bool) -> Any:
    """A Trainer over `data` as the recipe makes it. options: the command line's. grouped: by length."""
    from transformers import Trainer, TrainingArguments

    class CountingTrainer(Trainer):
        """`seconds` gets (real, padded) seconds of each batch, oldest first; workers have no other way to tell."""

        seconds: Deque[Any] = deque()

        def _prepare_inputs(self, inputs: Any) -> Any:
            self.seconds.append(inputs.pop("seconds"))
            return super()._prepare_inputs(inputs)

    processor = load_processor(options.model)
    known = inspect.signature(TrainingArguments.__init__).parameters
    grouping: Dict[str, Any] = {}
    if grouped:
        name = "train_sampling_strategy" if "train_sampling_strategy" in known else "group_by_length"
        grouping[name] = "group_by_length" if name == "train_sampling_strategy" else True
    arguments = TrainingArguments(
        output_dir=str(options.output),
        per_device_train_batch_size=options.batch,
        per_device_eval_batch_size=options.eval_batch,
        learning_rate=3e-4,
        warmup_steps=500,
        max_steps=1_000_000,
        length_column_name="input_length",
        bf16=options.bf16,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=options.loaders,
        **{"use_cpu" if "use_cpu" in known else "no_cuda": options.device == "cpu"},
        **grouping,
    )
    return CountingTrainer(
        model=load_model(options.model, processor, options.dropout, not options.unfrozen),
        args=arguments,
        data_collator=PaddingCollator(processor),
        train_dataset=data,
        eval_dataset=data,
        preprocess_logits_for_metrics=_argmax,
        compute_metrics=_Errors(processor.tokenizer),
        callbacks=callbacks,
        **{"processing_class" if _takes_processing_class(Trainer) else "tokenizer": processor.feature_extractor},
    )


def _takes_processing_class(trainer: Any) -> bool:
    return "processing_class" in inspect.signature(trainer.__init__).parameters


def _argmax(logits: Any, labels: Any) -> Any:
    return logits.argmax(-1)


class _Errors:
    """Trainer's compute_metrics: decode, and count words. Keeps the hypotheses."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.hypotheses: List[str] = []
        self.references: List[str] = []

    def __call__(self, found: Any) -> Dict[str, float]:
        import jiwer

        pad = self.tokenizer.pad_token_id
        found.label_ids[found.label_ids == -100] = pad
        found.predictions[found.predictions == -100] = pad
        self.hypotheses = [text.strip() for text in self.tokenizer.batch_decode(found.predictions)]
        self.references = [text.strip() for text in self.tokenizer.batch_decode(found.label_ids, group_tokens=False)]
        return {"wer": jiwer.wer(self.references, self.hypotheses)}


def train(options: argparse.Namespace, gate: Gate) -> None:
    """Train for ever, one step for each that the gate lets through."""
    gate.wait()
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            real, padded = trainer.seconds.popleft()
            gate.tick(audio_s=real, padded_s=padded, **device_memory(options.device))

    data = load_data(options.data, options.pool_hours)
    trainer = make_trainer(options, data, [Steps()], grouped=options.grouped)
    trainer.train()


def evaluate(options: argparse.Namespace, gate: Gate) -> None:
    """A short pass to get warm, then a whole one for each that the gate lets through."""
    gate.wait()
    data = load_data(options.data)
    if options.grouped:
        data = data.sort("input_length", reverse=True)
    trainer = make_trainer(options, data, [], grouped=False)
    batches = trainer.seconds
    trainer.evaluate(data.select(range(min(len(data), options.eval_batch))))
    gate.tick()
    while True:
        batches.clear()
        metrics = trainer.evaluate()
        real, padded = (sum(seconds) for seconds in zip(*batches))
        errors = trainer.compute_metrics
        pairs = sorted(zip(errors.references, errors.hypotheses))
        told = dict(wer=metrics["eval_wer"], pairs=pairs, **device_memory(options.device))
        gate.tick(audio_s=real, padded_s=padded, **told)


def device_memory(device: str) -> Dict[str, float]:
    """{"device_mb": the most that this process had on the GPU}; nothing on a CPU."""
    if device != "cuda":
        return {}
    import torch

    torch.cuda.synchronize()
    return {"device_mb": torch.cuda.max_memory_allocated() / 2**20}


def parse(arguments: "List[str] | None" = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("prepare")
    making.add_argument("--listing", type=Path, required=True)
    making.add_argument("--model", type=Path, required=True)
    making.add_argument("--target", type=Path, required=True)
    making.add_argument("--workers", type=int, default=1)
    taking = commands.add_parser("prepare-hub")
    taking.add_argument("--repository", type=Path, required=True)
    taking.add_argument("--model", type=Path, required=True)
    taking.add_argument("--target", type=Path, required=True)
    taking.add_argument("--workers", type=int, default=1)
    for name in ("train", "eval"):
        using = commands.add_parser(name)
        using.add_argument("--data", type=Path, required=True)
        using.add_argument("--model", type=Path, required=True)
        using.add_argument("--output", type=Path, default=Path("stock-output"))
        using.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        using.add_argument("--bf16", action="store_true")
        using.add_argument("--grouped", action="store_true", help="batches grouped by length")
        using.add_argument("--unfrozen", action="store_true", help="train the convolutional encoder too")
        using.add_argument("--batch", type=int, default=4)
        using.add_argument("--eval-batch", type=int, default=8)
        using.add_argument("--loaders", type=int, default=0, help="processes that load data; 0: none, as by default")
        using.add_argument("--dropout", type=float, default=0.0)
        using.add_argument("--pool-hours", type=float, default=1.1, help="repeat the corpus until it lasts as long")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    if options.command == "prepare":
        prepare(options.listing, options.model, options.target, options.workers)
    elif options.command == "prepare-hub":
        prepare_hub(options.repository, options.model, options.target, options.workers)
    elif options.command == "train":
        train(options, Gate())
    else:
        evaluate(options, Gate())


if __name__ == "__main__":
    main()
