"""How often words are right that a model is so sure of, and what makes the one tell the other.

A CTC model is surer than it is right. Which is measured as Guo et al. do (2017, "On calibration of modern neural
networks"): words are put into bins by their confidence, and the expected calibration error is the mean distance, over
all words, between a bin's mean confidence and its share of right words. It is mended by beta calibration (Kull, Silva
Filho and Flach 2017): a logistic regression on log s and -log(1 - s) of a word's confidence s, which makes the words of
the eval split likeliest. docs/decoding.md has what it was measured against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np

from asrctl.storage import records

BINS = 10
# No model is that sure, and logarithms of 0 are to be had from none.
_LEAST = 1e-6
_STEPS = 100
# As of all intervals, see metrics.bootstrap_interval.
_REPLICATES, _SEED = 1000, 2004
# What weights cost in the regression.
_RIDGE = 1e-3
# Fewer words than these tell three numbers badly.
LEAST_WORDS = 50


@dataclass(frozen=True)
class Calibration:
    """The log odds of a word's being right: a * log s - b * log(1 - s) + c. a, b: never below 0, so the order of words
    stays. words: it was made from so many of the eval split, of data with this ID."""

    a: float
    b: float
    c: float
    words: int
    data: str

    def apply(self, confidences: np.ndarray) -> np.ndarray:
        """(words,) confidences -> (words,) probabilities of being right."""
        return _sigmoid(_columns(confidences) @ np.array([self.a, self.b, self.c]))


@dataclass(frozen=True)
class Bin:
    """Words whose confidence is from low to high: how many, what they have on average, and the share of right ones."""

    low: float
    high: float
    words: int
    confidence: float
    right: float


@dataclass(frozen=True)
class Reliability:
    """How well confidences tell how many words are right. error: expected calibration error, with its 95 % interval;
    separation: share of pairs of a right and a wrong word in which the right one has more (area under the curve)."""

    words: int
    right: int
    error: float
    error_interval: Optional[Tuple[float, ...]]
    separation: Optional[float]
    bins: Tuple[Bin, ...]


@dataclass(frozen=True)
class ConfidenceScores:
    """Of an evaluation's words. raw: as the model has them. calibrated: with what the eval split has shown."""

    raw: Reliability
    calibrated: Optional[Reliability] = records.absent()
    calibration: Optional[Calibration] = records.absent()


def fitted(confidences: np.ndarray, right: np.ndarray, data: str = "") -> Calibration:
    """(words,) confidences and whether each word is right."""
    columns = _columns(confidences)
    weights = np.zeros(3)
    used = [0, 1, 2]
    while True:
        weights[:] = 0.0
        weights[used] = _likeliest(columns[:, used], right)
        falling = [place for place in (0, 1) if weights[place] < 0]
        if not falling:
            break
        used = [place for place in used if place not in falling]
    a, b, c = (round(float(value), 6) + 0.0 for value in weights)
    return Calibration(a, b, c, len(right), data)


def _likeliest(columns: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(words, n), (words,) bool -> (n,) weights of a logistic regression, by Newton's way.

    The targets are Platt's, a little within 0 and 1, and large weights cost a little, so that words which one limit
    tells apart ask for no endless ones.
    """
    count, good = len(right), int(right.sum())
    targets = np.where(right, (good + 1) / (good + 2), 1 / (count - good + 2))

    def likelihood(weights: np.ndarray) -> float:
        odds = columns @ weights
        return float((targets * odds - np.logaddexp(0, odds)).sum() - _RIDGE * weights @ weights)

    weights = np.zeros(columns.shape[1])
    for _ in range(_STEPS):
        found = _sigmoid(columns @ weights)
        spread = (columns * (found * (1 - found))[:, None]).T @ columns + 2 * _RIDGE * np.eye(len(weights))
        step = np.linalg.solve(spread, columns.T @ (targets - found) - 2 * _RIDGE * weights)
        while np.abs(step).max() > 1e-9 and likelihood(weights + step) < likelihood(weights):
            step = step / 2  # too far: the logistic function is flat there
        weights = weights + step
        if np.abs(step).max() <= 1e-9:
            break
    return weights


def reliability(confidences: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> Reliability:
    """confidences, right: (words,) of each utterance. The interval draws utterances, as that of WER does."""
    flat, good = np.concatenate(confidences).astype(np.float64), np.concatenate(right)
    place = np.minimum((flat * BINS).astype(np.int64), BINS - 1)
    # For each utterance and bin: words, the sum of their confidences, and right ones.
    owner = np.repeat(np.arange(len(right)), [len(each) for each in right])
    cell = owner * BINS + place
    sums = np.stack(
        [np.bincount(cell, weights, len(right) * BINS) for weights in (np.ones(len(flat)), flat, good)]
    ).reshape(3, len(right), BINS)
    total = sums.sum(1)
    return Reliability(
        words=len(flat),
        right=int(good.sum()),
        error=round(_error(total), 6),
        error_interval=_interval(sums),
        separation=_separation(flat, good),
        bins=tuple(
            Bin(
                round(number / BINS, 2),
                round((number + 1) / BINS, 2),
                int(count),
                round(summed / count, 6),
                round(hits / count, 6),
            )
            for number, (count, summed, hits) in enumerate(total.T.tolist())
            if count
        ),
    )


def _error(total: np.ndarray) -> float:
    """(3, bins): words, sums of confidences, right ones -> expected calibration error."""
    return float(np.abs(total[1] - total[2]).sum() / max(total[0].sum(), 1.0))


def _interval(sums: np.ndarray) -> Optional[Tuple[float, float]]:
    count = sums.shape[1]
    if count < 2:
        return None
    generator = np.random.default_rng(_SEED)
    errors = [
        _error(np.einsum("u,tub->tb", np.bincount(generator.integers(0, count, count), minlength=count), sums))
        for _ in range(_REPLICATES)
    ]
    low, high = np.percentile(errors, [2.5, 97.5])
    return round(float(low), 6), round(float(high), 6)


def _separation(confidences: np.ndarray, right: np.ndarray) -> Optional[float]:
    """Mann and Whitney's, from ranks; equal ones count half. None where all are right or all wrong."""
    good, bad = int(right.sum()), int((~right).sum())
    if not good or not bad:
        return None
    _, inverse, counts = np.unique(confidences, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)]
    return round(float((ranks[right].sum() - good * (good + 1) / 2) / (good * bad)), 6)


def _columns(confidences: np.ndarray) -> np.ndarray:
    inside = np.clip(np.asarray(confidences, dtype=np.float64), _LEAST, 1 - _LEAST)
    return np.stack([np.log(inside), -np.log1p(-inside), np.ones(len(inside))], 1)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -50, 50)))
