"""Whether a preset can be used at all: its checkpoint, as far as that is known without data and without torch."""

from __future__ import annotations

from asrctl.config.recipe import Recipe
from asrctl.errors import PresetError
from asrctl.events import Emit, Note
from asrctl.models import architectures, language_adapters, processor, weight_matching, weights
from asrctl.training import compatibility


def look_at_checkpoint(recipe: Recipe, emit: Emit) -> None:
    """Of a preset's checkpoint what can be told without data. Raises PresetError, BadData, MissingArtifact."""
    section = recipe.model
    if section.checkpoint is None:
        architectures.require(section.architecture)
        compatibility.refuse_for_kind(recipe, section.architecture)
        compatibility.convolutions(recipe)
        return
    if section.lora.rank:
        from asrctl.models import lora

        lora.require()
        if section.lora.base == "int8":
            lora.require_int8()
    folder = weights.local_checkpoint(section.checkpoint, section.revision, language_adapters.source(section))
    if folder is None:
        emit(Note(f"{section.checkpoint} is not in the hub's cache on this machine, so it was not looked at"))
        return
    found = architectures.require(str({**weights.read_config(folder), **section.config}.get("model_type", "")))
    compatibility.refuse_for_kind(recipe, found.kind)
    compatibility.convolutions(recipe)
    language_adapters.refuse(section, folder, {**weights.read_config(folder), **section.config})
    weight_matching.require_head(section, folder, weights.read_shapes(folder, language_adapters.source(section)))
    rate = processor.read_rate(folder, found.extractor)
    if rate != recipe.audio.sample_rate:
        raise PresetError(
            f"{folder.name} hears {rate} samples per second, audio.sample_rate is {recipe.audio.sample_rate}",
            fix=f"set audio.sample_rate: {rate}",
        )
