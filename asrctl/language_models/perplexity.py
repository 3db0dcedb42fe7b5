"""How well a model knows a text: perplexity, and how many of its words it has never seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Iterator, List, Optional, Sequence

import numpy as np

from asrctl.language_models.ngram import NgramModel
from asrctl.language_models.vocabulary import EOS_ID, UNK_ID

_TOGETHER = 1000


@dataclass(frozen=True)
class Perplexity:
    """words: of the text; unknown: those that the model does not have. perplexity: over the others and the ends of
    sentences, as SRILM's `ngram -ppl` counts; None where there is nothing to count.
    """

    words: int
    unknown: int
    perplexity: Optional[float]

    @property
    def unknown_share(self) -> float:
        return self.unknown / max(1, self.words)


def of_text(model: NgramModel, sentences: Iterable[Sequence[str]]) -> Perplexity:
    """All sentences of a text, many at a time."""
    total, counted, words, unknown = 0.0, 0, 0, 0
    for batch in _batches(sentences):
        rows = [[*map(model.id, sentence), EOS_ID] for sentence in batch]
        words += sum(len(row) - 1 for row in rows)
        states = np.full(len(rows), model.begin, dtype=np.int64)
        alive = np.arange(len(rows))
        for place in range(max(map(len, rows))):
            alive = np.array([row for row in alive if len(rows[row]) > place], dtype=np.int64)
            numbers = np.array([rows[row][place] for row in alive], dtype=np.int64)
            logs, states[alive] = model.score(states[alive], numbers)
            known = numbers != UNK_ID
            total, counted = total + float(logs[known].sum()), counted + int(known.sum())
            unknown += int((~known).sum())
    return Perplexity(words, unknown, float(np.exp(-total / counted)) if counted else None)


def _batches(sentences: Iterable[Sequence[str]]) -> Iterator[List[Sequence[str]]]:
    batch: List[Sequence[str]] = []
    for sentence in sentences:
        batch.append(sentence)
        if len(batch) == _TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch
