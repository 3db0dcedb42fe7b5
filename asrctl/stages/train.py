"""recipe + prepared data -> a run: resolve everything, refuse what does not fit, hand over to a backend."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from asrctl import files, presets
from asrctl.configs import Convolutions
from asrctl.errors import Locked, MissingArtifact, UsageError
from asrctl.events import Emit, Note, ignore
from asrctl.models import Recogniser
from asrctl.prepared import PreparedData, PreparedSplit
from asrctl.recipe import Recipe
from asrctl.runs import Run, named_after, replaced_runs
from asrctl.stages import data_rules
from asrctl.stages import train_checks as checks
from asrctl.stages.fit import alignable, convolutions
from asrctl.stages.subject import latest_data, sound_model
from asrctl.workspace import Workspace

_FIX_DATA = "run `asrctl prepare CORPUS` first"


@dataclass(frozen=True)
class TrainRequest:
    """What the user asked for. command: the words typed, kept with the run."""

    preset: Optional[str] = None
    data: Optional[str] = None
    run: Optional[str] = None
    device: str = "auto"
    overrides: Tuple[str, ...] = ()
    max_steps: Optional[int] = None
    max_minutes: Optional[float] = None
    resume: bool = False
    overwrite: bool = False
    from_run: Optional[str] = None
    command: Tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainPlan:
    """Everything resolved, nothing done yet. start: of a checkpoint that was looked at, the model without weights."""

    recipe: Recipe
    sources: Dict[str, str]
    data: PreparedData
    data_name: str
    run_name: str
    device: Any
    precision: str
    total_steps: int
    steps_per_epoch: int
    resume: bool
    train: PreparedSplit
    encoder: Convolutions
    start: Optional[Recogniser] = None

    def as_dict(self) -> Dict[str, Any]:
        return {
            "preset": self.recipe.name,
            "data": {"name": self.data_name, "id": self.data.artifact.id},
            "run": self.run_name,
            "device": self.device.kind,
            "precision": self.precision,
            "steps": self.total_steps,
            "steps_per_epoch": self.steps_per_epoch,
            "recipe": self.recipe.as_dict(),
            "sources": dict(self.sources),
        }


@dataclass(frozen=True)
class TrainResult:
    """A run that came to its end. model: the folder of the best model.

    recipe_steps: steps of the whole recipe. planned_steps: those that the run was to have, fewer where its time was
    limited.
    """

    run: str
    state: str
    reason: str
    steps: int
    planned_steps: int
    recipe_steps: int
    best_step: Optional[int]
    best_wer: Optional[float]
    model: Path
    device: str
    precision: str
    seconds: float
    audio_s_per_s: float
    emulated: bool
    nothing_to_do: bool = False

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__, model=str(self.model))


def plan(
    workspace: Workspace,
    request: TrainRequest,
    emit: Emit = ignore,
    *,
    hardware_needed: bool = True,
    fetch: bool = False,
) -> TrainPlan:
    """Resolve recipe, data, run, device and checkpoint. Raises PresetError, MissingArtifact, DeviceError, UsageError,
    and BadData for a checkpoint that can not be used.

    hardware_needed: false for what only compiles for an IPU. fetch: get a checkpoint from the hub that is not here.
    """
    from asrctl import devices

    checks.refuse_contradictions(request)
    stored = _stored_run(workspace, request)
    # Before the data: a typo is told before data that is missing, which may take hours to make.
    asked = None if request.preset is None else _loaded(workspace, request, request.preset)
    data_name, data = _data(workspace, request, stored, emit)
    resolved = _recipe(workspace, request, stored, data, asked)
    for note in resolved.notes:
        emit(Note(note))
    resolved = _by_the_data(workspace, resolved, stored, data, data_name, emit)
    recipe = resolved.recipe
    device = devices.choose(request.device)
    emit(Note(device.reason))
    if stored is None:
        checks.refuse_optimiser(recipe, device)
    for note in checks.differences(recipe, device.kind):
        emit(Note(note))
    if not device.is_host:
        presets.refuse_for_ipu(resolved)
    precision = _precision(recipe, device, stored, hardware_needed)
    if stored is not None:
        checks.refuse_changes(workspace, stored, recipe, data)
    start = checks.look_at_checkpoint(recipe, data, emit, fetch=fetch) if stored is None else None
    train = data.split("train")
    encoder = convolutions(recipe, _started(stored))
    preset = request.preset or data.summary.get("preset")
    checks.refuse_conflicts(workspace, recipe, data, data_name, _splits(data), encoder, preset)
    checks.warn_of_no_effect(request.overrides, emit)
    total, per_epoch = _steps(request, stored, recipe, device, train.only(alignable(encoder, train)))
    name = stored.name if stored is not None else _run_name(workspace, request, recipe)
    sources = dict(resolved.sources)
    return TrainPlan(
        recipe,
        sources,
        data,
        data_name,
        name,
        device,
        precision,
        total,
        per_epoch,
        request.resume,
        train,
        encoder,
        start,
    )


def _steps(
    request: TrainRequest, stored: Optional[Run], recipe: Recipe, device: Any, train: PreparedSplit
) -> Tuple[int, int]:
    """Optimiser steps of the whole run, and of an epoch. Raises PresetError where an IPU has too little to do."""
    from asrctl.backends.host import plan_of

    per_epoch = plan_of(recipe, train).steps_per_epoch
    total = request.max_steps or _stored_total(stored, recipe) or recipe.optim.max_steps
    total = total or max(1, math.ceil(recipe.optim.epochs * per_epoch))
    if not device.is_host:
        from asrctl.ipu import config

        config.refuse_small("train", len(train), recipe)
        total = config.whole_calls(recipe, total)
    return total, per_epoch


def _started(stored: Optional[Run]) -> Optional[Path]:
    """The folder with the config.json of the run to resume, where there is one."""
    return stored.shell if stored is not None and stored.shell.is_dir() else None


def _precision(recipe: Recipe, device: Any, stored: Optional[Run], hardware_needed: bool) -> str:
    """The precision; on an IPU all that it can not do is refused first. Raises DeviceError, PresetError."""
    from asrctl import devices

    if device.is_host:
        return devices.precision(device.kind, recipe.host(device.kind).precision)
    from asrctl.backends import ipu
    from asrctl.ipu import config

    ipu.preflight(recipe, device.kind, started=_started(stored), hardware_needed=hardware_needed)
    return config.section(recipe).precision


def train(workspace: Workspace, request: TrainRequest, emit: Emit = ignore) -> TrainResult:
    """Train, or resume, a run.

    Raises Interrupted after a checkpoint was left, Diverged, and what `plan` raises. The run's folder always says in
    which state it is.
    """
    _settle(workspace)
    planned = plan(workspace, request, emit, fetch=True)
    workspace.create()
    with workspace.lock(f"run-{planned.run_name}"):
        files.refuse_links(workspace.run(planned.run_name))
        run = Run(workspace.run(planned.run_name))
        if run.exists() and not (request.resume or request.overwrite):
            raise Locked(
                f"another process has made the run {run.name!r} meanwhile", fix="choose another name with --run"
            )
        run.settle()
        with run.replaced() if request.overwrite else run.kept():
            return _run(workspace, request, planned, run, emit)


def _settle(workspace: Workspace) -> None:
    """Bring back runs whose replacement was killed before it began."""
    for name in replaced_runs(workspace):
        with contextlib.suppress(Locked), workspace.lock(f"run-{name}"):
            Run(workspace.run(name)).settle()


def _run(workspace: Workspace, request: TrainRequest, planned: TrainPlan, run: Run, emit: Emit) -> TrainResult:
    from asrctl.stages.training import Start, carry_out

    splits = _splits(planned.data)
    splits["train"] = _alignable(planned.encoder, splits["train"], emit)
    start = Start(
        workspace=workspace,
        request_command=request.command,
        recipe=planned.recipe,
        data={"name": planned.data_name, "id": planned.data.artifact.id, "content": planned.data.content},
        vocabulary=planned.data.vocabulary(),
        train=splits["train"],
        eval=splits.get("eval"),
        device=planned.device,
        precision=planned.precision,
        total_steps=planned.total_steps,
        max_steps=request.max_steps,
        max_minutes=request.max_minutes,
        resume=request.resume,
        base=_base(workspace, request, planned.recipe),
    )
    return carry_out(run, start, emit)


def _alignable(encoder: Convolutions, train: PreparedSplit, emit: Emit) -> PreparedSplit:
    kept = alignable(encoder, train)
    if len(kept) == len(train):
        return train
    left_out = len(train) - len(kept)
    emit(Note(f"{left_out} of {len(train)} training utterances are left out: more labels than this model has frames"))
    return train.only(kept)


def _splits(data: PreparedData) -> Dict[str, PreparedSplit]:
    return {name: data.split(name) for name in ("train", "eval") if name in data.splits}


# -- what is meant ----------------------------------------------------------------------------------------------------


def _stored_run(workspace: Workspace, request: TrainRequest) -> Optional[Run]:
    """The run to resume, if that was asked for."""
    if not request.resume:
        return None
    if request.run is not None:
        run = Run(workspace.run(request.run))
        if not run.exists():
            raise MissingArtifact(
                f"there is no run {request.run!r} to resume", fix="see `asrctl status` for the runs there are"
            )
        return run
    runs = workspace.runs(strict=True)
    if not runs:
        raise MissingArtifact("there is no run to resume", fix="start one with `asrctl train --preset tiny-cpu`")
    return Run(runs[-1])


def _stored_total(stored: Optional[Run], recipe: Recipe) -> Optional[int]:
    """Steps that the run to resume was started for: they decide the schedule. None where the recipe asks for others."""
    if stored is None or _length(stored.recipe()) != _length(recipe):
        return None
    info = stored.info()
    total = info.get("recipe_steps", info.get("total_steps"))
    return total if isinstance(total, int) and total > 0 else None


def _length(recipe: Recipe) -> Tuple[Any, Any]:
    return recipe.optim.max_steps, recipe.optim.epochs


def _data(workspace: Workspace, request: TrainRequest, stored: Optional[Run], emit: Emit) -> Tuple[str, PreparedData]:
    if stored is not None and request.data is None:
        recorded = stored.info()["data"]
        artifact = workspace.resolve("prepared", recorded["id"], fix=_FIX_DATA)
        return recorded["name"], PreparedData(artifact)
    if request.data is not None:
        return request.data, PreparedData(workspace.resolve("prepared", request.data, fix=_FIX_DATA))
    name, data = latest_data(workspace)
    emit(Note(f"data: {name} ({data.artifact.id}), the latest prepared"))
    return name, data


def _loaded(workspace: Workspace, request: TrainRequest, name: str) -> presets.Resolved:
    return presets.load(name, overrides=request.overrides, workspace=workspace.root)


def _recipe(
    workspace: Workspace,
    request: TrainRequest,
    stored: Optional[Run],
    data: PreparedData,
    asked: Optional[presets.Resolved],
) -> presets.Resolved:
    """asked: the preset that the user named, else it is that of the run to resume, or of the data."""
    if asked is None and stored is not None:
        return presets.override(stored.recipe(), request.overrides, stored.recipe_path)
    name = data.summary.get("preset")
    if asked is None and name is None:
        known = ", ".join(preset.name for preset in presets.available(workspace.root))
        raise UsageError(
            f"no preset was given, and the data was prepared without one; there are {known}",
            fix="add `--preset tiny-cpu`, or another of these",
        )
    resolved = asked or _loaded(workspace, request, name)
    if request.from_run is None:
        return resolved
    model = dataclasses.replace(resolved.recipe.model, checkpoint=str(_model_of(workspace, request.from_run)))
    return dataclasses.replace(resolved, recipe=dataclasses.replace(resolved.recipe, model=model))


def _by_the_data(
    workspace: Workspace,
    resolved: presets.Resolved,
    stored: Optional[Run],
    data: PreparedData,
    name: str,
    emit: Emit,
) -> presets.Resolved:
    """Text and audio rules as the data has them; as the run to resume recorded them, where there is one."""
    if stored is None:
        made = {**data_rules.of_data(data), **data_rules.of_vocabulary(workspace, data)}
        return data_rules.applied(resolved, made, f"data {name}", emit)
    made = data_rules.of_run(stored.recipe())
    return data_rules.applied(resolved, made, f"run {stored.name}", emit)


def _model_of(workspace: Workspace, run: str) -> Path:
    folder = workspace.run(run) / "model"
    if not folder.is_dir():
        raise MissingArtifact(
            f"run {run!r} has no model to start from", fix="see `asrctl status` for the runs there are"
        )
    sound_model(folder)
    return folder


def _base(workspace: Workspace, request: TrainRequest, recipe: Recipe) -> Optional[str]:
    """What training starts from: a run, a folder (never written like a name on the hub), a name on the hub, nothing."""
    name = recipe.model.checkpoint
    if request.from_run is not None:
        return f"run {request.from_run}"
    is_folder = name is not None and files.expanded(name).is_dir()
    return f"./{name}" if is_folder and not name.startswith((".", "/", "~")) else name


def _run_name(workspace: Workspace, request: TrainRequest, recipe: Recipe) -> str:
    own = named_after(recipe.name)
    if request.overwrite and request.from_run == (request.run or own):
        raise UsageError(
            f"run {request.from_run!r} can not be replaced by one that starts from it", fix="choose another --run"
        )
    if request.overwrite:
        Run(workspace.run(request.run or own)).refuse_strangers()
        return request.run or own
    if request.run is None:
        number, name = 1, own
        while Run(workspace.run(name)).exists():
            number += 1
            name = f"{own}-{number}"
        return name
    if Run(workspace.run(request.run)).exists():
        raise UsageError(
            f"there is a run {request.run!r} already",
            fix="choose another --run, go on with it by `--resume`, or replace it by `--overwrite`",
        )
    return request.run
