"""CTC prefix beam search with an n-gram language model over words (Hannun et al. 2014, algorithm 1).

A prefix is what remains of all paths that read alike. Its probability is kept in two parts, of the paths that end in a
blank and of those that do not. A word is scored when its delimiter comes, so any word can come out, known to the model
or not: score = log P(prefix | sound) + sum over words of (alpha * log P(word | words before) + beta).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, List, Optional, Tuple

import numpy as np

from asrctl.data.text import Vocabulary
from asrctl.evaluation.decoding import Decoder
from asrctl.language_models.word_scores import WordScores

_NEVER = -np.inf
_LOWEST = float(np.finfo(np.float64).min)
# Prefixes are told apart by a hash that grows with them; two that are alike by chance are 1 in 10**19.
_HASH = np.uint64(0x9E3779B97F4A7C15)
_HASH_START = np.uint64(0x243F6A8885A308D3)
# Of more extensions than this times the width none gets among the best.
_CANDIDATES = 2
# From this many letters on, what no word begins with costs more with each letter (as pyctcdecode has it).
_LETTERS = 6


@dataclass(frozen=True)
class BeamRules:
    """How a search is done. All scores are natural logarithms.

    width: most prefixes that are kept after a frame. alpha: weight of the language model; beta: added for each word.
    unknown: added, times alpha, for a word that the model does not know. drop: prefixes that are so much worse than the
    best are dropped. least: labels less likely than this in a frame are not tried, but for the likeliest.
    """

    width: int = 100
    alpha: float = 0.5
    beta: float = 1.5
    unknown: float = -10.0
    drop: float = -10.0
    least: float = -5.0


@dataclass(frozen=True)
class Hypothesis:
    """text, and its score: of the sound alone, and with the language model."""

    text: str
    sound: float
    score: float


def beam(vocabulary: Vocabulary, rules: BeamRules, scores: Optional[WordScores] = None) -> Decoder:
    """A decoder that searches. scores: of the language model; without one the prefix is found that sounds likeliest."""
    search = BeamSearch(vocabulary, rules, scores)
    return lambda logits, frames: [search.best(row) for row in log_probabilities(logits, frames)]


def log_probabilities(logits: Any, frames: Any) -> List[np.ndarray]:
    """Padded or packed logits (see decoding.Decoder) -> (frames, vocabulary) float32 on the host for each utterance."""
    import torch

    logs = torch.log_softmax(logits.float(), -1).cpu().numpy()
    counts = frames.tolist()
    if logs.ndim == 2:
        return np.split(logs, np.cumsum(counts)[:-1])
    return [row[:count] for row, count in zip(logs, counts)]


@dataclass
class _Beams:
    """The prefixes after a frame, one a row.

    node: (beams,) where the prefix is in the list of all. parent, own: (beams,) uint64 hashes of the prefix without its
    last label, and of it. last: (beams,) its last label, -1 for none. blank, label: (beams,) logarithms of the
    probabilities of the paths that end in a blank, or in the last label. lm: (beams,) what words have scored; part:
    (beams,) what the unfinished word costs. states: of the language model. words: the unfinished words.
    """

    node: np.ndarray
    parent: np.ndarray
    own: np.ndarray
    last: np.ndarray
    blank: np.ndarray
    label: np.ndarray
    lm: np.ndarray
    part: np.ndarray
    states: List[int]
    words: List[str]

    def total(self) -> np.ndarray:
        return np.logaddexp(self.blank, self.label)


class BeamSearch:
    """Searches utterances one after the other; what it has learned of a language model stays."""

    def __init__(self, vocabulary: Vocabulary, rules: BeamRules, scores: Optional[WordScores] = None) -> None:
        self._vocabulary, self._rules, self._scores = vocabulary, rules, scores
        self._blank, self._delimiter = vocabulary.blank_id, vocabulary.delimiter_id
        lower = vocabulary.lower_case
        self._tokens = [token.lower() if lower else token for token in vocabulary.tokens]
        self._nodes: List[Tuple[int, int]] = []

    def best(self, logs: np.ndarray) -> str:
        """logs: (frames, vocabulary) log-probabilities -> the text of the best hypothesis."""
        return self.hypotheses(logs, most=1)[0].text

    def hypotheses(self, logs: np.ndarray, most: int) -> List[Hypothesis]:
        """The best of an utterance, the best first."""
        self._nodes = [(-1, -1)]
        beams = self._start()
        best = logs.argmax(-1)
        tried = logs >= self._rules.least
        tried[np.arange(len(logs)), best] = True
        tried[:, self._blank] = False
        for frame, labels in zip(logs.astype(np.float64), tried):
            beams = self._step(beams, frame, np.flatnonzero(labels))
        return self._finished(beams, most)

    def _start(self) -> _Beams:
        start = 0 if self._scores is None else self._scores.model.begin
        none = np.zeros(1)
        hashed = np.array([_HASH_START])
        return _Beams(
            np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.uint64), hashed, np.full(1, -1), none.copy(),
            np.full(1, _NEVER), none.copy(), none.copy(), [start], [""],
        )  # fmt: skip

    # -- one frame --------------------------------------------------------------------------------------------------

    def _step(self, beams: _Beams, frame: np.ndarray, labels: np.ndarray) -> _Beams:
        total = beams.total()
        stay = replace(beams, blank=total + frame[self._blank], label=beams.label + frame[beams.last])
        if not len(labels):
            return stay
        longer = np.where(beams.last[:, None] == labels, beams.blank[:, None], total[:, None]) + frame[labels]
        self._merge(stay, longer, labels)
        return self._pruned(stay, longer, labels)

    @staticmethod
    def _merge(stay: _Beams, longer: np.ndarray, labels: np.ndarray) -> None:
        """Add to prefixes that are there what their own beginnings become by one more label."""
        order = np.argsort(stay.own)
        at = np.minimum(np.searchsorted(stay.own[order], stay.parent), len(order) - 1)
        shorter = order[at]
        column = np.minimum(np.searchsorted(labels, stay.last), len(labels) - 1)
        rows = np.flatnonzero((stay.own[shorter] == stay.parent) & (labels[column] == stay.last))
        shorter, column = shorter[rows], column[rows]
        stay.label[rows] = np.logaddexp(stay.label[rows], longer[shorter, column])
        longer[shorter, column] = _NEVER

    def _pruned(self, stay: _Beams, longer: np.ndarray, labels: np.ndarray) -> _Beams:
        width, rules = self._rules.width, self._rules
        kept = stay.total() + stay.lm + stay.part
        grown = longer + (stay.lm + stay.part)[:, None]
        # Never -inf, which stands for what was merged.
        lowest = max(max(float(kept.max()), float(grown.max())) + rules.drop, _LOWEST)
        rows, columns = np.nonzero(grown >= lowest)
        if len(rows) > _CANDIDATES * width:
            chosen = np.argpartition(-grown[rows, columns], _CANDIDATES * width)[: _CANDIDATES * width]
            rows, columns = rows[chosen], columns[chosen]
        more = self._extended(stay, rows, labels[columns], longer[rows, columns])
        scores = np.concatenate([kept, more.total() + more.lm + more.part])
        good = np.flatnonzero(scores >= max(float(scores.max()) + rules.drop, _LOWEST))
        if len(good) > width:
            good = good[np.argpartition(-scores[good], width)[:width]]
        return self._taken(stay, more, good)

    def _extended(self, beams: _Beams, rows: np.ndarray, labels: np.ndarray, logs: np.ndarray) -> _Beams:
        """The prefixes of `rows`, each with one more label. They are no nodes yet."""
        lm, part = beams.lm[rows].copy(), beams.part[rows].copy()
        before = [beams.words[row] for row in rows.tolist()]
        states = [beams.states[row] for row in rows.tolist()]
        words = [
            "" if label == self._delimiter else word + self._tokens[label]
            for word, label in zip(before, labels.tolist())
        ]
        if self._scores is not None:
            self._score(before, words, labels, states, lm, part)
        with np.errstate(over="ignore"):
            own = (beams.own[rows] ^ (labels.astype(np.uint64) + np.uint64(1))) * _HASH
            own ^= own >> np.uint64(29)
        never = np.full(len(rows), _NEVER)
        return _Beams(beams.node[rows], beams.own[rows], own, labels, never, logs, lm, part, states, words)

    def _score(
        self,
        before: List[str],
        words: List[str],
        labels: np.ndarray,
        states: List[int],
        lm: np.ndarray,
        part: np.ndarray,
    ) -> None:
        """Words that end now are scored; those that go on cost where no known word begins like this."""
        scores, rules = self._scores, self._rules
        if scores is None:
            return
        ending = [at for at, label in enumerate(labels.tolist()) if label == self._delimiter and before[at]]
        for at, (log, state, known) in zip(ending, scores.of([(states[at], before[at]) for at in ending])):
            lm[at] += rules.alpha * (log + (0.0 if known else rules.unknown)) + rules.beta
            states[at] = state
        for at, word in enumerate(words):
            part[at] = 0.0 if not word or scores.begins_a_word(word) else _unfinished(word, rules)

    def _taken(self, stay: _Beams, more: _Beams, chosen: np.ndarray) -> _Beams:
        """The chosen ones of both, as one; new prefixes become nodes."""
        count = len(stay.words)
        old, new = chosen[chosen < count], chosen[chosen >= count] - count
        first = len(self._nodes)
        self._nodes.extend(zip(more.node[new].tolist(), more.last[new].tolist()))
        nodes = np.arange(first, first + len(new))

        def both(name: str) -> np.ndarray:
            return np.concatenate([getattr(stay, name)[old], getattr(more, name)[new]])

        return _Beams(
            node=np.concatenate([stay.node[old], nodes]),
            parent=both("parent"),
            own=both("own"),
            last=both("last"),
            blank=both("blank"),
            label=both("label"),
            lm=both("lm"),
            part=both("part"),
            states=[stay.states[at] for at in old.tolist()] + [more.states[at] for at in new.tolist()],
            words=[stay.words[at] for at in old.tolist()] + [more.words[at] for at in new.tolist()],
        )

    # -- the end ----------------------------------------------------------------------------------------------------

    def _finished(self, beams: _Beams, most: int) -> List[Hypothesis]:
        """The last word ends, and the sentence."""
        sound, lm = beams.total(), beams.lm.copy()
        if self._scores is not None:
            rules, states = self._rules, list(beams.states)
            ending = [at for at, word in enumerate(beams.words) if word]
            for at, (log, state, known) in zip(
                ending, self._scores.of([(states[at], beams.words[at]) for at in ending])
            ):
                lm[at] += rules.alpha * (log + (0.0 if known else rules.unknown)) + rules.beta
                states[at] = state
            lm += rules.alpha * np.array(self._scores.ends(states))
        scores = sound + lm
        found = np.argsort(-scores, kind="stable")[:most]
        return [Hypothesis(self._text(int(beams.node[at])), float(sound[at]), float(scores[at])) for at in found]

    def _text(self, node: int) -> str:
        labels = []
        while node:
            node, label = self._nodes[node]
            labels.append(self._vocabulary.tokens[label])
        return self._vocabulary.text(reversed(labels))


def _unfinished(word: str, rules: BeamRules) -> float:
    return rules.alpha * rules.unknown * max(1.0, len(word) / _LETTERS)
