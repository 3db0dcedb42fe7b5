"""How `asrctl eval` runs a model (device, precision, batches), and the hypotheses that it gives."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

from asrctl.commands.select import TrainedModel
from asrctl.config.recipe import HostSection, Recipe
from asrctl.data.dataset import PreparedSplit
from asrctl.errors import UsageError
from asrctl.evaluation.decoding import Decoder
from asrctl.evaluation.transcribe import transcribe
from asrctl.events import Emit, Note
from asrctl.messages import suggestions
from asrctl.models.loading import Recognizer
from asrctl.models.packed import select
from asrctl.runtime import devices, memory


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
