"""Resolve a request to train: which run, data and recipe it names."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from asrctl.commands import mixture
from asrctl.commands.select import latest_data
from asrctl.config import presets
from asrctl.config.recipe import Recipe
from asrctl.data import data_rules
from asrctl.data.dataset import PreparedData
from asrctl.errors import MissingArtifact, UsageError
from asrctl.events import Emit, Note
from asrctl.models.loading import Recognizer
from asrctl.models.model_files import sound_model
from asrctl.storage import files
from asrctl.storage.workspace import Workspace
from asrctl.training.job import TrainingJob
from asrctl.training.runs import Run, instead_of, named_after

_FIX_DATA = "run `asrctl prepare CORPUS` first"


@dataclass(frozen=True)
class TrainRequest:
    """What the user asked for. data: a name, or several with commas between them; then weights, one for each and with
    commas as well, or the temperature say how often each is drawn (asrctl.data.mixing). if_new: only where no run was
    made from the same. command: the words typed. processes: how many train together.
    """

    preset: Optional[str] = None
    data: Optional[str] = None
    weights: Optional[str] = None
    temperature: Optional[float] = None
    run: Optional[str] = None
    device: str = "auto"
    overrides: Tuple[str, ...] = ()
    max_steps: Optional[int] = None
    max_minutes: Optional[float] = None
    resume: bool = False
    overwrite: bool = False
    if_new: bool = False
    from_run: Optional[str] = None
    command: Tuple[str, ...] = ()
    processes: int = 1


@dataclass(frozen=True)
class Selected:
    """What a request names, found: the run to resume, where there is one, the data, and the recipe as the data has it.

    run_name: of the run that is made or resumed. base: what training starts from, for run.json.
    """

    stored: Optional[Run]
    data_name: str
    data: PreparedData
    resolved: presets.Resolved
    run_name: str
    base: Optional[str]

    @property
    def recipe(self) -> Recipe:
        return self.resolved.recipe


@dataclass(frozen=True)
class TrainPlan:
    """Everything resolved, nothing done yet.

    outline: of a checkpoint that was looked at, the model without weights. inputs: what the run is made from, if asked
    for. new: with --if-new, whether anything is to be done; None where that was not asked for, or is not known.
    recordings: {key of batches.augment: digest of what its folder holds}.
    """

    workspace: Workspace
    job: TrainingJob
    data: PreparedData
    data_name: str
    sources: Mapping[str, str]
    base: Optional[str]
    outline: Optional[Recognizer] = None
    inputs: Optional[Mapping[str, Any]] = None
    new: Optional[bool] = None
    recordings: Mapping[str, str] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return self.job.recipe

    @property
    def run_name(self) -> str:
        return self.job.folder.name

    def as_dict(self) -> Dict[str, Any]:
        job = self.job
        return {
            "preset": self.recipe.name,
            "data": {"name": self.data_name, "id": self.data.artifact.id},
            "run": self.run_name,
            "device": job.device.kind,
            "precision": job.precision,
            "steps": job.total_steps,
            "steps_per_epoch": job.batches.steps_per_epoch,
            "processes": job.processes,
            "recipe": self.recipe.as_dict(),
            "sources": dict(self.sources),
            **({} if self.new is None else {"new": self.new}),
        }


def select(workspace: Workspace, request: TrainRequest, emit: Emit) -> Selected:
    """Raises UsageError, PresetError, MissingArtifact, and BadData where what is named is damaged."""
    _refuse_contradictions(request)
    stored = _stored_run(workspace, request)
    # Before the data: a typo is told before data that is missing, which may take hours to make.
    asked = None if request.preset is None else _loaded(workspace, request, request.preset)
    name, data = _data_of(workspace, request, stored, emit)
    resolved = _recipe_of(workspace, request, stored, data, asked)
    for note in resolved.notes:
        emit(Note(note))
    resolved = _by_the_data(workspace, resolved, stored, data, name, emit)
    recipe = resolved.recipe
    run = stored.name if stored is not None else _run_name(workspace, request, recipe)
    return Selected(stored, name, data, resolved, run, _base_of(request, recipe))


def _refuse_contradictions(request: TrainRequest) -> None:
    """Raises UsageError for options that exclude each other, or mean nothing without another."""
    for name, value in (("--weights", request.weights), ("--temperature", request.temperature)):
        if value is not None and "," not in (request.data or ""):
            raise UsageError(
                f"{name} says how several prepared data are mixed, and --data does not name several",
                fix=f"name them with commas between them (--data A,B), or leave {name} out",
            )
    for name, given in (("--overwrite", request.overwrite), ("--from-run", request.from_run is not None)):
        if request.resume and given:
            raise UsageError(
                f"--resume goes on with a run and {name} starts one, so they exclude each other", fix="give one of them"
            )
    for name, given in (("--resume", request.resume), ("--overwrite", request.overwrite)):
        if request.if_new and given:
            raise UsageError(
                f"--if-new finds out what to do with which run and {name} says so, so they exclude each other",
                fix="give one of them",
            )


def _stored_run(workspace: Workspace, request: TrainRequest) -> Optional[Run]:
    """The run to resume, if that was asked for."""
    if not request.resume:
        return None
    if request.run is not None:
        run = Run(workspace.run(request.run))
        if not run.exists():
            raise MissingArtifact(f"there is no run {request.run!r} to resume", fix=instead_of(workspace, request.run))
        return run
    runs = workspace.runs(strict=True)
    if not runs:
        raise MissingArtifact("there is no run to resume", fix="start one with `asrctl train --preset tiny-cpu`")
    return Run(runs[-1])


def _data_of(
    workspace: Workspace, request: TrainRequest, stored: Optional[Run], emit: Emit
) -> Tuple[str, PreparedData]:
    if stored is not None and request.data is None:
        recorded = stored.info().data
        artifact = workspace.resolve("prepared", recorded.id, fix=_FIX_DATA)
        return recorded.name, PreparedData(artifact)
    if request.data is not None and "," in request.data:
        names, typed = mixture.names(request.data), request.weights
        wanted = mixture.request(names, None if typed is None else typed.split(","), request.temperature)
        return ",".join(names), mixture.planned(workspace, wanted)
    if request.data is not None:
        return request.data, PreparedData(workspace.resolve("prepared", request.data, fix=_FIX_DATA))
    name, data = latest_data(workspace)
    emit(Note(f"data: {name} ({data.artifact.id}), the latest prepared"))
    return name, data


def _loaded(workspace: Workspace, request: TrainRequest, name: str) -> presets.Resolved:
    return presets.load(name, overrides=request.overrides, workspace=workspace.root)


def _recipe_of(
    workspace: Workspace,
    request: TrainRequest,
    stored: Optional[Run],
    data: PreparedData,
    asked: Optional[presets.Resolved],
) -> presets.Resolved:
    """asked: the preset that the user named, else it is that of the run to resume, or of the data."""
    if asked is None and stored is not None:
        return presets.override(stored.recipe(), request.overrides, stored.recipe_path)
    name = data.summary.preset
    if asked is None and not isinstance(name, str):
        known = ", ".join(preset.name for preset in presets.available(workspace.root))
        raise UsageError(
            f"no preset was given, and the data was prepared without one; there are {known}",
            fix="add `--preset tiny-cpu`, or another of these",
        )
    resolved = asked or _loaded(workspace, request, str(name))
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


def _base_of(request: TrainRequest, recipe: Recipe) -> Optional[str]:
    """What training starts from: a run, a folder (never written like a name on the hub), a name on the hub, nothing."""
    name = recipe.model.checkpoint
    if request.from_run is not None:
        return f"run {request.from_run}"
    if name is None or name.startswith((".", "/", "~")) or not files.expanded(name).is_dir():
        return name
    return f"./{name}"


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
    if Run(workspace.run(request.run)).exists() and not request.if_new:
        raise UsageError(
            f"there is a run {request.run!r} already",
            fix="choose another --run, go on with it by `--resume`, or replace it by `--overwrite`",
        )
    return request.run
