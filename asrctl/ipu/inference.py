"""Transcription by an IPU's inference model: the same for evaluation inside training and for `asrctl eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, Sequence, Tuple

from asrctl.config.recipe import Recipe
from asrctl.data.dataset import PreparedSplit
from asrctl.data.sampler import samples_in
from asrctl.errors import BadData, DeviceError
from asrctl.evaluation import decoding
from asrctl.events import Emit, Progress
from asrctl.ipu import config, hardware
from asrctl.ipu.data import Evaluated
from asrctl.messages import amounts, reasons
from asrctl.models import ctc
from asrctl.models.loading import Recognizer
from asrctl.runtime import compat


def evaluated(recipe: Recipe, recognizer: Recognizer, split: PreparedSplit, indices: Sequence[int]) -> Evaluated:
    """The chosen utterances as the device takes them. Raises BadData where one is longer than the static shape."""
    ipu, pad_to = config.section(recipe), samples_in(recipe.audio.max_s, split.sample_rate)
    longer = int((split.num_samples[indices] > pad_to).sum())
    if longer:
        raise BadData(
            f"{amounts.count(longer, 'utterance is', 'utterances are')} longer than the {recipe.audio.max_s:g} s of "
            "the preset's static shape",
            fix=f"evaluate with `--device cpu` or cuda, or prepare the data again with --max-s {recipe.audio.max_s:g}",
        )
    return Evaluated(
        split,
        recognizer.features,
        indices=indices,
        multiple=ipu.micro_batch * ipu.inference_replication * ipu.inference_device_iterations,
        pad_to=pad_to,
        half=ipu.precision == "fp16",
    )


def hypotheses(trainer: Any, recognizer: Recognizer, data: Evaluated, emit: Emit) -> Iterator[Tuple[int, str]]:
    """(index in the split, hypothesis) of every utterance once, whatever the last batch holds."""
    place, count, decode = 0, len(data.indices), decoding.greedy(recognizer.vocabulary)
    for mask, logits in trainer.logits(data):
        frames = ctc.frame_lengths(recognizer.model, mask.sum(-1))
        for hypothesis in decode(logits, frames)[: count - place]:
            yield data.indices[place], hypothesis
            place += 1
        emit(Progress("evaluate", place, count, "utterances"))


def transcribe(
    recipe: Recipe, recognizer: Recognizer, split: PreparedSplit, *, kind: str, cache: Path, scratch: Path, emit: Emit
) -> Iterator[Tuple[int, str]]:
    """As `hypotheses`, for a whole split and a model that is not being trained.

    cache: of compiled executables. scratch: a folder for what the library writes itself. Raises DeviceError,
    MissingDependency, BadData; what the recipe asks in vain is refused by asrctl.ipu.runner.preflight.
    """
    hardware.require(kind)
    from asrctl.ipu.trainer import CtcTrainer

    data = evaluated(recipe, recognizer, split, range(len(split)))
    try:
        with compat.quiet_transformers():
            trainer = CtcTrainer(recognizer.model, recipe, None, output=scratch, cache=cache.resolve())
            yield from hypotheses(trainer, recognizer, data, emit)
    except hardware.errors() as error:
        raise DeviceError(
            f"the {kind} device refused: {reasons.first_line(error, 300)}",
            fix="see docs/ipu.md for what fits, or evaluate with `--device cpu`",
        ) from error
