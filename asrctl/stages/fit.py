"""Whether a recipe fits prepared data: every conflict as a sentence, before any work."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

import numpy as np

from asrctl.prepared import PreparedData, PreparedSplit
from asrctl.recipe import Recipe
from asrctl.text import TextRules

# The convolutional encoder of wav2vec 2.0 and kin, unless model.config says otherwise.
KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
# More training utterances than this that a model can not align, and it is the wrong model for the data.
MAX_SHORT_SHARE = 0.05


def conflicts(recipe: Recipe, data: PreparedData, splits: Mapping[str, PreparedSplit]) -> List[str]:
    """Sentences; empty where everything fits."""
    found = _rules(recipe, data)
    for name, split in splits.items():
        found.extend(_lengths(recipe, name, split))
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


def _lengths(recipe: Recipe, name: str, split: PreparedSplit) -> List[str]:
    found = []
    too_long = int((split.num_samples > round(recipe.audio.max_s * split.sample_rate)).sum())
    if too_long:
        found.append(f"{too_long} utterances of {name} are longer than audio.max_s ({recipe.audio.max_s:g} s)")
    if recipe.batches.shapes == "static":
        too_many = int((split.num_labels > recipe.batches.max_labels).sum())
        if too_many:
            found.append(
                f"{too_many} utterances of {name} have more than batches.max_labels ({recipe.batches.max_labels})"
            )
    short = len(split) - len(alignable(recipe, split))
    if name == "train" and short > MAX_SHORT_SHARE * len(split):
        found.append(f"{short} of {len(split)} utterances of {name} have more labels than this model has frames")
    return found


def alignable(recipe: Recipe, split: PreparedSplit) -> np.ndarray:
    """Indices of the utterances that CTC can align with this model: labels + adjacent repeats <= frames.

    `prepare` has dropped those that no usual encoder could; one with a longer reach has fewer frames.
    """
    return np.flatnonzero(frames(recipe, split.num_samples) >= split.num_labels + split.num_repeats)


def frames(recipe: Recipe, num_samples: np.ndarray) -> np.ndarray:
    """(utterances,) samples -> frames of the recipe's convolutional encoder."""
    kernels = recipe.model.config.get("conv_kernel", KERNELS)
    strides = recipe.model.config.get("conv_stride", STRIDES)
    lengths = np.asarray(num_samples, dtype=np.int64)
    for kernel, stride in zip(kernels, strides):
        lengths = np.maximum((lengths - kernel) // stride + 1, 0)
    return lengths
