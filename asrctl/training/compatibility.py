"""Whether a recipe fits prepared data: every conflict as a sentence, before any work."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Mapping, Optional

import numpy as np

from asrctl.config import model_config
from asrctl.config.recipe import ModelSection, Recipe
from asrctl.data import data_rules
from asrctl.data.dataset import PreparedData, PreparedSplit
from asrctl.data.sampler import samples_in
from asrctl.errors import PresetError
from asrctl.messages import amounts
from asrctl.models import architectures, frame_counts, weights
from asrctl.models.frames import Convolutions

# More training utterances than this that a model can not align, and it is the wrong model for the data.
MAX_SHORT_SHARE = 0.05
# What a checkpoint is taken for that is not here.
_USUAL = "wav2vec2"
_DROPOUTS = (
    "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout", "layerdrop",
)  # fmt: skip
# Share of rejects from which on `prepare` asks for --max-rejects.
MAX_REJECTS = 0.05
# Options of `prepare` that set what a recipe calls so.
_OPTIONS = {
    "audio.sample_rate": "--sample-rate",
    "text.case": "--case",
    "text.remove": "--remove",
    "text.language": "--language",
    "text.phonemes": "--phonemes",
}
# Keys of which only utterances can tell whether they fit, and keys that fit any data.
_NO_CONFLICT = ("audio.max_s", *data_rules.DECIDED)


def convolutions(recipe: Recipe, started: Optional[Path] = None) -> Convolutions:
    """The frames that the model of a recipe makes: a preset's keys win over its checkpoint's.

    started: the folder with the config.json of a run to resume, whose checkpoint may be gone. A checkpoint that is not
    on this machine yet counts as a usual one of wav2vec 2.0. Raises PresetError, BadData.
    """
    model = recipe.model
    folder = started
    if folder is None and model.checkpoint is not None:
        folder = weights.checkpoint_at_hand(model.checkpoint, model.revision)
    known = {"model_type": _kind(recipe, folder)} if folder is None else weights.read_config(folder)
    try:
        return frame_counts.of_values(model_config.merged(known, model.config), folder)
    except ValueError as error:
        raise PresetError(
            f"the model of preset {recipe.name}: {error}", fix="correct model.config or model.checkpoint"
        ) from None


def kind_of(recipe: Recipe, started: Optional[Path] = None) -> str:
    """The type of the model that a recipe trains, as far as it is known here. Arguments as above."""
    folder, model = started, recipe.model
    if folder is None and model.checkpoint is not None:
        folder = weights.checkpoint_at_hand(model.checkpoint, model.revision)
    return _kind(recipe, folder)


def _kind(recipe: Recipe, folder: Optional[Path]) -> str:
    if folder is not None:
        return str(weights.read_config(folder)["model_type"])
    return recipe.model.architecture if recipe.model.checkpoint is None else _USUAL


def refuse_for_kind(recipe: Recipe, kind: str) -> None:
    """Raises PresetError where a recipe asks for what a model of this type can not do, MissingDependency."""
    found = architectures.require(kind)
    if recipe.model.filterbank and recipe.model.checkpoint is None and not found.hears_samples:
        raise PresetError(
            f"model.filterbank is true, and a {kind} model has no convolutions over samples",
            fix="set model.filterbank=false",
        )
    if recipe.batches.shapes == "static" and not (found.hears_samples and found.together):
        raise PresetError(
            f"batches.shapes of preset {recipe.name} is static, and a {kind} model is trained with free shapes only",
            fix="set batches.shapes=free (`--set batches.shapes=free`)",
        )


def without_effect(recipe: Recipe, kind: str) -> List[str]:
    """Keys of a recipe that ask for something that a model of this type does not have."""
    from asrctl.models import hf_config

    if kind in architectures.ARCHITECTURES:
        return []  # these have all of them
    model, usual = recipe.model, ModelSection()
    asked = [key for key in _DROPOUTS if getattr(model, key) != getattr(usual, key) and getattr(model, key)]
    asked += [f"mask_{name}_prob" for name in ("time", "feature") if getattr(model.spec_augment, f"{name}_prob")]
    lacking = hf_config.without_place(kind, asked)
    return [f"model.spec_augment.{key[5:]}" if key.startswith("mask_") else f"model.{key}" for key in lacking]


@dataclass(frozen=True)
class Conflict:
    """Why a recipe does not fit.

    fix: what to do about it; or else overrides: {key: value} to --set. again: options with which other data would be
    prepared.
    """

    message: str
    fix: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)
    again: Mapping[str, str] = field(default_factory=dict)

    @property
    def advice(self) -> str:
        words = " ".join(f"--set {key}={value}" for key, value in self.overrides.items())
        return self.fix or f"add `{words}`"


def conflicts(
    recipe: Recipe,
    data: PreparedData,
    splits: Mapping[str, PreparedSplit],
    encoder: Convolutions,
    preset: Optional[str] = None,
) -> List[Conflict]:
    """Empty where everything fits. encoder: the model's. preset: what to type for it; default: its name."""
    short = {name: len(split) - len(alignable(encoder, split)) for name, split in splits.items()}
    found = [*_rules(recipe, data), *_too_long(recipe, data, splits), *_too_many_labels(recipe, splits)]
    if short["train"] > MAX_SHORT_SHARE * len(splits["train"]):
        found.append(
            Conflict(
                f"{short['train']} of {amounts.count(len(splits['train']), 'utterance')} of train "
                f"{amounts.noun(short['train'], 'has', 'have')} more labels than this model has"
                " frames",
                "choose another preset",
                again=_without_short(preset or recipe.name, data, splits, short),
            )
        )
    return found


def _without_short(
    preset: str, data: PreparedData, splits: Mapping[str, PreparedSplit], short: Mapping[str, int]
) -> Dict[str, str]:
    """Options that leave out what is short, where something is left then."""
    if any(short[name] == len(split) for name, split in splits.items()):
        return {}
    return {"--preset": preset, **_rejecting(data, sum(short.values()))}


def _rules(recipe: Recipe, data: PreparedData) -> List[Conflict]:
    own, made = data_rules.of_recipe(recipe), data_rules.of_data(data)
    return [
        Conflict(
            f"{key} is {own[key]!r}, the data was made with {made[key]!r}",
            f"leave out --set {key}, as the data decides it",
            again={_OPTIONS[key]: str(own[key])} if key in _OPTIONS and own[key] is not None else {},
        )
        for key in made
        if own[key] != made[key] and key not in _NO_CONFLICT
    ]


def _too_long(recipe: Recipe, data: PreparedData, splits: Mapping[str, PreparedSplit]) -> List[Conflict]:
    limit = recipe.audio.max_s
    most = samples_in(limit, data.sample_rate)
    counts = {name: int((split.num_samples > most).sum()) for name, split in splits.items()}
    longest = max(int(split.num_samples.max(initial=0)) for split in splits.values()) / data.sample_rate
    overrides = {"audio.max_s": f"{math.ceil(100 * longest) / 100:g}"}
    again = {"--max-s": f"{limit:g}", **_rejecting(data, sum(counts.values()))}
    again = again if all(count < len(splits[name]) for name, count in counts.items()) else {}
    return [
        Conflict(
            f"{amounts.count(count, 'utterance')} of {name} {amounts.noun(count, 'is', 'are')} longer than "
            f"audio.max_s ({limit:g} s)",
            overrides=overrides,
            again=again,
        )
        for name, count in counts.items()
        if count
    ]


def _too_many_labels(recipe: Recipe, splits: Mapping[str, PreparedSplit]) -> List[Conflict]:
    if recipe.batches.shapes != "static":
        return []
    limit = recipe.batches.max_labels
    counts = {name: int((split.num_labels > limit).sum()) for name, split in splits.items()}
    most = max(int(split.num_labels.max(initial=0)) for split in splits.values())
    return [
        Conflict(
            f"{amounts.count(count, 'utterance')} of {name} {amounts.noun(count, 'has', 'have')} more than "
            f"batches.max_labels ({limit})",
            overrides={"batches.max_labels": str(most)},
        )
        for name, count in counts.items()
        if count
    ]


def _rejecting(data: PreparedData, more: int) -> Dict[str, str]:
    """The option that lets `prepare` reject so many more utterances, where it would not by itself."""
    splits = data.summary.splits.values()
    rejected = sum(split.rejected for split in splits) + more
    share = rejected / max(1, sum(split.utterances + split.rejected for split in splits))
    return {"--max-rejects": f"{min(1.0, math.ceil(100 * share) / 100):g}"} if share > MAX_REJECTS else {}


def alignable(encoder: Convolutions, split: PreparedSplit) -> np.ndarray:
    """Indices of the utterances that CTC can align with this model: labels + adjacent repeats <= frames.

    `prepare` has dropped those that no usual encoder could; one with a longer reach has fewer frames.
    """
    return np.flatnonzero(encoder.frames(split.num_samples) >= split.num_labels + split.num_repeats)
