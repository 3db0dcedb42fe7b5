"""Characters per second of speech, against texts of about that length in the same corpus."""

from __future__ import annotations

import math
from typing import Dict, Optional

import numpy as np

from asrctl.data.audit.distribution import Histogram, Spread

# Natural logarithms of characters a second, from 0.05 to 400.
_LOW, _HIGH, _WIDTH = -3.0, 6.0, 0.01
# So many utterances tell what is usual.
_ENOUGH = 50
_FEWEST = 20
# No corpus is so even that 12 % more text is odd.
_LEAST_SIGMA = 0.12
# Among 2606 clean recordings (LibriSpeech, spoken digits) the farthest lies 6.1 deviations off, by one second. So fewer
# deviations count only where the text is wrong by two seconds of speech or more, which is several words.
_FAR, _VERY_FAR, _AMISS_S = 5.0, 7.0, 2.0
# Beyond this multiple of the distance to the outermost 5 of 100 it is no more the tail of a wide distribution. Where
# more than 5 of 100 are wrong, that is no measure of the tail: what is very far is told all the same.
_TAILS = 2.0


class Rates:
    """Of a corpus, by the length of the text: long texts are told at a more even pace."""

    def __init__(self) -> None:
        self._by_octave: Dict[int, Histogram] = {}
        self._spreads: Dict[int, Spread] = {}

    def add(self, characters: np.ndarray, active_s: np.ndarray) -> None:
        """(utterances,) each."""
        rates, octaves = _log_rates(characters, active_s), _octaves(characters)
        for octave in np.unique(octaves):
            into = self._by_octave.setdefault(int(octave), Histogram(_LOW, _HIGH, _WIDTH))
            into.add(rates[octaves == octave])

    def spread(self, octave: int) -> Optional[Spread]:
        """What is usual of such texts; of all, where these are few; None where all are few."""
        if octave not in self._spreads:
            own = self._by_octave.get(octave)
            of = own if own is not None and own.total >= _ENOUGH else self._all()
            if of.total < _FEWEST:
                return None
            self._spreads[octave] = of.spread(_LEAST_SIGMA)
        return self._spreads[octave]

    def _all(self) -> Histogram:
        merged = Histogram(_LOW, _HIGH, _WIDTH)
        for histogram in self._by_octave.values():
            merged.merge(histogram)
        return merged

    def deviations(self, characters: np.ndarray, active_s: np.ndarray) -> np.ndarray:
        """(utterances,) robust deviations of those that are odd; 0 of all others."""
        rates, octaves = _log_rates(characters, active_s), _octaves(characters)
        found = np.zeros(len(rates))
        for octave in np.unique(octaves):
            spread = self.spread(int(octave))
            if spread is not None:
                here = octaves == octave
                found[here] = _odd(rates[here], characters[here], active_s[here], spread)
        return found

    def usual(self, characters: int) -> float:
        """Characters a second of such texts."""
        spread = self.spread(int(_octaves(np.asarray([characters]))[0]))
        return math.nan if spread is None else math.exp(spread.median)


def _odd(rates: np.ndarray, characters: np.ndarray, active_s: np.ndarray, spread: Spread) -> np.ndarray:
    deviations = (rates - spread.median) / spread.sigma
    reach = np.where(rates > spread.median, spread.high - spread.median, spread.median - spread.low)
    amiss_s = np.abs(active_s - characters / math.exp(spread.median))
    size = np.abs(deviations)
    is_far = (size >= _VERY_FAR) | ((size >= _FAR) & (amiss_s >= _AMISS_S))
    return np.where(is_far & (size > np.minimum(_TAILS * reach / spread.sigma, _VERY_FAR)), deviations, 0.0)


def _log_rates(characters: np.ndarray, active_s: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(characters, 1) / np.maximum(active_s, 1e-3))


def _octaves(characters: np.ndarray) -> np.ndarray:
    return np.log2(np.maximum(characters, 1)).astype(np.int64)
