"""Text and audio rules belong to prepared data: a recipe takes them from there."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Mapping, Tuple

from asrctl.config import presets
from asrctl.config.recipe import Recipe
from asrctl.data.dataset import PreparedData
from asrctl.data.text import TextRules
from asrctl.events import Emit, Note, Warned
from asrctl.messages import amounts
from asrctl.storage.workspace import Workspace

_AUDIO = ("sample_rate", "min_s", "max_s")
# A static shape is the model's program, not the data: it stays as long as the recipe says.
_STATIC = "audio.max_s"
# What `prepare` has decided once and for all: not even --set changes it.
DECIDED = ("audio.min_s", "text.vocab_splits")


def of_data(data: PreparedData) -> Dict[str, Any]:
    """{dotted key: value} of the rules that the data was made by, as a recipe holds them."""
    summary = data.summary
    text = dict(TextRules().spelled_out(), **summary.text)
    found: Dict[str, Any] = {"audio.sample_rate": data.sample_rate}
    found.update({"audio.min_s": float(summary.min_s), "audio.max_s": float(summary.max_s)})
    found.update((f"text.{name}", value) for name, value in text.items())
    return found


def of_vocabulary(workspace: Workspace, data: PreparedData) -> Dict[str, Any]:
    """The same of its vocabulary: the splits that it was collected from, unless a checkpoint brought it along."""
    if data.summary.mixture is not None:
        splits = data.summary.mixture.vocab_splits
        return {"text.vocab_splits": splits} if splits else {}
    vocabulary = workspace.find("vocab", data.summary.vocabulary)
    if vocabulary is None or vocabulary.summary.get("given") or not vocabulary.summary.get("splits"):
        return {}
    return {"text.vocab_splits": tuple(vocabulary.summary["splits"])}


def of_run(recipe: Recipe) -> Dict[str, Any]:
    """The same of a recipe that was stored with a run, to the letter."""
    found = {f"audio.{name}": getattr(recipe.audio, name) for name in _AUDIO}
    found.update((f"text.{item.name}", getattr(recipe.text, item.name)) for item in dataclasses.fields(recipe.text))
    return found


def of_recipe(recipe: Recipe) -> Dict[str, Any]:
    """The same, comparable with that of data: the order of the characters in `text.remove` is of no account."""
    return {**of_run(recipe), **{f"text.{name}": value for name, value in text_rules(recipe).spelled_out().items()}}


def text_rules(recipe: Recipe) -> TextRules:
    """How a recipe's transcripts become the text that is learned."""
    of = {item.name for item in dataclasses.fields(TextRules)}
    return TextRules(**{name: value for name, value in vars(recipe.text).items() if name in of})


def applied(resolved: presets.Resolved, made: Mapping[str, Any], origin: str, emit: Emit) -> presets.Resolved:
    """The recipe with the rules of its data, and a line on what it says otherwise.

    made: as `of_data` or `of_run` gives it. origin: whose they are. What --set names stays: where it does not fit,
    `compatibility.conflicts` says so.
    """
    recipe, sources = resolved.recipe, resolved.sources
    is_static = recipe.batches.shapes == "static"
    taken = {
        key: value
        for key, value in made.items()
        if (key in DECIDED or not is_typed(sources, key)) and not (is_static and key == _STATIC)
    }
    changed = _replaced(recipe, taken)
    before, after = of_recipe(recipe), of_recipe(changed)
    _tell(resolved, {key: (before[key], after[key]) for key in taken if before[key] != after[key]}, origin, emit)
    return dataclasses.replace(resolved, recipe=changed, sources={**sources, **dict.fromkeys(taken, origin)})


def is_typed(sources: Mapping[str, str], key: str) -> bool:
    """Whether --set names the key, one of those below it, or all of its section."""
    return presets.SET in (presets.source(sources, key), sources.get(key.partition(".")[0]))


def _replaced(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    sections: Dict[str, Dict[str, Any]] = {"audio": {}, "text": {}}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections[section][name] = value
    changed = {name: dataclasses.replace(getattr(recipe, name), **found) for name, found in sections.items()}
    return dataclasses.replace(recipe, **changed)


def _tell(resolved: presets.Resolved, changed: Mapping[str, Tuple[Any, Any]], origin: str, emit: Emit) -> None:
    """A warning where the preset itself says otherwise, a note where it only leaves the key at its default."""
    name, sources = resolved.recipe.name, resolved.sources
    told = [key for key in changed if not is_typed(sources, key)]
    for event, is_said in ((Warned, True), (Note, False)):
        values = [
            f"{key} is {_shown(changed[key][1])} ({name}: {_shown(changed[key][0])})"
            for key in told
            if (presets.source(sources, key) is not None) == is_said
        ]
        if values:
            emit(event(f"the {origin} decides its rules: {', '.join(values)}"))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return amounts.count(len(value), "replacement")
    return ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else repr(value)
