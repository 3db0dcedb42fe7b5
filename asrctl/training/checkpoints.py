"""Checkpoints of a run: safetensors and JSON with digests; an older one goes only when a newer one was verified.

checkpoints/step-00000400/model.safetensors      weights, fp32, under the hub's names
                          optimizer.safetensors  Adam's moments
                          average.safetensors    the moving average of the weights, where there is one
                          backend/               what another library needs to resume (IPU only)
                          state.json             step, history, digests of all files and of itself
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

from asrctl.errors import BadData
from asrctl.messages import reasons
from asrctl.storage import atomic, files, records
from asrctl.storage.hashing import digest, file_sha256
from asrctl.storage.ownership import CHECKPOINT
from asrctl.training.trainer_state import BackendState, TrainerState

_NAME = re.compile(r"step-(\d{8})")
_PASSING = re.compile(rf"\.(?P<name>{_NAME.pattern})\.(?P<ending>tmp|{'|'.join(atomic.ENDINGS)})")
_AVERAGE = "average.safetensors"
_FIX = "resume from another checkpoint, or train again"


@dataclass(frozen=True)
class _Sealed:
    """What state.json holds beside the trainer's own state."""

    step: int
    files: Mapping[str, str]
    digest: str
    backend: Optional[BackendState] = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk. backend: only of an IPU. files: {name: sha256}."""

    path: Path
    step: int
    state: TrainerState
    backend: Optional[BackendState]
    files: Mapping[str, str]

    def model(self) -> Dict[str, Any]:
        """{name on disk: tensor}."""
        return _load(self.path / "model.safetensors")

    def optimizer(self) -> Dict[str, Any]:
        return _load(self.path / "optimizer.safetensors")

    def average(self) -> Dict[str, Any]:
        """{name on disk: moving average}; empty where none was kept."""
        return _load(self.path / _AVERAGE) if _AVERAGE in self.files else {}

    def result(self) -> Dict[str, Any]:
        """The weights that the run's `model/` has after this step: {name on disk: tensor}."""
        return {**self.model(), **self.average()}


def save(
    folder: Path,
    step: int,
    *,
    model: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    state: TrainerState,
    average: Optional[Mapping[str, Any]] = None,
    backend: Optional[BackendState] = None,
    extra: Optional[Callable[[Path], Any]] = None,
) -> Checkpoint:
    """Write and verify the checkpoint of `step`; it appears whole or not at all. Raises OSError, BadData.

    One that is there already for this step stays until the new one was verified.

    extra: puts further files into the folder given, before digests are taken.
    """
    from asrctl.models.weights import write_tensors  # with numpy: `status` looks at checkpoints, and writes none

    target = folder / f"step-{step:08d}"
    building = _building(folder, step)
    CHECKPOINT.clear(building, target)
    files.make_folder(building)
    try:
        for name, tensors in (("model", model), ("optimizer", optimizer), ("average", average)):
            if tensors is None:
                continue
            plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            write_tensors(building / f"{name}.safetensors", plain)
        if extra is not None:
            extra(building)
        values = records.as_dict(dataclasses.replace(state, step=step))
        if backend is not None:
            values["backend"] = records.as_dict(backend)
        _write_state(building, dict(values, files=files.file_digests(building)))
        files.fsync_tree(building)
        verified = open_checkpoint(building)
        atomic.replace_tree(building, target, settling=CHECKPOINT.carry)
    except BaseException:
        CHECKPOINT.clear(building, target)
        raise
    return dataclasses.replace(verified, path=target)


def _write_state(folder: Path, values: Dict[str, Any]) -> None:
    values = json.loads(json.dumps(values, allow_nan=False))  # as it will be read
    files.write_json(folder / "state.json", dict(values, digest=digest(values)))


def open_checkpoint(path: Path) -> Checkpoint:
    """Open and verify. Raises BadData where anything is missing, truncated or altered."""
    values, refusal = files.read_json(path / "state.json", fix=_FIX), f"{path} is not a checkpoint"
    sealed = records.read(_Sealed, values, refusal, fix=_FIX)
    state = records.read(TrainerState, values, refusal, fix=_FIX)
    if sealed.digest != digest({key: value for key, value in values.items() if key != "digest"}):
        raise BadData(f"{path / 'state.json'} is damaged: its digest is not the one recorded", fix=_FIX)
    digests = sealed.files
    for name in sorted({"model.safetensors", "optimizer.safetensors"} | set(digests)):
        if ".." in name.split("/") or name.startswith("/") or not name.isprintable():
            raise BadData(f"{path} names a file outside itself: {name!r}", fix=_FIX)
        if name not in digests or not (path / name).is_file():
            raise BadData(f"{path / name} is missing", fix=_FIX)
        if file_sha256(path / name) != digests[name]:
            raise BadData(f"{path / name} is damaged: its digest is not the one recorded", fix=_FIX)
    return Checkpoint(path, sealed.step, state, sealed.backend, digests)


def steps(folder: Path) -> List[int]:
    """Steps that have a checkpoint folder, ascending; not verified."""
    if not folder.is_dir():
        return []
    matches = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match.group(1)) for match in matches if match)


def _building(folder: Path, step: int) -> Path:
    """Where a checkpoint lies while it is written, or deleted."""
    return folder / f".step-{step:08d}.tmp"


def path_of(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


@dataclass(frozen=True)
class Latest:
    """The latest valid checkpoint, and a sentence for each newer one that was damaged."""

    checkpoint: Optional[Checkpoint]
    damaged: List[str]


def latest_valid(folder: Path) -> Latest:
    damaged: List[str] = []
    for step in reversed(steps(folder)):
        try:
            return Latest(open_checkpoint(path_of(folder, step)), damaged)
        except BadData as error:
            damaged.append(error.message)
    return Latest(None, damaged)


def best_left(folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    """The best one as `checkpoint` tells it, if it is still there; else `checkpoint`. Raises BadData."""
    best = checkpoint.state.best_step
    return open_checkpoint(path_of(folder, best)) if best is not None and best in steps(folder) else checkpoint


def prune(folder: Path, *, keep: int, best_step: Optional[int], newest: int) -> None:
    """Delete all but the newest `keep` checkpoints up to `newest`, which was verified, and the best one.

    A run goes on from its latest valid checkpoint, so what lies above `newest` is damaged. It must not count as newer;
    training replaces it when it gets there.
    """
    for step in [step for step in steps(folder) if step <= newest][:-keep]:
        # One that somebody put something into is somebody's folder too.
        if step != best_step and not CHECKPOINT.strangers(path_of(folder, step)):
            atomic.delete_tree(path_of(folder, step), _building(folder, step), mark="state.json")


def clear_unfinished(folder: Path) -> None:
    """Delete what a killed process left half written or half deleted."""
    for path in list(folder.glob(".step-*.*")) if folder.is_dir() else []:
        passing = _PASSING.fullmatch(path.name)
        if passing is not None and passing["ending"] == "tmp":
            CHECKPOINT.clear(path, folder / passing["name"])
        elif passing is not None:
            atomic.settle_tree(folder / passing["name"], settling=CHECKPOINT.carry)


def _load(path: Path) -> Dict[str, Any]:
    """Raises BadData: the digest only says that nothing has changed since, not that the file is any good."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadData(f"{path} holds no tensors ({reasons.reason(error)})", fix=_FIX) from None
