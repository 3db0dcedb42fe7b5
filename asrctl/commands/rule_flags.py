"""What decides how a corpus is read, from three places: the command's flags win over the preset, that over defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from asrctl.config import presets
from asrctl.config.recipe import Recipe
from asrctl.data import phonemes
from asrctl.data.audio import AudioRules
from asrctl.data.rules import Rules
from asrctl.data.text import TextRules
from asrctl.errors import UsageError
from asrctl.storage import files
from asrctl.training import compatibility


@dataclass(frozen=True)
class RuleFlags:
    """What the user set on the command line; None is not set. replace_file: where `replace` was read."""

    preset: Optional[str] = None
    sample_rate: Optional[int] = None
    min_s: Optional[float] = None
    max_s: Optional[float] = None
    case: Optional[str] = None
    remove: Optional[str] = None
    language: Optional[str] = None
    replace: Optional[Mapping[str, str]] = None
    replace_file: Optional[str] = None
    phonemes: Optional[str] = None
    word_delimiter: Optional[str] = None
    unk: Optional[str] = None
    pad: Optional[str] = None
    vocab_splits: Optional[Tuple[str, ...]] = None


_AUDIO_KEYS = ("sample_rate", "min_s", "max_s")
_TEXT_KEYS = ("case", "remove", "word_delimiter", "unk", "pad", "language", "replace", "phonemes")


def resolve(flags: RuleFlags, workspace: Optional[Path] = None) -> Rules:
    """Raises PresetError, UsageError, and BadData where the preset's checkpoint does not say what it is."""
    resolved = presets.load(flags.preset, workspace=workspace) if flags.preset is not None else None
    recipe = resolved.recipe if resolved is not None else Recipe()
    origins: Dict[str, str] = {}

    def pick(section: str, key: str) -> Any:
        flag = getattr(flags, key)
        dotted = f"{section}.{key}"
        from_preset = presets.source(resolved.sources, dotted) if resolved is not None else None
        origins[dotted] = "flag" if flag is not None else from_preset or "default"
        return flag if flag is not None else getattr(getattr(recipe, section), key)

    encoder = compatibility.convolutions(recipe)
    rules = Rules(
        audio=AudioRules(**{key: pick("audio", key) for key in _AUDIO_KEYS}),
        text=TextRules(**{key: pick("text", key) for key in _TEXT_KEYS}),
        vocab_splits=tuple(pick("text", "vocab_splits")),
        kernels=encoder.kernels,
        strides=encoder.strides,
        preset=_findable(flags.preset),
        origins=origins,
    )
    if not 0 <= rules.audio.min_s < rules.audio.max_s:
        raise UsageError(
            f"the shortest duration ({rules.audio.min_s:g} s) is not below the longest ({rules.audio.max_s:g} s)",
            fix="change --min-s or --max-s",
        )
    if rules.text.phonemes is not None:
        phonemes.version(rules.text.phonemes)  # what is missing is told before any work
    return rules


def _findable(preset: Optional[str]) -> Optional[str]:
    if preset is None:
        return None
    is_path = preset.endswith((".yaml", ".yml")) or os.sep in preset
    return str(files.expanded(preset).resolve()) if is_path else preset
