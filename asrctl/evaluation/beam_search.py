"""CTC prefix beam search with an n-gram language model over words (Hannun et al. 2014, algorithm 1).

A prefix is what remains of all paths that read alike. Its probability is kept in two parts, of the paths that end in a
blank and of those that do not. A word is scored when its delimiter comes, so any word can come out, known to the model
or not: score = log P(prefix | sound) + sum over words of (alpha * log P(word | words before) + beta). Hotwords add to
it, see hotwords.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from asrctl.data.text import Vocabulary
from asrctl.evaluation.decoding import Decoder
from asrctl.evaluation.hotwords import HotwordStates
from asrctl.language_models.word_scores import WordScores

_NEVER = -np.inf
_LOWEST = float(np.finfo(np.float64).min)
# Prefixes are told apart by a hash that grows with them; two that are alike by chance are 1 in 10**19.
_HASH = np.uint64(0x9E3779B97F4A7C15)
_HASH_START = np.uint64(0x243F6A8885A308D3)
# Utterances that are searched side by side: a frame costs hardly more for many than for one.
_TOGETHER = 64
# From this many letters on, what no word begins with costs more with each letter (as pyctcdecode has it).
_LETTERS = 6


@dataclass(frozen=True)
class BeamRules:
    """How a search is done. All scores are natural logarithms.

    width: most prefixes that are kept after a frame. alpha: weight of the language model; beta: added for each word.
    unknown: added, times alpha, for a word that the model does not know (ten powers of ten, as pyctcdecode has it).
    unfinished: what a word costs as long as no known word begins like it, whatever the weight; more from seven letters
    on. drop: prefixes that are so much worse than the best are dropped. least: labels less likely than this in a frame
    are not tried, but for the likeliest. merge: with a language model, keep one of prefixes with the same future; it
    makes room for others, and is quicker.
    """

    width: int = 100
    alpha: float = 0.5
    beta: float = 1.5
    unknown: float = -23.0
    unfinished: float = -10.0
    drop: float = -10.0
    least: float = -5.0
    merge: bool = True


@dataclass(frozen=True)
class Hypothesis:
    """text, and its score: of the sound alone, and with the language model."""

    text: str
    sound: float
    score: float


def beam(
    vocabulary: Vocabulary,
    rules: BeamRules,
    scores: Optional[WordScores] = None,
    hotwords: Optional[HotwordStates] = None,
) -> Decoder:
    """A decoder that searches. scores: of the language model; without one the prefix is found that sounds likeliest."""
    search = BeamSearch(vocabulary, rules, scores, hotwords)
    return lambda logits, frames: search.texts(log_probabilities(logits, frames))


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
    """The prefixes of all utterances after a frame, one a row: an utterance after the other, the best first.

    All arrays are (rows,). utterance: whose it is. node: where the prefix is in the list of all. own: uint64 hash of
    the prefix and its utterance. last: its last label, -1 for none. blank, label: logarithms of the probabilities of
    the paths that end in a blank, or in the last label. lm: what words have scored; part: what the unfinished word
    costs, and what unfinished hotwords have been given. state: of the language model; hot: of the hotwords. letters:
    uint64 hashes of the unfinished words; words: these.
    """

    utterance: np.ndarray
    node: np.ndarray
    own: np.ndarray
    last: np.ndarray
    blank: np.ndarray
    label: np.ndarray
    lm: np.ndarray
    part: np.ndarray
    state: np.ndarray
    hot: np.ndarray
    letters: np.ndarray
    words: List[str]

    def total(self) -> np.ndarray:
        return np.logaddexp(self.blank, self.label)

    def rows(self, chosen: np.ndarray) -> "_Beams":
        found = {name: getattr(self, name)[chosen] for name in _COLUMNS}
        return _Beams(**found, words=[self.words[row] for row in chosen.tolist()])

    def and_rows(self, more: "_Beams", chosen: np.ndarray) -> "_Beams":
        """The chosen ones of both, numbered on."""
        found = {name: np.concatenate([getattr(self, name), getattr(more, name)])[chosen] for name in _COLUMNS}
        words = self.words + more.words
        return _Beams(**found, words=[words[row] for row in chosen.tolist()])


_COLUMNS = ("utterance", "node", "own", "last", "blank", "label", "lm", "part", "state", "hot", "letters")


class BeamSearch:
    """Searches many utterances at once; what it has learned of a language model stays."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        rules: BeamRules,
        scores: Optional[WordScores] = None,
        hotwords: Optional[HotwordStates] = None,
    ) -> None:
        self._vocabulary, self._rules, self._scores, self._hotwords = vocabulary, rules, scores, hotwords
        self._blank, self._delimiter = vocabulary.blank_id, vocabulary.delimiter_id
        lower = vocabulary.lower_case
        self._tokens = [token.lower() if lower else token for token in vocabulary.tokens]
        # (node before, label) of every prefix that was kept, of the utterances that are being searched.
        self._nodes: List[Tuple[int, int]] = []

    def texts(self, logs: Sequence[np.ndarray]) -> List[str]:
        """logs: (frames, vocabulary) log-probabilities of each utterance -> the text of its best hypothesis."""
        return [found[0].text for found in self.hypotheses(logs, most=1)]

    def hypotheses(self, logs: Sequence[np.ndarray], most: int) -> List[List[Hypothesis]]:
        """The best of each utterance, the best first."""
        order = sorted(range(len(logs)), key=lambda place: len(logs[place]))
        found: List[List[Hypothesis]] = [[] for _ in logs]
        for start in range(0, len(order), _TOGETHER):
            places = order[start : start + _TOGETHER]
            for place, hypotheses in zip(places, self._searched([logs[place] for place in places], most)):
                found[place] = hypotheses
        return found

    def _searched(self, logs: Sequence[np.ndarray], most: int) -> List[List[Hypothesis]]:
        """logs: ordered by their lengths."""
        self._nodes = [(-1, -1)]
        found: List[List[Hypothesis]] = []
        padded = np.full((len(logs), max(map(len, logs)), len(self._tokens)), _NEVER, dtype=np.float32)
        for row, values in zip(padded, logs):
            row[: len(values)] = values
        beams = self._start(len(logs))
        for number in range(padded.shape[1] + 1):
            while len(found) < len(logs) and len(logs[len(found)]) == number:
                mine = beams.utterance == len(found)
                found.append(self._finished(beams.rows(np.flatnonzero(mine)), most))
                beams = beams.rows(np.flatnonzero(~mine))
            if number < padded.shape[1]:
                beams = self._step(beams, padded[:, number].astype(np.float64))
        return found

    def _start(self, count: int) -> _Beams:
        start = 0 if self._scores is None else self._scores.model.begin
        utterance = np.arange(count)
        hashes = _hashed(np.full(count, _HASH_START), utterance)
        zeros = np.zeros(count)
        return _Beams(
            utterance=utterance,
            node=np.zeros(count, dtype=np.int64),
            own=hashes,
            last=np.full(count, -1),
            blank=zeros.copy(),
            label=np.full(count, _NEVER),
            lm=zeros.copy(),
            part=zeros.copy(),
            state=np.full(count, start, dtype=np.int64),
            hot=np.zeros(count, dtype=np.int32),
            letters=hashes,
            words=[""] * count,
        )

    # -- one frame --------------------------------------------------------------------------------------------------

    def _step(self, beams: _Beams, frame: np.ndarray) -> _Beams:
        """frame: (utterances, vocabulary) log-probabilities."""
        total, mine = beams.total(), beams.utterance
        tried = frame >= self._rules.least
        tried[np.arange(len(frame)), frame.argmax(-1)] = True
        tried[:, self._blank] = False
        rows, labels = np.nonzero(tried[mine])
        logs = np.where(beams.last[rows] == labels, beams.blank[rows], total[rows]) + frame[mine[rows], labels]
        beams.blank, beams.label = total + frame[mine, self._blank], beams.label + frame[mine, beams.last]
        return self._pruned(beams, *self._merged(beams, rows, labels, logs)) if len(rows) else beams

    @staticmethod
    def _merged(
        beams: _Beams, rows: np.ndarray, labels: np.ndarray, logs: np.ndarray
    ) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Add extensions that are there as prefixes to these; (rows, labels, logs, hashes) of the others."""
        own = _hashed(beams.own[rows], labels)
        order = np.argsort(beams.own)
        at = order[np.minimum(np.searchsorted(beams.own[order], own), len(order) - 1)]
        there = beams.own[at] == own
        beams.label[at[there]] = np.logaddexp(beams.label[at[there]], logs[there])
        new = ~there
        return rows[new], labels[new], logs[new], own[new]

    def _pruned(self, beams: _Beams, rows: np.ndarray, labels: np.ndarray, logs: np.ndarray, own: np.ndarray) -> _Beams:
        """What is left of prefixes and their extensions."""
        base = beams.lm + beams.part
        kept, grown = beams.total() + base, logs + base[rows]
        least = self._least(beams.utterance, kept, beams.utterance[rows], grown)
        good = np.flatnonzero(grown >= least[beams.utterance[rows]])
        more = self._extended(beams, rows[good], labels[good], logs[good], own[good])
        scores = np.concatenate([kept, more.label + more.lm + more.part])
        whose = np.concatenate([beams.utterance, more.utterance])
        least = self._least(beams.utterance, kept, more.utterance, scores[len(kept) :])
        chosen = np.lexsort((-scores, whose))
        chosen = chosen[scores[chosen] >= least[whose[chosen]]]
        if self._scores is not None and self._rules.merge:
            chosen = _best_of_alike(beams, more, chosen)
        whose = whose[chosen]
        chosen = chosen[np.arange(len(chosen)) - np.searchsorted(whose, whose) < self._rules.width]
        count = len(kept)
        new = np.flatnonzero(chosen >= count)
        found = beams.and_rows(more, chosen)
        first = len(self._nodes)
        self._nodes.extend(zip(found.node[new].tolist(), found.last[new].tolist()))
        found.node[new] = np.arange(first, first + len(new))
        return found

    def _least(self, one: np.ndarray, scores: np.ndarray, other: np.ndarray, more: np.ndarray) -> np.ndarray:
        """(utterances,) what a prefix must score to be kept, never -inf. one, other: whose scores are, ascending."""
        best = np.full(int(one[-1]) + 1, _LOWEST)
        for whose, values in ((one, scores), (other, more)):
            if len(whose):
                starts = np.flatnonzero(np.diff(whose, prepend=-1))
                best[whose[starts]] = np.maximum(best[whose[starts]], np.maximum.reduceat(values, starts))
        return np.maximum(best + self._rules.drop, _LOWEST)

    def _extended(
        self, beams: _Beams, rows: np.ndarray, labels: np.ndarray, logs: np.ndarray, own: np.ndarray
    ) -> _Beams:
        """The prefixes of `rows`, each with one more label. They are no nodes yet."""
        lm, part, state, hot = beams.lm[rows], beams.part[rows], beams.state[rows], beams.hot[rows]  # copies
        before = [beams.words[row] for row in rows.tolist()]
        ends = labels == (-1 if self._delimiter is None else self._delimiter)
        tokens = self._tokens
        words = [
            "" if end else word + tokens[label] for word, label, end in zip(before, labels.tolist(), ends.tolist())
        ]
        self._finish([at for at in np.flatnonzero(ends).tolist() if before[at]], before, state, hot, lm)
        if self._scores is not None:
            begins = self._scores.begins_a_word if self._hotwords is None else self._begins_a_word
            part[:] = [0.0 if not word or begins(word) else _unfinished(word, self._rules) for word in words]
        if self._hotwords is not None:
            hot = self._hotwords.next[hot, labels]
            part = self._hotwords.pending[hot] + (part if self._scores is not None else 0.0)
        start = _hashed(np.full(len(rows), _HASH_START), beams.utterance[rows])
        return _Beams(
            utterance=beams.utterance[rows],
            node=beams.node[rows],
            own=own,
            last=labels,
            blank=np.full(len(rows), _NEVER),
            label=logs,
            lm=lm,
            part=part,
            state=state,
            hot=hot,
            letters=np.where(ends, start, _hashed(beams.letters[rows], labels)),
            words=words,
        )

    def _begins_a_word(self, part: str) -> bool:
        return bool(self._scores and self._scores.begins_a_word(part)) or bool(
            self._hotwords and self._hotwords.begins(part)
        )

    def _finish(self, ending: List[int], words: List[str], state: np.ndarray, hot: np.ndarray, lm: np.ndarray) -> None:
        """Score the words of the rows `ending`."""
        if not ending:
            return
        rules, also = self._rules, self._hotwords.words if self._hotwords is not None else ()
        if self._scores is not None:
            found = self._scores.of([(int(state[at]), words[at]) for at in ending])
            lm[ending] += [
                rules.alpha * (log + (0.0 if known or words[at] in also else rules.unknown)) + rules.beta
                for at, (log, _, known) in zip(ending, found)
            ]
            state[ending] = [reached for _, reached, _ in found]
        if self._hotwords is not None:
            lm[ending] += self._hotwords.paid[hot[ending]]

    # -- the end ----------------------------------------------------------------------------------------------------

    def _finished(self, beams: _Beams, most: int) -> List[Hypothesis]:
        """The last words of an utterance end, and the sentence."""
        sound, lm, state = beams.total(), beams.lm.copy(), beams.state.copy()
        self._finish([at for at, word in enumerate(beams.words) if word], beams.words, state, beams.hot, lm)
        if self._scores is not None:
            lm += self._rules.alpha * np.array(self._scores.ends(state.tolist()))
        scores = sound + lm
        found = np.argsort(-scores, kind="stable")[:most]
        return [Hypothesis(self._text(int(beams.node[at])), float(sound[at]), float(scores[at])) for at in found]

    def _text(self, node: int) -> str:
        labels = []
        while node:
            node, label = self._nodes[node]
            labels.append(self._vocabulary.tokens[label])
        return self._vocabulary.text(reversed(labels))


def _best_of_alike(beams: _Beams, more: _Beams, chosen: np.ndarray) -> np.ndarray:
    """Of prefixes whose future is the same (states, unfinished word, last label) the best one, as only it can win.

    chosen: rows of both, the best of an utterance first. Not to the letter: they may end in a blank with other shares.
    """
    with np.errstate(over="ignore"):
        states = [(each.state ^ (each.hot.astype(np.int64) << 32)).astype(np.uint64) for each in (beams, more)]
        alike = np.concatenate([each.letters ^ (numbers * _HASH) for each, numbers in zip((beams, more), states)])
    _, first = np.unique(alike[chosen], return_index=True)
    return chosen[np.sort(first)]


def _hashed(before: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(rows,) uint64 hashes of what has hash `before` and goes on with a label."""
    with np.errstate(over="ignore"):
        mixed = (before ^ (labels.astype(np.uint64) + np.uint64(1))) * _HASH
    return mixed ^ (mixed >> np.uint64(29))


def _unfinished(word: str, rules: BeamRules) -> float:
    return rules.unfinished * max(1.0, len(word) / _LETTERS)
