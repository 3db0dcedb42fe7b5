"""The rules by which a corpus is read: its audio, its text, and the model that is to hear it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Mapping, Optional, Tuple

from asrctl.data.audio import AudioRules
from asrctl.data.text import TextRules


@dataclass(frozen=True)
class Rules:
    """The rules that hold, and where each comes from: {dotted key: "flag" | "preset NAME" | "default"}.

    kernels, strides: of the model's convolutional encoder; they decide how many frames an utterance has.
    preset: the name to find the preset by again (its path, where it was given as a file).
    """

    audio: AudioRules
    text: TextRules
    vocab_splits: Tuple[str, ...]
    kernels: Tuple[int, ...]
    strides: Tuple[int, ...]
    preset: Optional[str]
    origins: Mapping[str, str]

    def chosen(self, key: str) -> bool:
        """Whether somebody set this key, rather than its default."""
        return self.origins[key] != "default"


def with_text(rules: Rules, text: TextRules) -> Rules:
    """The same rules over other texts: those of a vocabulary that is already there."""
    return replace(rules, text=text)
