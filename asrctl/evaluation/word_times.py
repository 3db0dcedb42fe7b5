"""When words are said: labels frame by frame, and how loud it was -> words with start, end and confidence.

A CTC model says a label in one frame or a few, somewhere within its sound, and nothing in the frames around. So a word
is said about where its labels are, and where it begins and ends the model does not tell. That is found out by the
sound: from the first and the last label outwards, as far as it is not quiet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np

from asrctl.data.text import Vocabulary
from asrctl.evaluation import confidence
from asrctl.evaluation.calibration import Calibration

# Of the way from the quietest to the loudest of a stretch, in dB, what is above this share is no silence.
_QUIET_SHARE = 0.1
# Where that way is shorter than this, in dB, nothing is quiet and loudness tells nothing.
_LEAST_RANGE_DB = 12.0
# Of what is no sound at all.
LOWEST_DB = -90.0
# Closures within a word (before a t, say) are quiet for so long.
_DIP_S = 0.06
# As far a word reaches beyond its labels at most, and where loudness tells nothing.
_REACH_S, _USUAL_REACH_S = 0.4, 0.06
# Labels come before or after their sound by so much at most.
_BESIDE_S = 0.2


@dataclass(frozen=True)
class Clock:
    """Times of frames: frame i is about the sound around first_s + i * step_s, the middle of what it sees."""

    step_s: float
    first_s: float

    def middle_s(self, frame: float) -> float:
        return self.first_s + frame * self.step_s


@dataclass(frozen=True)
class Levels:
    """How loud it is. db: (steps,) in dB; the first begins at start_s, each lasts step_s."""

    db: np.ndarray
    start_s: float
    step_s: float


@dataclass(frozen=True)
class Word:
    """A word that was heard. Times in seconds. confidence: 0 to 1, see `words`."""

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Span:
    """A label and its frames, first to last; log: mean of its log-probabilities there."""

    label: int
    first: int
    last: int
    log: float


def spans(log_probs: np.ndarray, path: np.ndarray, blank: int) -> List[Span]:
    """Labels of a path, with blanks and repeats taken out. log_probs: (frames, vocabulary); path: (frames,) ids."""
    if not len(path):
        return []
    starts = np.flatnonzero(np.diff(path, prepend=path[0] - 1))
    ends = np.append(starts[1:], len(path))
    logs = np.add.reduceat(log_probs[np.arange(len(path)), path], starts)
    return [
        Span(int(path[start]), int(start), int(end) - 1, float(log) / int(end - start))
        for start, end, log in zip(starts, ends, logs)
        if path[start] != blank
    ]


def words(
    log_probs: np.ndarray,
    path: np.ndarray,
    vocabulary: Vocabulary,
    clock: Clock,
    levels: Optional[Levels] = None,
    calibration: Optional[Calibration] = None,
) -> List[Word]:
    """The words of a path, with times and confidence.

    log_probs: (frames, vocabulary), natural logarithms. path: (frames,) label ids, frame by frame: the likeliest of
    each, or an alignment's. levels: of the same sound; without them words reach as far as is usual. A word's confidence
    is that of confidence.of_word, or what the calibration makes of it.
    """
    found = grouped(spans(log_probs, path, vocabulary.blank_id), vocabulary)
    edges = [(clock.middle_s(inner[0].first), clock.middle_s(inner[-1].last)) for _, inner in found]
    times = reached(edges, levels)
    sure = np.array([confidence.of_word([span.log for span in inner]) for _, inner in found])
    sure = sure if calibration is None else calibration.apply(sure)
    return [
        Word(text, round(max(start, 0.0), 3), round(end, 3), round(each, 4))
        for (text, _), (start, end), each in zip(found, times, sure.tolist())
    ]


# -- which labels are a word ------------------------------------------------------------------------------------------


def grouped(found: Sequence[Span], vocabulary: Vocabulary) -> List[Tuple[str, List[Span]]]:
    """(word, its labels) of each. The words, with spaces between, are what the vocabulary makes of all labels."""
    labels = [span.label for span in found]
    text = vocabulary.decode(_apart(labels, vocabulary.blank_id))
    wanted = text.split()
    groups = _between_delimiters(found, vocabulary)
    texts = [vocabulary.text([vocabulary.tokens[span.label] for span in group]) for group in groups]
    if texts == wanted:
        return list(zip(texts, groups))
    return _by_growth(found, vocabulary, wanted)


def _apart(labels: Sequence[int], blank: int) -> List[int]:
    """Labels as frames that say the same once repeats fall away."""
    return [label for pair in zip(labels, [blank] * len(labels)) for label in pair]


def _between_delimiters(found: Sequence[Span], vocabulary: Vocabulary) -> List[List[Span]]:
    groups: List[List[Span]] = [[]]
    for span in found:
        if span.label == vocabulary.delimiter_id:
            groups.append([])
        else:
            groups[-1].append(span)
    return [group for group in groups if group]


def _by_growth(found: Sequence[Span], vocabulary: Vocabulary, wanted: Sequence[str]) -> List[Tuple[str, List[Span]]]:
    """For pieces of words, phonemes and the like: a label belongs to the last word of the text that ends with it."""
    groups: List[List[Span]] = [[] for _ in wanted]
    labels: List[int] = []
    before = ""
    for span in found:
        labels.append(span.label)
        text = vocabulary.decode(_apart(labels, vocabulary.blank_id)).strip()
        if text != before and wanted:
            groups[max(0, min(len(text.split()), len(wanted)) - 1)].append(span)
        before = text
    return [(text, group) for text, group in zip(wanted, groups) if group]


# -- how far a word reaches -------------------------------------------------------------------------------------------


def reached(edges: Sequence[Tuple[float, float]], levels: Optional[Levels]) -> List[Tuple[float, float]]:
    """(start, end) of words in seconds. edges: the middles of their first and last labels."""
    loud = None if levels is None else _loud(levels.db, max(1, round(_DIP_S / levels.step_s)))
    if levels is not None and loud is not None:
        edges = [_in_sound(start, end, levels, loud) for start, end in edges]
    starts, ends = [start for start, _ in edges], [end for _, end in edges]
    for number in range(len(edges) + 1):
        before = ends[number - 1] if number else None
        after = starts[number] if number < len(edges) else None
        end, start = _gap(before, after, levels, loud)
        if number:
            ends[number - 1] = end
        if number < len(edges):
            starts[number] = start
    return [(start, max(start, end)) for start, end in zip(starts, ends)]


def _in_sound(start: float, end: float, levels: Levels, loud: np.ndarray) -> Tuple[float, float]:
    """The same, moved into the sound between them or next to it where a label came before its sound, or after it."""
    first, last = _step(start, levels), _step(end, levels)
    most = max(1, round(_BESIDE_S / levels.step_s))
    heard = np.flatnonzero(loud[max(0, first - most) : last + most + 1]) + max(0, first - most)
    if not len(heard):
        return start, end
    if not loud[first]:
        later = heard[(heard >= first) & (heard <= max(last, first + most))]
        first = int(later[0]) if len(later) else int(heard[-1])
    if not loud[last]:
        sooner = heard[(heard <= last) & (heard >= min(first, last - most))]
        last = int(sooner[-1]) if len(sooner) else int(heard[0])
    first, last = min(first, last), max(first, last)
    return levels.start_s + (first + 0.5) * levels.step_s, levels.start_s + (last + 0.5) * levels.step_s


def _gap(
    before: Optional[float], after: Optional[float], levels: Optional[Levels], loud: Optional[np.ndarray]
) -> Tuple[float, float]:
    """Where the word that ends at the label `before` ends, and the one of the label `after` begins."""
    if levels is None or loud is None:
        end = 0.0 if before is None else before + _USUAL_REACH_S
        start = 0.0 if after is None else max(0.0, after - _USUAL_REACH_S)
        if before is not None and after is not None and end > start:
            end = start = (before + after) / 2
        return end, start
    first = 0 if before is None else _step(before, levels)
    last = len(levels.db) - 1 if after is None else _step(after, levels)
    most = max(1, round(_REACH_S / levels.step_s))
    end_step = _run(loud[first : last + 1], most) + first
    start_step = last + 1 - _run(loud[first : last + 1][::-1], most)
    if before is not None and after is not None and end_step >= start_step and last > first:
        end_step = start_step = first + _quietest(levels.db[first : last + 1])
    return levels.start_s + end_step * levels.step_s, levels.start_s + start_step * levels.step_s


def _step(time_s: float, levels: Levels) -> int:
    return int(np.clip((time_s - levels.start_s) / levels.step_s, 0, len(levels.db) - 1))


def _run(loud: np.ndarray, most: int) -> int:
    """Steps until it is quiet, at most so many; at least one."""
    quiet = np.flatnonzero(~loud[1:])
    return min(most, len(loud), int(quiet[0]) + 1 if len(quiet) else len(loud))


def _quietest(db: np.ndarray) -> int:
    smooth = np.convolve(np.pad(db, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    return int(np.argmin(smooth))


def _loud(db: np.ndarray, dip: int) -> Optional[np.ndarray]:
    """(steps,) whether it is not quiet; short dips count as loud. None where nothing is quiet."""
    if not len(db):
        return None
    low, high = np.percentile(db, [5, 95])
    if high - low < _LEAST_RANGE_DB:
        return None
    loud = db > low + _QUIET_SHARE * (high - low)
    edges = np.flatnonzero(np.diff(loud.astype(np.int8), prepend=0, append=0))
    for end, start in zip(edges[1::2], edges[2::2]):
        if start - end <= dip:
            loud[end:start] = True
    return loud


def measured(pcm: np.ndarray, hop: int) -> np.ndarray:
    """(time,) int16 -> (steps,) root mean square of each `hop` samples, in dB; what is left over is one."""
    if not len(pcm):
        return np.zeros(0)
    power = np.add.reduceat(np.square(pcm.astype(np.float64)), np.arange(0, len(pcm), hop))
    counts = np.full(len(power), hop)
    counts[-1] = len(pcm) - hop * (len(power) - 1)
    return np.maximum(10 * np.log10(np.maximum(power / counts, 1e-9) / 32768.0**2), LOWEST_DB)
