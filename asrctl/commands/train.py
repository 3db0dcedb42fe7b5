"""recipe + prepared data -> a run: resolve everything, refuse what does not fit, hand over to a trainer."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import Any, Optional

from asrctl.commands import mixture, same_run
from asrctl.commands.run_training import TrainResult, as_it_is, carry_out, help_carry_out
from asrctl.commands.train_checks import check
from asrctl.commands.train_guard import guard_set
from asrctl.commands.train_request import TrainPlan, TrainRequest, select
from asrctl.config.recipe import Recipe
from asrctl.data.dataset import PreparedSplit
from asrctl.errors import DeviceError, Locked
from asrctl.events import Emit, Note, ignore
from asrctl.runtime import devices, ranks
from asrctl.runtime.ranks import ALONE, Ranks
from asrctl.storage import files
from asrctl.storage.workspace import Workspace
from asrctl.training.job import TrainingJob, batch_plan
from asrctl.training.runs import Run, replaced_runs


def train(workspace: Workspace, request: TrainRequest, emit: Emit = ignore, group: Ranks = ALONE) -> TrainResult:
    """Train, or resume, a run.

    Raises Interrupted after a checkpoint was left, Diverged, and what `plan` raises. The run's folder always says in
    which state it is. group: the processes that train together, of which this is the main one; the others call
    `help_to_train`.
    """
    _settle(workspace)
    planned = _planned(workspace, request, emit, group)
    run = Run(planned.job.folder)
    if planned.new is False:
        same_run.make_latest(workspace, run)
        return as_it_is(run, run.info())
    workspace.create()
    with workspace.lock(f"run-{run.name}"):
        files.refuse_links(run.folder)
        if run.exists() and not (planned.job.resume or request.overwrite):
            raise Locked(
                f"another process has made the run {run.name!r} meanwhile",
                fix="run the command again" if request.if_new else "choose another name with --run",
            )
        run.settle()
        with run.replaced() if request.overwrite else run.kept():
            inputs = same_run.inputs_to_keep(run, planned)
            planned = dataclasses.replace(planned, data=mixture.published(workspace, planned.data, emit), inputs=inputs)
            return carry_out(run, planned, emit, group)


def device_of_several(request: TrainRequest, on_one_machine: int) -> str:
    """The device of a training in several processes: cpu or cuda. Raises DeviceError where they can not share it.

    on_one_machine: processes on this machine.
    """
    kind = devices.choose(request.device).kind
    if kind not in ("cpu", "cuda"):
        one = "replicas of a pod share an IPU's work out by themselves" if kind.startswith("ipu") else "there is one"
        raise DeviceError(
            f"{request.processes} processes can not train on {kind}: {one}",
            fix="leave out --processes, or use `--device cpu`",
        )
    found = devices.cuda_count() if kind == "cuda" else on_one_machine
    if on_one_machine > found:
        raise DeviceError(
            f"{on_one_machine} processes need as many GPUs, and torch sees {found}",
            fix=f"use `--processes {found}`, or `--device cpu`",
        )
    return kind


def help_to_train(workspace: Workspace, request: TrainRequest, group: Ranks) -> None:
    """Do the part of a process that is not the main one; it writes nothing but features into the cache."""
    planned = _planned(workspace, request, ignore, group)
    if planned.new is not False:
        help_carry_out(Run(planned.job.folder), planned, group)


def _planned(workspace: Workspace, request: TrainRequest, emit: Emit, group: Ranks) -> TrainPlan:
    """The plan, the same in all processes. Nothing is written before all of them have it."""
    return group.agreed(
        lambda: plan(workspace, request, emit, fetch=True), lambda planned: (planned.as_dict(), planned.data.content)
    )


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
    if request.processes > 1:
        here = ranks.place()
        device_of_several(request, request.processes if here is None else here.local_size)
    selected = select(workspace, request, emit)
    device = devices.choose(request.device)
    emit(Note(device.reason))
    checked = check(workspace, request, selected, device, emit, hardware_needed=hardware_needed, fetch=fetch)
    data, recipe = selected.data, selected.recipe
    job = TrainingJob(
        recipe=recipe,
        folder=workspace.run(selected.run_name),
        train=checked.train,
        eval=data.split("eval") if "eval" in data.splits else None,
        device=device,
        precision=checked.precision,
        total_steps=_total_steps(request, selected.stored, recipe, device, checked.train),
        resume=request.resume,
        max_steps=request.max_steps,
        max_minutes=request.max_minutes,
        cache=workspace.own(workspace.root / "cache" / "ipu"),
        features=workspace.own(workspace.root / "cache" / "features"),
        data=data.content,
        command=request.command,
        recordings=checked.recordings,
        guard=guard_set(workspace, recipe, data, device),
        processes=request.processes,
    )
    planned = TrainPlan(
        workspace,
        job,
        data,
        selected.data_name,
        selected.resolved.sources,
        selected.base,
        checked.outline,
        recordings=checked.digests,
    )
    return same_run.applied(request, planned, emit) if request.if_new else planned


def _total_steps(
    request: TrainRequest, stored: Optional[Run], recipe: Recipe, device: Any, train: PreparedSplit
) -> int:
    """Optimizer steps of the whole run. Raises PresetError where an IPU has too little to do."""
    total = request.max_steps or _stored_total(stored, recipe) or recipe.optim.max_steps
    total = total or max(1, math.ceil(recipe.optim.epochs * batch_plan(recipe, train).steps_per_epoch))
    if device.is_host:
        return total
    from asrctl.ipu import config

    config.refuse_small("train", len(train), recipe)
    return config.whole_calls(recipe, total)


def _stored_total(stored: Optional[Run], recipe: Recipe) -> Optional[int]:
    """Steps that the run to resume was started for: they decide the schedule. None where the recipe asks for others."""
    if stored is None or _length(stored.recipe()) != _length(recipe):
        return None
    info = stored.info()
    total = info.total_steps if info.recipe_steps is None else info.recipe_steps
    return total if total is not None and total > 0 else None


def _length(recipe: Recipe) -> Any:
    return recipe.optim.max_steps, recipe.optim.epochs


def _settle(workspace: Workspace) -> None:
    """Bring back runs whose replacement was killed before it began."""
    for name in replaced_runs(workspace):
        with contextlib.suppress(Locked), workspace.lock(f"run-{name}"):
            Run(workspace.run(name)).settle()
