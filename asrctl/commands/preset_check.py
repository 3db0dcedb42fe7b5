"""Whether a preset can be used at all: its checkpoint, as far as that is known without data and without torch."""

from __future__ import annotations

from asrctl.config.recipe import Recipe
from asrctl.errors import PresetError
from asrctl.events import Emit, Note
from asrctl.models import architectures, processor, weight_matching, weights


def look_at_checkpoint(recipe: Recipe, emit: Emit) -> None:
    """Of a preset's checkpoint what can be told without data. Raises PresetError, BadData, MissingArtifact."""
    section = recipe.model
    if section.checkpoint is None:
        architectures.require(section.architecture)
        return
    folder = weights.local_checkpoint(section.checkpoint, section.revision)
    if folder is None:
        emit(Note(f"{section.checkpoint} is not in the hub's cache on this machine, so it was not looked at"))
        return
    architectures.require(str({**weights.read_config(folder), **section.config}.get("model_type", "")))
    weight_matching.require_head(section, folder, weights.read_shapes(folder))
    found_rules = processor.read_features(folder, layer_norm=True)
    if found_rules.sample_rate != recipe.audio.sample_rate:
        raise PresetError(
            f"{folder.name} hears {found_rules.sample_rate} samples per second, audio.sample_rate is "
            f"{recipe.audio.sample_rate}",
            fix=f"set audio.sample_rate: {found_rules.sample_rate}",
        )
