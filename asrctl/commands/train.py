"""recipe + prepared data -> a run: resolve everything, refuse what does not fit, hand over to a backend."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from asrctl.commands import same_run
from asrctl.commands import train_checks as checks
from asrctl.commands import train_request as meant
from asrctl.commands.run_training import Start, TrainResult, as_it_is, carry_out
from asrctl.commands.train_request import TrainPlan, TrainRequest
from asrctl.config import presets
from asrctl.config.recipe import Recipe
from asrctl.data.dataset import PreparedData, PreparedSplit
from asrctl.errors import Locked
from asrctl.events import Emit, Note, ignore
from asrctl.models.hf_config import Convolutions
from asrctl.storage import files
from asrctl.storage.workspace import Workspace
from asrctl.training.compatibility import alignable, convolutions
from asrctl.training.runs import Run, replaced_runs


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
    from asrctl.runtime import devices

    checks.refuse_contradictions(request)
    stored = meant.stored_run(workspace, request)
    # Before the data: a typo is told before data that is missing, which may take hours to make.
    asked = None if request.preset is None else meant.loaded(workspace, request, request.preset)
    data_name, data = meant.data_of(workspace, request, stored, emit)
    resolved = meant.recipe_of(workspace, request, stored, data, asked)
    for note in resolved.notes:
        emit(Note(note))
    resolved = meant.by_the_data(workspace, resolved, stored, data, data_name, emit)
    recipe = resolved.recipe
    device = devices.choose(request.device)
    emit(Note(device.reason))
    if stored is None:
        checks.refuse_optimizer(recipe, device)
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
    name = stored.name if stored is not None else meant.run_name(workspace, request, recipe)
    known = (recipe, dict(resolved.sources), data, data_name, name, device, precision, total, per_epoch)
    planned = TrainPlan(*known, request.resume, train, encoder, start)
    return same_run.applied(workspace, request, planned, emit) if request.if_new else planned


def _steps(
    request: TrainRequest, stored: Optional[Run], recipe: Recipe, device: Any, train: PreparedSplit
) -> Tuple[int, int]:
    """Optimizer steps of the whole run, and of an epoch. Raises PresetError where an IPU has too little to do."""
    from asrctl.training.trainer import plan_of

    per_epoch = plan_of(recipe, train).steps_per_epoch
    total = request.max_steps or meant.stored_total(stored, recipe) or recipe.optim.max_steps
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
    from asrctl.runtime import devices

    if device.is_host:
        return devices.precision(device.kind, recipe.host(device.kind).precision)
    from asrctl.ipu import config, runner

    runner.preflight(recipe, device.kind, started=_started(stored), hardware_needed=hardware_needed)
    return config.section(recipe).precision


def train(workspace: Workspace, request: TrainRequest, emit: Emit = ignore) -> TrainResult:
    """Train, or resume, a run.

    Raises Interrupted after a checkpoint was left, Diverged, and what `plan` raises. The run's folder always says in
    which state it is.
    """
    _settle(workspace)
    planned = plan(workspace, request, emit, fetch=True)
    if planned.new is False:
        run = Run(workspace.run(planned.run_name))
        same_run.make_latest(workspace, run)
        return as_it_is(run, run.info())
    workspace.create()
    with workspace.lock(f"run-{planned.run_name}"):
        files.refuse_links(workspace.run(planned.run_name))
        run = Run(workspace.run(planned.run_name))
        if run.exists() and not (planned.resume or request.overwrite):
            raise Locked(
                f"another process has made the run {run.name!r} meanwhile",
                fix="run the command again" if request.if_new else "choose another name with --run",
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
        resume=planned.resume,
        inputs=same_run.inputs_to_keep(run, planned, request.max_minutes),
        base=meant.base_of(workspace, request, planned.recipe),
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
