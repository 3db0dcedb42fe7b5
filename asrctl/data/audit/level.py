"""How loud the speech is, against the corpus; clipping and silence, against what recordings of people are."""

from __future__ import annotations

from typing import Optional, Tuple

import numpy as np

from asrctl.data.audit.distribution import Histogram

_FEWEST = 20
_LEAST_SIGMA_DB = 1.5
# Deviations; but no less than twice as far as the outermost 5 of 100, as levels of speakers differ. Where more than 5
# of 100 are wrong, these are no measure, so there is an end to that.
_FAR, _TAILS, _VERY_FAR = 6.0, 2.0, 8.0
# At -60 dBFS speech has some 5 bits left above the rounding of 16 bits, whose noise is at -98 dBFS.
_TOO_QUIET_DBFS = -60.0
# One sample in 2000 in flat tops is heard as crackling; in clean recordings it was none of 2606.
CLIPPED_SHARE = 0.0005
# People who record themselves leave up to a second; the longest of 2606 clean recordings was 0.9 s, a pause 1.7 s.
_EDGE_S, _GAP_S = 2.0, 3.0
_MOST_SHARE, _MOST_S = 0.85, 1.0
# Speech goes up and down by 17 dB and more, within a third of a second still by 4; steady noise by 1 to 3.
_STEADY_DB, _STEADY_S = 3.0, 0.3
_UNHEARD_DBFS = -75.0


class Levels:
    """Of a corpus, in dBFS."""

    def __init__(self) -> None:
        self.histogram = Histogram(-120.0, 0.0, 0.25)

    def limits(self) -> Tuple[float, float]:
        """(lowest, highest) level that is not odd."""
        if self.histogram.total < _FEWEST:
            return _TOO_QUIET_DBFS, np.inf
        spread = self.histogram.spread(_LEAST_SIGMA_DB)
        low = spread.median - _reach(spread.median - spread.low, spread.sigma)
        high = spread.median + _reach(spread.high - spread.median, spread.sigma)
        return max(low, _TOO_QUIET_DBFS), high

    def usual(self) -> float:
        return self.histogram.quantile(0.5)


def _reach(tail: float, sigma: float) -> float:
    """How far from the median a level may lie. tail: how far the outermost 5 of 100 do."""
    return min(max(_FAR * sigma, _TAILS * tail), _VERY_FAR * sigma)


def silence(measured: np.void) -> Optional[Tuple[str, float]]:
    """(where, seconds) of the silence in one utterance that is too long; None where there is none."""
    seconds = float(measured["seconds"])
    steady = measured["range"] < _STEADY_DB and seconds >= _STEADY_S
    if steady or measured["top"] < _UNHEARD_DBFS:
        return "all", seconds
    edges = {"before": measured["leading_s"], "after": measured["trailing_s"], "within": measured["gap_s"]}
    where = max(edges, key=lambda name: float(edges[name]))
    longest = float(edges[where])
    if longest >= (_GAP_S if where == "within" else _EDGE_S):
        return where, longest
    silent_s = seconds - float(measured["active_s"])
    if silent_s >= max(_MOST_S, _MOST_SHARE * seconds):
        return "most", silent_s
    return None


def may_be_silent(measured: np.ndarray) -> np.ndarray:
    """(utterances,) bool: whether `silence` is worth asking."""
    edges = np.maximum(np.maximum(measured["leading_s"], measured["trailing_s"]), measured["gap_s"])
    silent_s = measured["seconds"] - measured["active_s"]
    mostly = silent_s >= np.maximum(_MOST_S, _MOST_SHARE * measured["seconds"])
    return (edges >= _EDGE_S) | mostly | (measured["range"] < _STEADY_DB) | (measured["top"] < _UNHEARD_DBFS)
