"""The guard set of a training (`run.guard`): found, and refused where it could tell nothing."""

from __future__ import annotations

from typing import Any, Optional

from asrctl.commands.select import alphabet_gap, named_data
from asrctl.config.recipe import Recipe
from asrctl.data.dataset import PreparedData
from asrctl.errors import BadData, PresetError
from asrctl.storage.workspace import Workspace
from asrctl.training.guard import GuardSet

_WITHOUT = "leave --guard (run.guard) out"


def guard_set(workspace: Workspace, recipe: Recipe, data: PreparedData, device: Any) -> Optional[GuardSet]:
    """Its usual split. Raises PresetError, MissingArtifact, BadData."""
    name = recipe.run.guard
    if name is None:
        return None
    if recipe.model.checkpoint is None:
        raise PresetError(
            "run.guard makes no sense for a model from nothing, which has nothing to forget",
            fix=f"start from a model: `--set model.checkpoint=...`; or {_WITHOUT}",
        )
    if not device.is_host:
        raise PresetError(
            f"run.guard is not heard on {device.kind}", fix=f"{_WITHOUT}, and use `asrctl eval --guard {name}` after it"
        )
    found = named_data(workspace, name)
    if found.sample_rate != data.sample_rate:
        raise BadData(
            f"guard set {name} has {found.sample_rate} Hz and the data of this training {data.sample_rate} Hz",
            fix=f"prepare it again with --sample-rate {data.sample_rate}, or {_WITHOUT}",
        )
    alphabet_gap(data.vocabulary(), found.vocabulary())
    split = found.split(found.usual_split)
    if len(split) < 2:
        raise BadData(f"guard set {name} has too few utterances to tell anything", fix=f"choose another, or {_WITHOUT}")
    return GuardSet(name, found.content, split)


def refuse_new_head(recipe: Recipe) -> None:
    """Raises PresetError where the head was drawn anew: before training the model can write nothing."""
    if recipe.run.guard is not None:
        raise PresetError(
            "run.guard makes no sense with a new head (model.head: reinit), which writes nothing before it has learned",
            fix=f"prepare the data with the vocabulary of the checkpoint (--vocab), or {_WITHOUT}",
        )
