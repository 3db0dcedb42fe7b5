"""A recording of any length through a model that hears some seconds at once, without a lost or repeated word.

A model's output depends on all that it hears at once: what it hears is normalized, and attention reaches over it. So a
recording is heard in pieces like the utterances that it was trained on. A piece ends where it is quiet and the model
hears nothing; a cut there takes a word from nobody. Where it is never quiet, it ends in the longest gap between labels,
and the model has heard on behind it. Where there is no such gap either, pieces overlap, and one takes over from the
other in the middle of what both hear alike. The frames lie on one grid in any case: labels of different pieces can be
laid end to end, and repeats fall away as within one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Collection, Iterable, Iterator, List, Optional, Tuple

import numpy as np

from asrctl.data import levels
from asrctl.evaluation.word_times import LOWEST_DB, Clock, Levels, measured
from asrctl.models.frames import Convolutions

# A pause is as long as this, in seconds. Within words, letters are less far from each other.
PAUSE_S = 0.4
# A stretch between pauses becomes no longer than this before it is cut at a shorter one.
LONGEST_S = 30.0
# Shares of a window: the first in which it is not cut; what is near an edge and not used; what two have in common; how
# much longer than one a piece may be that then ends where it is quiet.
_NOT_BEFORE, _EDGE, _COMMON, _LONGER = 1 / 3, 1 / 20, 1 / 4, 1.5
# Sound around a piece by which it is known what is quiet.
_AROUND_S = 10.0
# It is quiet where it is hardly louder, in dB, than what is nearly the quietest around; and where it is so much quieter
# than the loudest so far, as there is no telling where all is alike.
_HARDLY_DB, _QUIETER_DB = 6.0, 15.0
_SMOOTH = 5
# A word is quiet within itself for a shorter time.
_QUIET_S = 0.18
_LEVEL_S = 0.01
_NEAR = 5
# Logarithm of the probability of what is not heard in digital silence.
_NEVER = -100.0


@dataclass(frozen=True)
class Grid:
    """How frames lie over samples: one for each `step`, of which each sees `reach`."""

    step: int
    reach: int
    sample_rate: int

    @classmethod
    def of(cls, rule: Convolutions, sample_rate: int) -> "Grid":
        step, reach = 1, 1
        for kernel, stride in zip(rule.kernels, rule.strides):
            reach += (kernel - 1) * step
            step *= stride
        return cls(step, max(1, reach), sample_rate)

    @property
    def step_s(self) -> float:
        return self.step / self.sample_rate

    def frames(self, seconds: float) -> int:
        return max(1, round(seconds / self.step_s))

    @property
    def hop(self) -> int:
        """Samples of a measured level: about 10 ms, a whole number of them in each frame."""
        most = max(1, round(self.step_s / _LEVEL_S))
        return self.step // next(count for count in range(most, 0, -1) if self.step % count == 0)


@dataclass(frozen=True)
class Stretch:
    """What was heard between two pauses. first: number of its first frame. log_probs: (frames, vocabulary) float32.

    db: (steps,) levels from the beginning of the first frame on, one for each `grid.hop` samples.
    """

    grid: Grid
    first: int
    log_probs: np.ndarray
    db: np.ndarray

    @property
    def clock(self) -> Clock:
        """Of its frames, in the recording's time."""
        middle_s = (self.grid.reach - 1) / 2 / self.grid.sample_rate
        return Clock(self.grid.step_s, self.first * self.grid.step_s + middle_s)

    @property
    def levels(self) -> Levels:
        return Levels(self.db, self.first * self.grid.step_s, self.grid.hop / self.grid.sample_rate)


@dataclass(frozen=True)
class Part:
    """Frames and levels as in Stretch. quiet: (frames,) where it is. ends: no word goes on behind them."""

    log_probs: np.ndarray
    db: np.ndarray
    quiet: np.ndarray
    ends: bool


# (start, end) of stretches of frames.
Runs = List[Tuple[int, int]]
# (samples (time,) int16) -> (frames, vocabulary) log-probabilities.
Hear = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Listening:
    """How a recording is heard. window_s: so much at once. margin_s: silence that is heard at its ends. labels: how
    many there are. nothing: those that are no sound, which are the blank and the delimiter between words."""

    hear: Hear
    grid: Grid
    window_s: float
    margin_s: float
    labels: int
    blank: int
    nothing: Collection[int]

    def stretches(self, blocks: Iterable[np.ndarray]) -> Iterator[Stretch]:
        """blocks: (time,) int16 each, of one recording. A stretch with nothing in it is left out."""
        return _between_pauses(self, self.parts(blocks))

    def parts(self, blocks: Iterable[np.ndarray]) -> Iterator[Part]:
        """The frames of a recording as they become certain, without a gap."""
        grid, samples, quiet = self.grid, _Samples(blocks), _Quiet(self.grid)
        size = max(grid.reach + grid.step, grid.frames(self.window_s) * grid.step)
        held = np.zeros((0, self.labels), dtype=np.float32)  # the last frames of the piece before, heard once more
        while True:
            around = samples.first(max(2 * size, grid.frames(_AROUND_S) * grid.step))
            is_last = samples.ended and len(samples) <= size
            runs = quiet.runs(around)
            silence = 0 if len(held) else self._silence(runs, len(samples) if samples.ended else None)
            if silence:
                yield self._part(around, self._unheard(silence), runs, ends=True)
                samples.drop(silence * grid.step)
                if samples.ended and not len(samples):
                    return
                continue
            made = None if is_last else self._to_quiet(around, held, runs, size)
            ends = made is not None
            if made is not None:
                held = held[:0]
            else:
                made, held = self._to_gap(around[:size], held, is_last)
            if is_last:
                made_of = self._part(around, made, runs, ends=True)
                yield replace(made_of, db=measured(around[:size], grid.hop))
                return
            yield self._part(around, made, runs, ends)
            samples.drop(len(made) * grid.step)

    def _part(self, pcm: np.ndarray, logs: np.ndarray, runs: Runs, ends: bool) -> "Part":
        quiet = np.zeros(len(logs), dtype=bool)
        for start, end in runs:
            quiet[start:end] = True
        return Part(logs, measured(pcm[: len(logs) * self.grid.step], self.grid.hop), quiet, ends)

    def _silence(self, runs: Runs, left: Optional[int]) -> int:
        """Frames that need not be heard, as there is only silence. left: samples to come, where that is known."""
        margin = self._margin()
        end = next((end for start, end in runs if start == 0), 0)
        if left is not None and end * self.grid.step >= left - self.grid.step:
            return max(0, -(-left // self.grid.step)) if end >= 2 * margin else 0
        return end - margin if end > 2 * margin else 0

    def _margin(self) -> int:
        """Frames of silence that are heard before and after a piece."""
        return self.grid.frames(self.margin_s)

    def _to_quiet(self, pcm: np.ndarray, held: np.ndarray, runs: Runs, size: int) -> Optional[np.ndarray]:
        """The frames of a piece that ends where it is quiet; None where there is no such place."""
        most, margin = size // self.grid.step, self._margin()
        least = self.grid.frames(_QUIET_S)
        places = [
            (min((start + end) // 2, start + margin), end - start)
            for start, end in runs
            if end - start >= least and start > len(held)
        ]
        inner = [place for place in places if most * _NOT_BEFORE <= place[0] <= most]
        early = [place for place in places if place[0] < most * _NOT_BEFORE]
        late = [place for place in places if most < place[0] <= most * _LONGER]
        cut = max(inner, key=lambda place: place[1])[0] if inner else (early[-1:] or late[:1] or [(0, 0)])[0][0]
        if not cut:
            return None
        logs = self._joined(pcm[: (cut - 1) * self.grid.step + self.grid.reach], held)[0]
        return logs if len(logs) == cut else None

    def _to_gap(self, pcm: np.ndarray, held: np.ndarray, is_last: bool) -> Tuple[np.ndarray, np.ndarray]:
        """(frames of a window that are certain, those that the next one hears once more)."""
        logs, skipped = self._joined(pcm, held)
        kept = len(logs) if is_last else self._gap(logs, skipped)
        if kept is not None:
            return logs[:kept], logs[:0]
        kept = len(logs) - max(1, int(len(logs) * _COMMON))
        return logs[:kept], logs[kept:].copy()

    def _joined(self, pcm: np.ndarray, held: np.ndarray) -> Tuple[np.ndarray, int]:
        """(frames of a piece, how many of these are of the piece before, which heard them too)."""
        logs = self._heard(pcm)
        if not len(held) or not len(logs):
            return logs, 0
        skipped = _seam(held, logs, self.blank, round(len(held) * _EDGE / _COMMON))
        logs[:skipped] = held[:skipped]
        return logs, skipped

    def _heard(self, pcm: np.ndarray) -> np.ndarray:
        """Digital silence is not heard: it would be amplified before."""
        if len(pcm) and not levels.is_silent(pcm):
            return np.array(self.hear(pcm), dtype=np.float32)
        return self._unheard(max(0, (len(pcm) - self.grid.reach) // self.grid.step + 1))

    def _unheard(self, frames: int) -> np.ndarray:
        logs = np.full((frames, self.labels), _NEVER, dtype=np.float32)
        logs[:, self.blank] = 0.0
        return logs

    def is_nothing(self, logs: np.ndarray) -> np.ndarray:
        """(frames,) whether no sound is the likeliest in a frame."""
        return np.isin(logs.argmax(-1), list(self.nothing)) if len(logs) else np.zeros(0, dtype=bool)

    def _gap(self, logs: np.ndarray, skipped: int) -> Optional[int]:
        """The middle of the longest pause in the later part of a window; None where there is none."""
        first, last = max(skipped, int(len(logs) * _NOT_BEFORE)), len(logs) - max(1, int(len(logs) * _EDGE))
        runs = [(start, end) for start, end in _runs(self.is_nothing(logs)[:last]) if (start + end) // 2 >= first]
        start, end = max(runs, key=lambda run: run[1] - run[0], default=(0, 0))
        return (start + end) // 2 if end - start >= self.grid.frames(PAUSE_S) else None


class _Quiet:
    """Where it is quiet, by what has been heard of a recording."""

    def __init__(self, grid: Grid) -> None:
        self._grid, self._loudest = grid, -np.inf

    def runs(self, pcm: np.ndarray) -> Runs:
        """(start, end) in whole frames of what is quiet."""
        db = measured(pcm, self._grid.hop)
        real = db[db > LOWEST_DB]
        low, high = np.percentile(real, [5, 95]) if len(real) else (LOWEST_DB, LOWEST_DB)
        self._loudest = max(self._loudest, float(high))
        limit = low + _HARDLY_DB if self._loudest - low >= _QUIETER_DB else LOWEST_DB + _HARDLY_DB
        smooth = np.convolve(np.pad(db, _SMOOTH // 2, mode="edge"), np.ones(_SMOOTH) / _SMOOTH, mode="valid")
        each = self._grid.step // self._grid.hop
        return [
            (-(-start // each), end // each)
            for start, end in _runs((smooth < limit) & (db < limit))
            if end // each > -(-start // each)
        ]


class _Samples:
    """The samples of a recording from some place on."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self._blocks, self._kept, self._count = iter(blocks), [], 0  # type: ignore[var-annotated]
        self.ended = False

    def __len__(self) -> int:
        return self._count

    def first(self, count: int) -> np.ndarray:
        """So many, fewer where the recording ends; `ended` is true when all were read."""
        while self._count <= count and not self.ended:
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
            else:
                self._kept.append(block)
                self._count += len(block)
        joined = np.concatenate(self._kept) if self._kept else np.zeros(0, dtype=np.int16)
        self._kept = [joined]
        return joined[:count]

    def drop(self, count: int) -> None:
        self._kept = [np.concatenate(self._kept)[count:].copy()]
        self._count = len(self._kept[0])


def _runs(flags: np.ndarray) -> Runs:
    """(start, end) of the stretches that are true."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def _seam(one: np.ndarray, other: np.ndarray, blank: int, edge: int) -> int:
    """The frame from which the later window's frames are taken, of those that both heard.

    Both hear a blank there, and around it the same; of such places the one that is farthest from a disagreement. Then
    no label is on both sides, or on neither.
    """
    count = min(len(one), len(other))
    left, right = one[:count].argmax(-1), other[:count].argmax(-1)
    places = np.arange(count)
    middle = -np.abs(places - count / 2)
    inner = (places >= min(edge, count // 3)) & (places <= count - min(edge, count // 3))
    differ = np.flatnonzero(left != right)
    far = np.full(count, count) if not len(differ) else np.abs(places[:, None] - differ[None]).min(1)
    quiet = (left == blank) & (right == blank)
    # Beyond some frames from the next disagreement nothing is gained; then the middle is farthest from both edges.
    score = np.minimum(far, _NEAR) * count + 2.0 * count * _NEAR * (quiet & inner) + middle
    return int(score.argmax()) if count else 0


def _between_pauses(how: Listening, parts: Iterable[Part]) -> Iterator[Stretch]:
    each, first = how.grid.step // how.grid.hop, 0
    logs, quiet = np.zeros((0, how.labels), dtype=np.float32), np.zeros(0, dtype=bool)
    db = np.zeros(0)
    for part in parts:
        logs, quiet = np.concatenate([logs, part.log_probs]), np.concatenate([quiet, part.quiet])
        db = np.concatenate([db, part.db])
        while True:
            cut = _cut(how, logs, quiet)
            if cut is None:
                break
            yield from _sound(how, first, logs[:cut], db[: cut * each])
            first, logs, quiet, db = first + cut, logs[cut:], quiet[cut:], db[cut * each :]
        if part.ends:
            yield from _sound(how, first, logs, db)
            first, logs, quiet, db = first + len(logs), logs[:0], quiet[:0], db[:0]


def _sound(how: Listening, first: int, logs: np.ndarray, db: np.ndarray) -> Iterator[Stretch]:
    """The stretch from a pause before its first sound to one behind its last; none where there is no sound."""
    sounds = np.flatnonzero(~how.is_nothing(logs))
    if not len(sounds):
        return
    pause, each = how.grid.frames(PAUSE_S), how.grid.step // how.grid.hop
    start, end = max(0, int(sounds[0]) - pause), int(sounds[-1]) + pause + 1
    behind = None if end >= len(logs) else end * each
    yield Stretch(how.grid, first + start, logs[start:end], db[start * each : behind])


def _cut(how: Listening, logs: np.ndarray, quiet: np.ndarray) -> Optional[int]:
    """The middle of the first pause that is over; of a longer stretch than is allowed, that of its longest gap.

    A pause is a gap between labels in which it is quiet for a while, or words are told apart: some models hear a whole
    word at its beginning and its end.
    """
    path, grid = logs.argmax(-1), how.grid
    nothing = how.is_nothing(logs)
    over = [(start, end) for start, end in _runs(nothing) if end < len(nothing)]
    for start, end in over:  # one at the very beginning is what was left of the one before
        if start > 0 and end - start >= grid.frames(PAUSE_S):
            silence = max((last - first for first, last in _runs(quiet[start:end])), default=0)
            if silence >= grid.frames(_QUIET_S) or (path[start:end] != how.blank).any():
                return (start + end) // 2
    most = grid.frames(LONGEST_S)
    if len(logs) <= most:
        return None
    if nothing.all():
        return len(logs) - grid.frames(PAUSE_S)
    later = [(start, end) for start, end in over if (start + end) // 2 >= most // 3]
    start, end = max(later, key=lambda run: run[1] - run[0], default=(most, most))
    return (start + end) // 2
