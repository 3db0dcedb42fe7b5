"""What a beam search asks of a language model: the next word's score, and whether a word can still become one."""

from __future__ import annotations

import bisect
from typing import Dict, List, Mapping, Protocol, Sequence, Tuple

import numpy as np

from asrctl.language_models.arpa import known_words
from asrctl.language_models.vocabulary import EOS_ID

# Answers that are remembered; then all are forgotten at once.
_REMEMBERED = 1_000_000


class WordModel(Protocol):
    """What both kinds of models (ngram.NgramModel, kenlm_file.KenlmModel) are asked."""

    @property
    def ids(self) -> Mapping[str, int]: ...

    @property
    def begin(self) -> int: ...

    def id(self, word: str) -> int: ...

    def score(self, states: np.ndarray, words: np.ndarray) -> Tuple[np.ndarray, np.ndarray]: ...


class WordScores:
    """A model with a memory: a search asks the same again and again."""

    def __init__(self, model: WordModel) -> None:
        self.model = model
        self._scores: Dict[Tuple[int, str], Tuple[float, int, bool]] = {}
        self._begins: Dict[str, bool] = {}
        self._known = known_words(model)
        self._sorted = sorted(self._known)

    def of(self, asked: Sequence[Tuple[int, str]]) -> List[Tuple[float, int, bool]]:
        """For each (state, word): (natural logarithm of its probability, next state, whether the model knows it)."""
        scores = self._scores
        if len(scores) > _REMEMBERED:
            scores.clear()
        new = [pair for pair in dict.fromkeys(asked) if pair not in scores]
        if new:
            states = np.array([state for state, _ in new], dtype=np.int64)
            words = np.array([self.model.id(word) for _, word in new], dtype=np.int64)
            logs, reached = self.model.score(states, words)
            for pair, log, state in zip(new, logs.tolist(), reached.tolist()):
                scores[pair] = (log, state, pair[1] in self._known)
        return [scores[pair] for pair in asked]

    def ends(self, states: Sequence[int]) -> List[float]:
        """The natural logarithm of the probability that the sentence ends, for each state."""
        found, _ = self.model.score(np.array(states, dtype=np.int64), np.full(len(states), EOS_ID, dtype=np.int64))
        return found.tolist()

    def begins_a_word(self, part: str) -> bool:
        """Whether a known word begins like this."""
        found = self._begins.get(part)
        if found is None:
            if len(self._begins) > _REMEMBERED:
                self._begins.clear()
            at = bisect.bisect_left(self._sorted, part)
            found = at < len(self._sorted) and self._sorted[at].startswith(part)
            self._begins[part] = found
        return found
