"""A whole recording and its text: which utterance of the text is said where, and what of either is not in the other.

Between utterances the recording may hold what is not written (a star of the chain), and utterances may be left out.
Each has a price. Against the likeliest label of every frame, a model that hears well loses little where the text is
right, and several nats for each label where it is not. Sound that is not written costs `HEARD` for each frame of a
label, an utterance that is not said `LEFT_OUT` for each label, and leaving out any number of them `JUMP` at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from asrctl.alignment import viterbi
from asrctl.alignment.heard import Heard
from asrctl.alignment.spelling import Word
from asrctl.alignment.viterbi import Chain
from asrctl.evaluation import confidence

HEARD, LEFT_OUT, JUMP = 2.0, 1.0, 40.0
# Frames of the mean whose lowest is an utterance's score (Kürzinger et al. 2020, section 3.3).
_SCORE_FRAMES = 30


class Span(NamedTuple):
    """Frames first ... last, both included."""

    first: int
    last: int


@dataclass(frozen=True)
class Said:
    """An utterance that was found. words: the frames of each word's labels, None where it has none; confidences: those
    of confidence.of_word, never calibrated: that is learned on words that a decoder found. score: lowest mean of the
    log-probabilities of the path over 30 frames in a row; mean: over all of its frames.
    """

    span: Span
    words: Tuple[Optional[Span], ...]
    confidences: Tuple[Optional[float], ...]
    score: float
    mean: float


@dataclass(frozen=True)
class Found:
    """said: of each utterance, None where it is not in the recording. unwritten: where other labels are heard."""

    said: Tuple[Optional[Said], ...]
    unwritten: Tuple[Span, ...]


class _Layout:
    """Where the labels of utterances and words lie in a chain."""

    def __init__(self, utterances: Sequence[Sequence[Word]], delimiter: Optional[int]) -> None:
        self.labels: List[int] = []
        self.words: List[List[Optional[Tuple[int, int]]]] = []
        self.starts = [0]
        for words in utterances:
            places: List[Optional[Tuple[int, int]]] = []
            for word in words:
                if word.labels and delimiter is not None and len(self.labels) > self.starts[-1]:
                    self.labels.append(delimiter)
                places.append((len(self.labels), len(self.labels) + len(word.labels)) if word.labels else None)
                self.labels += word.labels
            self.words.append(places)
            self.starts.append(len(self.labels))

    def chain(self, heard: Heard, quiet: Sequence[int]) -> Chain:
        """Stars stand before, between and behind the utterances that have labels."""
        stars = np.unique(self.starts)
        return Chain(
            labels=heard.columns(self.labels),
            stars=stars,
            heard=HEARD,
            left_out=LEFT_OUT * np.diff(stars),
            jump=JUMP,
            quiet=tuple(heard.columns(quiet).tolist()),
        )


def asked_for(utterances: Sequence[Sequence[Word]], blank: int, delimiter: Optional[int]) -> "set[int]":
    """The labels that an alignment looks at."""
    found = {label for words in utterances for word in words for label in word.labels}
    return found | {blank} | ({delimiter} if delimiter is not None else set())


def align(
    heard: Heard,
    utterances: Sequence[Sequence[Word]],
    blank: int,
    delimiter: Optional[int],
    *,
    on_block: Callable[[int], None] = lambda frames: None,
) -> Found:
    """heard: of the labels that are `asked_for`. delimiter: the label between words, where there is one."""
    layout = _Layout(utterances, delimiter)
    quiet = [blank] if delimiter is None else [blank, delimiter]
    chain = layout.chain(heard, quiet)
    column = int(heard.columns(blank))
    path = viterbi.align(heard.log_probs, chain, column, on_block=on_block)
    label = path // 2  # or the label before a gap's end
    is_label = path % 2 == 1
    frames = np.flatnonzero(is_label)
    firsts = np.full(len(layout.labels), -1, dtype=np.int64)
    lasts = firsts.copy()
    firsts[label[frames][::-1]], lasts[label[frames]] = frames[::-1], frames
    said = [
        _said(heard, path, chain, column, (start, end), firsts, lasts, words)
        for start, end, words in zip(layout.starts, layout.starts[1:], layout.words)
    ]
    in_star = ~is_label & np.isin(path // 2, chain.stars)
    return Found(tuple(said), tuple(_unwritten(in_star & ~np.isin(heard.best, quiet), in_star)))


def _said(
    heard: Heard,
    path: np.ndarray,
    chain: Chain,
    blank: int,
    labels: Tuple[int, int],
    firsts: np.ndarray,
    lasts: np.ndarray,
    words: Sequence[Optional[Tuple[int, int]]],
) -> Optional[Said]:
    start, end = labels
    if start == end or firsts[start] < 0:
        return None
    span = Span(int(firsts[start]), int(lasts[end - 1]))
    states = path[span.first : span.last + 1]
    columns = np.where(states % 2 == 1, chain.labels[np.minimum(states // 2, len(chain.labels) - 1)], blank)
    logs = heard.log_probs[span.first : span.last + 1][np.arange(len(columns)), columns].astype(np.float64)
    spans = tuple(None if word is None else Span(int(firsts[word[0]]), int(lasts[word[1] - 1])) for word in words)
    each = np.bincount(states[states % 2 == 1] // 2 - start, logs[states % 2 == 1]) / (lasts - firsts + 1)[start:end]
    confidences = tuple(
        None if word is None else confidence.of_word(each[word[0] - start : word[1] - start].tolist()) for word in words
    )
    return Said(span, spans, confidences, lowest_mean(logs), float(logs.mean()))


def lowest_mean(logs: np.ndarray) -> float:
    """The lowest mean of 30 values in a row; of fewer, of all."""
    count = min(_SCORE_FRAMES, len(logs))
    sums = np.cumsum(np.concatenate([np.zeros(1), logs]))
    return float((sums[count:] - sums[:-count]).min() / count)


def _unwritten(sounds: np.ndarray, in_star: np.ndarray) -> List[Span]:
    """Stretches of stars, from their first sound to their last."""
    edges = np.flatnonzero(np.diff(in_star.astype(np.int8), prepend=0, append=0))
    found = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist()):
        inner = np.flatnonzero(sounds[start:end])
        if len(inner):
            found.append(Span(start + int(inner[0]), start + int(inner[-1])))
    return found
