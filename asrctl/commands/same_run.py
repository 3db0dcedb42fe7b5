"""The inputs that decide a run's outcome, and the search for a run of equal inputs: `train --if-new`."""

from __future__ import annotations

import dataclasses
from typing import Any, List, Mapping, Optional, Sequence

from asrctl import __version__
from asrctl.commands.train_checks import changed_keys
from asrctl.commands.train_request import TrainPlan, TrainRequest
from asrctl.config.recipe import ModelSection
from asrctl.errors import BadData, UsageError
from asrctl.events import Emit, Note
from asrctl.models import language_adapters, weights
from asrctl.models.model_files import model_digest
from asrctl.storage.workspace import Workspace
from asrctl.training.runs import Run

Inputs = Mapping[str, Any]
# Of these the values are digests, which tell people nothing.
_DIGESTS = {
    "base": "model.checkpoint: the files of the model that training starts from are others",
    "vocabulary": "vocabulary: is another one",
    "data.content": "data: was made again and holds other speech or labels",
}


def inputs_of(planned: TrainPlan) -> Optional[Inputs]:
    """All that decides what comes out of a planned training, for run.json. Runs of equal inputs are the same run.

    None where the checkpoint is not on this machine. It counts by its content: jobs may find it under other paths.
    """
    section = planned.recipe.model
    base = _base(section)
    if base is None and section.checkpoint is not None:
        return None
    return _inputs(planned, planned.job.max_minutes, base)


def inputs_to_keep(run: Run, planned: TrainPlan) -> Inputs:
    """What run.json is to say of a run that starts or goes on.

    Nothing where options that differ from the first ones make it a run that no single command makes.
    """
    if not planned.job.resume:
        return dict(planned.inputs or inputs_of(planned) or {})
    before = run.info().inputs
    if before is None:  # an earlier version of asrctl made it
        return {}
    # Once a limit is planned for, a run keeps to it without being told again.
    limit = before.get("max_minutes") if planned.job.max_minutes is None else planned.job.max_minutes
    return dict(before) if _inputs(planned, limit, before.get("base")) == before else {}


def _inputs(planned: TrainPlan, max_minutes: Optional[float], base: Optional[str]) -> Inputs:
    recipe = planned.recipe.as_dict()
    values = dict(planned.recipe.experiment(), run=recipe["run"])
    values["model"] = {name: value for name, value in values["model"].items() if name not in ("checkpoint", "revision")}
    # Folders count by what they hold, wherever they lie.
    augment = dict(values["batches"]["augment"], **planned.recordings)
    values["batches"] = dict(values["batches"], augment=augment)
    return dict(
        values,
        asrctl=__version__,
        base=base,
        data={"id": planned.data.artifact.id, "content": planned.data.content},
        device=planned.job.device.kind,
        max_minutes=max_minutes,
        precision=planned.job.precision,
        steps=planned.job.total_steps,
        vocabulary=planned.data.vocabulary().digest,
    )


def _base(section: ModelSection) -> Optional[str]:
    """Digest of the files that training starts from."""
    folder = None
    if section.checkpoint is not None:
        folder = weights.local_checkpoint(section.checkpoint, section.revision, language_adapters.source(section))
    return None if folder is None else model_digest(folder, language_adapters.source(section))


def applied(request: TrainRequest, planned: TrainPlan, emit: Emit) -> TrainPlan:
    """The plan for --if-new: of the run that was made from the same inputs, if there is one.

    Raises UsageError where the run that the user names was made from others, BadData where it is damaged.
    """
    inputs, workspace = inputs_of(planned), planned.workspace
    if inputs is None:  # only a dry run does not fetch it
        return planned
    run = _named(workspace, request.run, inputs) if request.run is not None else _latest(workspace, inputs)
    if run is None:
        return dataclasses.replace(planned, inputs=inputs, new=True)
    is_done = _is_done(run)
    if not is_done:
        emit(Note(f"run {run.name} was started with the same inputs and is not complete, so it is gone on with"))
    before = run.recipe().model
    model = dataclasses.replace(planned.recipe.model, checkpoint=before.checkpoint, revision=before.revision)
    recipe = dataclasses.replace(planned.recipe, model=model)
    job = dataclasses.replace(planned.job, folder=run.folder, recipe=recipe, resume=True)
    return dataclasses.replace(planned, job=job, inputs=inputs, new=not is_done, outline=None)


def _named(workspace: Workspace, name: str, inputs: Inputs) -> Optional[Run]:
    run = Run(workspace.run(name))
    if not run.exists():
        return None
    before = run.info().inputs
    if before == inputs:
        return run
    why = "was made from other inputs"
    if before is None:
        why = "does not say what it was made from (an earlier asrctl made it, or it was resumed with other options)"
    raise UsageError(
        f"run {name!r} {why}",
        fix="choose another --run, or replace it by `--overwrite` instead of `--if-new`",
        problems=[] if before is None else _differences(before, inputs),
    )


def _differences(before: Inputs, after: Inputs) -> List[str]:
    lines: Sequence[str] = changed_keys(before, after)
    if any(line.startswith("data.id:") for line in lines):
        lines = [line for line in lines if not line.startswith("data.content:")]
    return [_DIGESTS.get(line.partition(":")[0], line) for line in lines]


def _latest(workspace: Workspace, inputs: Inputs) -> Optional[Run]:
    """A complete one rather than one that is not."""
    alike = [run for run in map(Run, workspace.runs()) if _recorded(run) == inputs]
    found = [run for run in alike if _is_done(run)] or alike
    return found[-1] if found else None


def _recorded(run: Run) -> Optional[Inputs]:
    try:
        return run.info().inputs
    except BadData:  # a damaged run is none that anybody goes on with
        return None


def _is_done(run: Run) -> bool:
    """Whether nothing is left to do. A model that was deleted is made again from a checkpoint, as by --resume."""
    return run.info().state == "complete" and run.model.is_dir()


def make_latest(workspace: Workspace, run: Run) -> None:
    """Let `eval` and `export` without --run mean this run, as they would if it had been trained now.

    Raises Locked where another process is at work on it.
    """
    last = workspace.last_sequence()
    if run.info().sequence < last:
        with workspace.lock(f"run-{run.name}"):
            run.write(dataclasses.replace(run.info(), sequence=last + 1))
