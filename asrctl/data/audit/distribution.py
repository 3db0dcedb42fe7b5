"""Distributions of a corpus in flat memory: counts in narrow bins instead of the values."""

from __future__ import annotations

from typing import NamedTuple, Tuple

import numpy as np

# Makes a median of absolute deviations comparable to a standard deviation (Rousseeuw and Croux, 1993).
_MAD_TO_SIGMA = 1.4826


class Spread(NamedTuple):
    """What is usual: the median, a robust standard deviation, and what 5 and 95 of 100 lie below."""

    median: float
    sigma: float
    low: float
    high: float


class Histogram:
    """Counts in bins of equal width; what lies outside counts in the first or the last."""

    def __init__(self, low: float, high: float, width: float) -> None:
        self.low, self.width = low, width
        self.counts = np.zeros(int(round((high - low) / width)), dtype=np.int64)

    def add(self, values: np.ndarray) -> None:
        places = np.clip(((values - self.low) / self.width).astype(np.int64), 0, len(self.counts) - 1)
        self.counts += np.bincount(places, minlength=len(self.counts))

    def merge(self, other: "Histogram") -> None:
        self.counts += other.counts

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def centers(self) -> np.ndarray:
        return self.low + self.width * (np.arange(len(self.counts)) + 0.5)

    def quantile(self, share: float) -> float:
        """Raises ValueError where it is empty."""
        return _quantile(self.centers, self.counts, share)

    def spread(self, least_sigma: float) -> Spread:
        """least_sigma: corpora that are more alike than this are judged as if they were not."""
        median = self.quantile(0.5)
        distance = np.abs(self.centers - median)
        order = np.argsort(distance, kind="stable")
        deviation = _quantile(distance[order], self.counts[order], 0.5)
        sigma = max(_MAD_TO_SIGMA * deviation, least_sigma)
        return Spread(median, sigma, self.quantile(0.05), self.quantile(0.95))

    def bars(self, most: int = 48) -> Tuple[float, float, Tuple[int, ...]]:
        """(where the first bar begins, width, counts) of at most `most` bars that hold all there is."""
        places = np.flatnonzero(self.counts)
        if not len(places):
            return self.low, self.width, ()
        first, last = int(places[0]), int(places[-1])
        step = max(1, -(-(last - first + 1) // most))
        bars = [int(self.counts[place : place + step].sum()) for place in range(first, last + 1, step)]
        return self.low + first * self.width, step * self.width, tuple(bars)


def _quantile(values: np.ndarray, counts: np.ndarray, share: float) -> float:
    ends = np.cumsum(counts)
    if not ends[-1]:
        raise ValueError("nothing was counted")
    return float(values[int(np.searchsorted(ends, max(1, share * ends[-1])))])
