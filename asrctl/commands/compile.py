"""recipe + prepared data -> executables for an IPU in the workspace's cache, without an IPU."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple, cast

from asrctl.commands.train import plan
from asrctl.commands.train_request import TrainRequest
from asrctl.errors import UsageError
from asrctl.events import Emit, ignore
from asrctl.models import loading
from asrctl.storage import scratch
from asrctl.storage.workspace import Workspace
from asrctl.training.job import StartPoint

DEVICES = ("ipu", "ipu-emulated")


@dataclass(frozen=True)
class CompileRequest:
    """device: ipu, which needs the Poplar SDK but no IPU, or ipu-emulated, which tries the same program out."""

    preset: Optional[str] = None
    data: Optional[str] = None
    device: str = "ipu"
    overrides: Tuple[str, ...] = ()


@dataclass(frozen=True)
class CompileResult:
    """executables: the files that are new in `cache`; none where all were there already.

    typed: what names the preset.
    """

    preset: str
    typed: str
    cache: Path
    executables: Tuple[Path, ...]
    emulated: bool

    def as_dict(self) -> Dict[str, Any]:
        return {
            "preset": self.preset,
            "cache": str(self.cache),
            "executables": [str(path) for path in self.executables],
            "emulated": self.emulated,
        }


def compile_executables(workspace: Workspace, request: CompileRequest, emit: Emit = ignore) -> CompileResult:
    """Compile what `train` would compile before its first step and its first evaluation.

    Raises PresetError, MissingArtifact, DeviceError, MissingDependency, UsageError.
    """
    if request.device not in DEVICES:
        raise UsageError(f"nothing is compiled for {request.device}", fix=f"use --device {' or '.join(DEVICES)}")
    wanted = TrainRequest(request.preset, request.data, device=request.device, overrides=request.overrides)
    planned = plan(workspace, wanted, emit, hardware_needed=False, fetch=True)
    from asrctl.ipu import runner

    with scratch.folder(workspace) as folder:  # its lock keeps `asrctl clean` away, from the cache too
        job, recipe = dataclasses.replace(planned.job, folder=folder / "compile"), planned.recipe
        vocabulary, rate = planned.data.vocabulary(), recipe.audio.sample_rate
        model = loading.build(recipe.model, vocabulary, seed=recipe.optim.seed, sample_rate=rate)
        made = runner.compile_only(job, StartPoint(model.recognizer), emit)
    typed = request.preset or str(planned.data.summary.preset)
    name = request.preset or job.recipe.name
    return CompileResult(name, typed, cast(Path, job.cache), tuple(made), request.device == "ipu-emulated")
