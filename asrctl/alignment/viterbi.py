"""Viterbi alignment of known labels with CTC log-probabilities (Graves et al. 2006, Kürzinger et al. 2020).

A chain is a gap, a label, a gap, a label ... and a last gap. A gap is CTC's blank. Some gaps are stars: they take any
sound, so what is said and not written costs something for each label that is heard there, and from star to star labels
are left out at a price, so what is written and not said costs something too.

Every frame costs one pass over the labels of a window, which are vectors. Scores are kept at the end of each block of
frames only; from the last block to the first, each is gone through again, over the few labels that can lead to where
the path goes on, and its moves are noted as bits. So memory grows with the window, and not with frames times labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

import numpy as np

_NEVER = -np.inf
_BLOCK = 2048
# A window holds the labels of about an hour of speech: what is left out at once may be as long.
WINDOW = 1 << 16
# Nobody comes back to labels that are worse than the best by so much (in nats).
_BEAM = 1000.0


@dataclass(frozen=True)
class Chain:
    """labels: (n,) what is to be heard. stars: (k,) sorted gaps, of 0..n, that take any sound.

    heard: what each frame of a label costs in a star. left_out: (k - 1,) what it costs to leave out the labels between
    a star and the next; jump: what leaving out any number of them costs at most. Costs are positive, in nats.
    quiet: labels that cost nothing in a star, as the blank.
    """

    labels: np.ndarray
    stars: np.ndarray
    heard: float = 0.0
    left_out: Optional[np.ndarray] = None
    jump: float = 0.0
    quiet: Tuple[int, ...] = ()


def plain(labels: Any) -> Chain:
    """All labels, and nothing else."""
    return Chain(np.asarray(labels, dtype=np.int64), np.zeros(0, dtype=np.int64))


def least_frames(labels: Any) -> int:
    """Fewest frames that a sequence of labels takes: equal neighbors need a blank between them."""
    labels = np.asarray(labels)
    return len(labels) + int((labels[1:] == labels[:-1]).sum())


def align(
    log_probs: Any,
    chain: Chain,
    blank: int,
    *,
    window: int = WINDOW,
    beam: float = _BEAM,
    block: int = _BLOCK,
    on_block: Callable[[int], None] = lambda frames: None,
) -> np.ndarray:
    """The likeliest path: (frames,) the state of each frame, 2 i for gap i and 2 i + 1 for label i.

    log_probs: (frames, vocabulary), an array or what is sliced like one. on_block: is told how many frames are done.
    Without stars the path is exact. With them it is, as long as all labels lie within the window and no better path
    falls behind by more than the beam. Raises ValueError where the labels do not fit into the frames.
    """
    if not len(chain.stars):
        window, beam = len(chain.labels), np.inf
    search = _Search(chain, blank, np.dtype(log_probs.dtype))
    marks, scores = [], search.start()
    frames = len(log_probs)
    for first in range(0, frames, block):
        scores = search.moved(scores, window, beam)
        marks.append(scores.copy())
        search.forward(search.emissions(log_probs[first : first + block]), scores)
        on_block(min(frames, first + block))
    state = search.end(scores)
    path = np.empty(frames, dtype=np.int64)
    for number in reversed(range(len(marks))):
        first = number * block
        rows = search.emissions(log_probs[first : first + block])
        scores = marks.pop().up_to((state + 1) // 2)
        moves = _Moves(scores, search)
        search.forward(rows, scores, moves)
        state = moves.traced(state, path[first : first + len(rows)])
    return path


class _Scores(NamedTuple):
    """Of the window's states: gap (m + 1,) of gaps low ... low + m; label (m + 1,) of the labels before these gaps."""

    low: int
    gap: np.ndarray
    label: np.ndarray

    @property
    def high(self) -> int:
        """The last gap of the window."""
        return self.low + len(self.gap) - 1

    def copy(self) -> "_Scores":
        return _Scores(self.low, self.gap.copy(), self.label.copy())

    def up_to(self, gap: int) -> "_Scores":
        """Without what lies behind a gap."""
        count = gap - self.low + 1
        return _Scores(self.low, self.gap[:count], self.label[:count])


class _Search:
    """What is the same for all frames."""

    def __init__(self, chain: Chain, blank: int, dtype: np.dtype) -> None:
        self.chain = chain
        self._blank = blank
        self._dtype = dtype
        labels = chain.labels
        # What it costs to go from the label before to a label: nothing, or there must be a blank.
        self._direct = np.zeros(len(labels), dtype=dtype)
        self._direct[1:][labels[1:] == labels[:-1]] = _NEVER
        left_out = np.zeros(max(0, len(chain.stars) - 1)) if chain.left_out is None else chain.left_out
        self.price = np.concatenate([np.zeros(1), np.cumsum(left_out)])[: len(chain.stars)]

    def start(self) -> _Scores:
        """Before the first frame."""
        gap, label = np.full((2, 1), _NEVER, dtype=self._dtype)
        gap[0] = 0.0
        return _Scores(0, gap, label)

    def emissions(self, log_probs: Any) -> np.ndarray:
        """(frames, vocabulary + 1): against each frame's best label, and of a star in the last column."""
        rows = np.asarray(log_probs)
        found = np.empty((len(rows), rows.shape[1] + 1), dtype=self._dtype)
        np.subtract(rows, rows.max(axis=1, keepdims=True), out=found[:, :-1])
        free = found[:, [self._blank, *self.chain.quiet]].max(axis=1)
        np.maximum(free, -self.chain.heard, out=found[:, -1])
        return found

    def moved(self, scores: _Scores, window: int, beam: float) -> _Scores:
        """The window where the path may go on: behind it all is worse than the best by more than the beam."""
        best = max(scores.gap.max(), scores.label.max())
        if not np.isfinite(best):
            raise ValueError("the labels do not fit into the frames")
        alive = np.maximum(scores.gap, scores.label) >= best - beam
        low = scores.low + int(np.argmax(alive))
        gap, label = np.full((2, min(window, len(self.chain.labels) - low) + 1), _NEVER, dtype=self._dtype)
        kept = scores.high - low + 1
        gap[:kept] = scores.gap[low - scores.low :][: len(gap)] - best
        label[:kept] = scores.label[low - scores.low :][: len(label)] - best
        return _Scores(low, gap, label)

    def stars_in(self, scores: _Scores) -> slice:
        """Which of the stars lie in the window."""
        return slice(*np.searchsorted(self.chain.stars, [scores.low, scores.high + 1]).tolist())

    def forward(self, rows: np.ndarray, scores: _Scores, moves: Optional["_Moves"] = None) -> None:
        """Frame after frame; scores are changed in place. moves: is told where each state came from."""
        gap, label = scores.gap, scores.label
        labels = self.chain.labels[scores.low : scores.high]
        direct = self._direct[scores.low : scores.high]
        inside = self.stars_in(scores)
        stars, price = self.chain.stars[inside] - scores.low, self.price[inside].astype(self._dtype)
        sound, best = np.empty((2, len(labels)), dtype=self._dtype)
        for row in rows:
            row.take(labels, out=sound, mode="clip")
            np.add(label[:-1], direct, out=best)
            if moves is not None:
                moves.note(gap, label, best, gap[stars], price)
            np.maximum(best, gap[:-1], out=best)
            np.maximum(best, label[1:], out=best)
            best += sound
            if len(stars):
                jumps = self.jumps(gap[stars], price)
            np.maximum(gap, label, out=gap)
            if len(stars):
                reached = np.maximum(gap[stars], jumps) + row[-1]
            gap += row[self._blank]
            if len(stars):
                gap[stars] = reached
            label[1:] = best
            label[0] = _NEVER

    def jumps(self, at_stars: np.ndarray, price: np.ndarray) -> np.ndarray:
        """The best that comes to each star from those before it (or itself)."""
        priced = np.maximum.accumulate(at_stars + price) - price
        return np.maximum(priced, np.maximum.accumulate(at_stars) - self.chain.jump)

    def end(self, scores: _Scores) -> int:
        """The best last state: the last label, the gap after it, or a star from which the rest is left out."""
        last = len(self.chain.labels)
        found = [(scores.gap[-1], 2 * last), (scores.label[-1], 2 * last - 1)] if scores.high == last else []
        inside = self.stars_in(scores)
        for star, price in zip(self.chain.stars[inside].tolist(), self.price[inside].tolist()):
            cost = min(self.price[-1] - price, self.chain.jump)
            found.append((scores.gap[star - scores.low] - cost, 2 * star))
        best, state = max(found)
        if not np.isfinite(best):
            raise ValueError("the labels do not fit into the frames")
        return state


class _Moves:
    """Where each state of a window came from, frame by frame, as bits."""

    def __init__(self, scores: _Scores, search: _Search) -> None:
        self._low = scores.low
        self._search = search
        self._inside = search.stars_in(scores)
        self._stars = search.chain.stars[self._inside]
        self._from_label: List[np.ndarray] = []
        self._entered: List[np.ndarray] = []
        self._direct: List[np.ndarray] = []
        self._jumped: List[np.ndarray] = []
        self._at_stars: List[np.ndarray] = []

    def note(
        self, gap: np.ndarray, label: np.ndarray, direct: np.ndarray, at_stars: np.ndarray, price: np.ndarray
    ) -> None:
        """Scores before a frame; direct: of coming from the label before. What stays is preferred."""
        self._from_label.append(np.packbits(label > gap))
        self._entered.append(np.packbits(np.maximum(gap[:-1], direct) > label[1:]))
        self._direct.append(np.packbits(direct > gap[:-1]))
        if len(self._stars):
            stay = np.maximum(gap, label)[self._stars - self._low]
            self._jumped.append(self._search.jumps(at_stars, price) > stay)
            self._at_stars.append(at_stars)

    def traced(self, state: int, path: np.ndarray) -> int:
        """Fill in a block's path that ends in a state; the state before the block."""
        for frame in reversed(range(len(path))):
            path[frame] = state
            at, is_label = state // 2 - self._low, state % 2
            if is_label:
                if _bit(self._entered[frame], at):
                    state -= 2 if _bit(self._direct[frame], at) else 1
            else:
                state = self._before_gap(frame, state)
        return state

    def _before_gap(self, frame: int, state: int) -> int:
        gap = state // 2
        star = int(np.searchsorted(self._stars, gap))
        if star < len(self._stars) and self._stars[star] == gap and self._jumped[frame][star]:
            price = self._search.price[self._inside][: star + 1]
            costs = np.minimum(price[star] - price, self._search.chain.jump)
            return 2 * int(self._stars[int(np.argmax(self._at_stars[frame][: star + 1] - costs))])
        return state - 1 if _bit(self._from_label[frame], gap - self._low) else state


def _bit(packed: np.ndarray, index: int) -> int:
    return int(packed[index >> 3]) >> (7 - (index & 7)) & 1
