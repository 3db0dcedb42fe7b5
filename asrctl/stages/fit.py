"""Whether a recipe fits prepared data: every conflict as a sentence, before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from asrctl import configs, weights
from asrctl.batches import samples_in
from asrctl.configs import Convolutions
from asrctl.errors import PresetError
from asrctl.prepared import PreparedData, PreparedSplit
from asrctl.recipe import Recipe
from asrctl.text import TextRules

# More training utterances than this that a model can not align, and it is the wrong model for the data.
MAX_SHORT_SHARE = 0.05


def convolutions(recipe: Recipe, started: Optional[Path] = None) -> Convolutions:
    """The convolutional encoder of the model that a recipe trains: a preset's keys win over its checkpoint's.

    started: the folder with the config.json of a run to resume, whose checkpoint may be gone. A checkpoint that is not
    on this machine yet counts as the usual one. Raises PresetError, BadData.
    """
    model = recipe.model
    folder = started
    if folder is None and model.checkpoint is not None:
        folder = weights.checkpoint_at_hand(model.checkpoint, model.revision)
    known = {} if folder is None else weights.read_config(folder)
    try:
        return configs.convolutions({**known, **model.config})
    except ValueError as error:
        raise PresetError(
            f"the model of preset {recipe.name}: {error}", fix="correct model.config or model.checkpoint"
        ) from None


def conflicts(
    recipe: Recipe, data: PreparedData, splits: Mapping[str, PreparedSplit], encoder: Convolutions
) -> List[str]:
    """Sentences; empty where everything fits. encoder: the model's."""
    found = _rules(recipe, data)
    for name, split in splits.items():
        found.extend(_lengths(recipe, name, split, encoder))
    return found


def _rules(recipe: Recipe, data: PreparedData) -> List[str]:
    found = []
    if recipe.audio.sample_rate != data.sample_rate:
        found.append(f"audio.sample_rate is {recipe.audio.sample_rate}, the data has {data.sample_rate}")
    wanted = text_rules(recipe).as_dict()
    made: Dict[str, Any] = dict(TextRules().as_dict(), **data.summary.get("text", {}))
    found.extend(
        f"text.{key} is {value!r}, the data was made with {made[key]!r}"
        for key, value in wanted.items()
        if made[key] != value
    )
    return found


def text_rules(recipe: Recipe) -> TextRules:
    text = recipe.text
    return TextRules(text.case, text.remove, text.word_delimiter, text.unk, text.pad)


def _lengths(recipe: Recipe, name: str, split: PreparedSplit, encoder: Convolutions) -> List[str]:
    found = []
    too_long = int((split.num_samples > samples_in(recipe.audio.max_s, split.sample_rate)).sum())
    if too_long:
        found.append(f"{too_long} utterances of {name} are longer than audio.max_s ({recipe.audio.max_s:g} s)")
    if recipe.batches.shapes == "static":
        too_many = int((split.num_labels > recipe.batches.max_labels).sum())
        if too_many:
            found.append(
                f"{too_many} utterances of {name} have more than batches.max_labels ({recipe.batches.max_labels})"
            )
    short = len(split) - len(alignable(encoder, split))
    if name == "train" and short > MAX_SHORT_SHARE * len(split):
        found.append(f"{short} of {len(split)} utterances of {name} have more labels than this model has frames")
    return found


def alignable(encoder: Convolutions, split: PreparedSplit) -> np.ndarray:
    """Indices of the utterances that CTC can align with this model: labels + adjacent repeats <= frames.

    `prepare` has dropped those that no usual encoder could; one with a longer reach has fewer frames.
    """
    return np.flatnonzero(encoder.frames(split.num_samples) >= split.num_labels + split.num_repeats)
