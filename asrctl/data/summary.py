"""What prepared data says of itself: the summary in its artifact's meta.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional, Tuple

from asrctl.storage import records

SPLITS = ("train", "eval", "test")


@dataclass(frozen=True)
class SplitSummary:
    """seconds: of speech. rejected: utterances left out; reasons: {reason: how many}. sources: the corpus' own splits.

    remarks: {remark: utterances} of recordings that are used, but not as they stand. raw_texts: texts that differ from
    those of the corpus, which lie beside (raw_texts.FILE); None where nobody has kept them.
    """

    utterances: int
    seconds: float
    rejected: int
    reasons: Mapping[str, int]
    sources: Tuple[str, ...]
    remarks: Optional[Mapping[str, int]] = records.absent()
    raw_texts: Optional[int] = records.absent()


@dataclass(frozen=True)
class MixedPart:
    """One of the prepared data that a mixture is of. content: what it held when it was mixed (PreparedData.content)."""

    name: str
    id: str
    content: str


@dataclass(frozen=True)
class Mixture:
    """What a mixture is of: it holds no speech itself.

    weights, temperature: as asrctl.data.mixing.Shares has them. vocab_splits: those that the parts' vocabularies were
    collected from, none where a checkpoint brought them along.
    """

    parts: Tuple[MixedPart, ...]
    weights: Optional[Tuple[int, ...]]
    temperature: float
    vocab_splits: Tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.weights is not None and len(self.weights) != len(self.parts):
            raise ValueError("there is not one weight for each part")


@dataclass(frozen=True)
class PreparedSummary:
    """preset: the name or path it was prepared with, if any. sample_rate: in Hz. min_s, max_s: durations kept.

    text: TextRules.as_dict(). conv_kernel, conv_stride: the encoder that says how many frames an utterance has, at
    most. vocabulary, manifest: IDs of these artifacts. note: how splits were chosen, where that was not the corpus'
    word. splits: {"train" | "eval" | "test": ...}. mixture: where it is one; its preset is what all parts have, its
    vocabulary "" where theirs differ, and its manifest "".
    """

    name: str
    corpus: str
    preset: Optional[str]
    sample_rate: int
    min_s: float
    max_s: float
    text: Mapping[str, Any]
    conv_kernel: Tuple[int, ...]
    conv_stride: Tuple[int, ...]
    vocabulary: str
    vocabulary_digest: str
    vocabulary_size: int
    manifest: str
    note: Optional[str]
    splits: Mapping[str, SplitSummary]
    mixture: Optional[Mixture] = records.absent()

    def __post_init__(self) -> None:
        if not set(self.splits) <= set(SPLITS):
            raise ValueError(f"there is no split {sorted(set(self.splits) - set(SPLITS))[0]!r}")
        for name, value in self.text.items():
            texts = [*value, *value.values()] if isinstance(value, dict) else [value]
            if not all(isinstance(text, str) for text in texts):
                raise ValueError(f"text.{name} is not text")
