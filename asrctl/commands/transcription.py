"""How `asrctl eval` runs a model (device, precision, batches), and the hypotheses that it gives."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

import numpy as np

from asrctl.commands.select import TrainedModel, find_data
from asrctl.config.recipe import HostSection, Recipe
from asrctl.data.dataset import PreparedSplit
from asrctl.errors import AsrctlError, UsageError
from asrctl.evaluation import word_times
from asrctl.evaluation.decoding import Decoder
from asrctl.evaluation.transcribe import transcribe
from asrctl.events import Emit, Note
from asrctl.messages import suggestions
from asrctl.models.loading import Recognizer
from asrctl.models.packed import select
from asrctl.runtime import devices, memory
from asrctl.storage.workspace import Workspace

# What a model hears at once, in seconds, and the silence at its ends: of a folder; the least and the most for a run.
WINDOW_S, _WINDOWS_S = 15.0, (0.5, 30.0)
_MARGIN_S, _MARGINS_S = 0.3, (0.02, 0.3)
_USUAL_SHARE, _SAMPLED = 0.95, 64
# What is so much quieter than the loud parts of an utterance, in dB, is silence.
_SILENCE_DB, _LEVELS_HZ = 35.0, 100


@dataclass(frozen=True)
class How:
    """batch_s, engine: of a host device. recipe: of an IPU, which says how the model is placed."""

    device: devices.Device
    precision: str
    batch_s: float = 0.0
    engine: str = ""
    recipe: Optional[Recipe] = None


def choose(trained: TrainedModel, device: str, precision: Optional[str], batch_s: Optional[float], emit: Emit) -> How:
    """What a request means. `auto` is never an IPU, since a model that is heard once is compiled longer than heard.

    Raises UsageError, DeviceError, MissingDependency, PresetError.
    """
    if precision is not None and precision not in devices.PRECISIONS:
        raise UsageError(f"there is no precision {precision!r}", fix=suggestions.one_of(precision, devices.PRECISIONS))
    chosen = devices.choose(device)
    if not chosen.is_host and device == "auto":
        chosen = devices.choose("cuda" if devices.cuda_available() else "cpu")
    emit(Note(chosen.reason))
    if not chosen.is_host:
        return _on_ipu(trained, chosen, precision, batch_s, emit)
    section = trained.run.recipe().host(chosen.kind) if trained.run is not None else HostSection()
    wanted = devices.precision(chosen.kind, precision or "fp32", "--precision ")
    return How(chosen, wanted, batch_s or section.eval_batch_s, section.engine)


def _on_ipu(
    trained: TrainedModel, device: devices.Device, precision: Optional[str], batch_s: Optional[float], emit: Emit
) -> How:
    from asrctl.ipu import config, runner

    if trained.run is None:
        raise UsageError(
            f"a folder does not say how its model is placed on {device.kind}",
            fix="evaluate a run (--run NAME) whose preset has an `ipu` section, or use `--device cpu`",
        )
    recipe = trained.run.recipe()
    runner.preflight(recipe, device.kind, started=trained.run.shell)
    own = config.section(recipe).precision
    if batch_s is not None or precision not in (None, own):
        raise UsageError(
            f"batches and precision on {device.kind} are those of the run's preset ({own})",
            fix="leave out --batch-s and --precision, or use `--device cpu`",
        )
    runner.say_emulated(device.kind, own, emit)
    return How(device, own, recipe=recipe)


def hypotheses(
    how: How,
    recognizer: Recognizer,
    split: PreparedSplit,
    *,
    cache: Path,
    scratch: Path,
    emit: Emit,
    decode: Optional[Decoder] = None,
) -> Iterator[Tuple[int, str]]:
    """(index in the split, hypothesis) for each utterance, in any order.

    cache, scratch: for an IPU's library. decode: default is greedy; on an IPU there is no other.
    """
    if how.recipe is not None:
        from asrctl.ipu import inference

        yield from inference.transcribe(
            how.recipe, recognizer, split, kind=how.device.kind, cache=cache, scratch=scratch, emit=emit
        )
        return
    with listening(how, recognizer, emit, fix=f"use `--batch-s {how.batch_s / 2:g}`") as options:
        yield from transcribe(recognizer, split, **options, emit=emit, task="evaluate", decode=decode)


@contextmanager
def listening(how: How, recognizer: Recognizer, emit: Emit, *, fix: str) -> Iterator[Dict[str, Any]]:
    """What a host takes to run a model: device, precision, batch_s, engine. fix: against too little memory."""
    with memory.explained(
        f"batches of {how.batch_s:g} s do not fit into the memory of the {how.device.kind} device", fix=fix
    ):
        device = how.device.torch_device
        engine = select.choose(recognizer.model, device.type, how.engine, shapes_free=True)
        emit(Note(f"engine: {engine}, {how.precision}"))
        yield {"device": device, "precision": how.precision, "batch_s": how.batch_s, "engine": engine}
    memory.give_back()  # the heap was kept from batch to batch; a process that does more has no use for its holes


def model_words(trained: TrainedModel) -> str:
    """Which model is meant, for a sentence."""
    if trained.run is None:
        return f"the model {trained.folder}"
    return f"run {trained.name}" + (" (the latest with a model)" if trained.is_latest else "")


def training_utterances(workspace: Workspace, trained: TrainedModel) -> Tuple[float, float]:
    """(what most of them last at most, the silence at their ends), in seconds; what is usual for a plain folder.

    What a model has not met in training, longer utterances or longer silence, it does not write down right.
    """
    if trained.run is None:
        return WINDOW_S, _MARGIN_S
    try:
        split = find_data(workspace, trained, None).data.split("train")
        usual_s = float(np.quantile(split.num_samples, _USUAL_SHARE)) / split.sample_rate
        chosen = np.linspace(0, len(split) - 1, min(_SAMPLED, len(split))).astype(int)
        silences = [length for row in chosen for length in _silences_s(split[int(row)].pcm, split.sample_rate)]
    except AsrctlError:  # the data is gone, or is not to be read any more
        return WINDOW_S, _MARGIN_S
    margin_s = float(np.clip(np.median(silences), *_MARGINS_S))
    return round(float(np.clip(usual_s, *_WINDOWS_S)), 2), round(margin_s, 3)


def _silences_s(pcm: np.ndarray, rate: int) -> Tuple[float, float]:
    """Seconds of silence before and after what is said in an utterance. pcm: (time,) int16."""
    db = word_times.measured(pcm, max(1, rate // _LEVELS_HZ))
    loud = np.flatnonzero(db >= np.percentile(db, 95) - _SILENCE_DB)
    return loud[0] / _LEVELS_HZ, (len(db) - 1 - loud[-1]) / _LEVELS_HZ
