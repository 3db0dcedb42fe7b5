"""A back-off n-gram model in sorted arrays, which are mapped from disk and asked for many words at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

import numpy as np

from asrctl.language_models.vocabulary import BOS_ID, EOS_ID, UNK_ID

LN_10 = float(np.log(10.0))


@dataclass
class Table:
    """The n-grams of one order, in the order of their keys.

    keys: (grams,) int64, the place of their first n - 1 words in the table below times the number of words in the
    vocabulary, plus the number of the last word. log10: (grams,) their probabilities. backoff: (grams,) their log10
    weights as a context. suffix: (grams,) int64 places of their last n - 1 words in the table below.
    """

    keys: np.ndarray
    log10: np.ndarray
    backoff: np.ndarray
    suffix: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)


class NgramModel:
    """P(word | words before it). A state is what matters of these: the number of the longest n-gram that is known.

    States are int64: the places of single words first, then those of pairs, and so on up to one less than the order.
    """

    def __init__(self, words: Sequence[str], tables: Sequence[Table]) -> None:
        self.words = list(words)
        self.tables = list(tables)
        self.ids: Dict[str, int] = {word: number for number, word in enumerate(self.words)}
        sizes = [len(table) for table in self.tables]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    @property
    def order(self) -> int:
        return len(self.tables)

    @property
    def begin(self) -> int:
        """The state at the beginning of a sentence."""
        return BOS_ID

    def id(self, word: str) -> int:
        return self.ids.get(word, UNK_ID)

    def score(self, states: np.ndarray, words: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """(pairs,) states and word numbers -> natural logarithms of the probabilities, float64, and the next states."""
        logs = np.zeros(len(words))
        reached = np.full(len(words), -1, dtype=np.int64)
        # How many words of context each pair has, and its place among contexts of that length; 0 is no context.
        length = np.searchsorted(self._starts, states, side="right")
        place = states - self._starts[length - 1]
        longest = self.order - 1
        length = np.minimum(length, longest)
        for size in range(longest, -1, -1):
            here = np.flatnonzero((length == size) & (reached < 0))
            if not len(here):
                continue
            found, where = self._find(size, place[here], words[here])
            hit = here[found]
            logs[hit] += self.tables[size].log10[where[found]]
            reached[hit] = self._state_of(size, where[found])
            rest = here[~found]
            if size and len(rest):
                table = self.tables[size - 1]
                logs[rest] += table.backoff[place[rest]]
                place[rest] = table.suffix[place[rest]]
                length[rest] = size - 1
        return logs * LN_10, reached

    def _find(self, size: int, place: np.ndarray, words: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Whether the n-gram of `size` words of context and a word is there, and where."""
        if size == 0:
            return np.ones(len(words), dtype=bool), words.astype(np.int64)
        keys = self.tables[size].keys
        wanted = place * len(self.words) + words
        where = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
        found = keys[where] == wanted if len(keys) else np.zeros(len(words), dtype=bool)
        return found, where

    def _state_of(self, size: int, where: np.ndarray) -> np.ndarray:
        """The state after an n-gram of size + 1 words."""
        if size + 1 < self.order:
            return self._starts[size] + where
        if size == 0:
            return np.zeros(len(where), dtype=np.int64)  # a model of single words knows no context
        return self._starts[size - 1] + self.tables[size].suffix[where]

    def sentence(self, words: Sequence[str]) -> List[float]:
        """Natural logarithms of the probabilities of each word and of the sentence's end."""
        state = np.array([self.begin])
        found = []
        for number in [*map(self.id, words), EOS_ID]:
            logs, state = self.score(state, np.array([number]))
            found.append(float(logs[0]))
        return found
