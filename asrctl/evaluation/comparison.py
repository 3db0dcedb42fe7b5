"""Two sets of hypotheses of the same utterances: is one better, beyond chance?

Both tests take utterances as the independent observations and look at differences within each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np

from asrctl.evaluation.metrics import CONFIDENCE, REPLICATES

_SEED = 0
# Of a two-sided test at 5 %, seen with a chance of 80 %: 1.96 + 0.84 standard errors (Cohen 1988).
_POWER_SD = 2.80


@dataclass(frozen=True)
class Difference:
    """Word error rates of A and B (fractions), and B - A: above 0, B is worse.

    interval: 95 % of the difference, by drawing utterances with replacement, both sides together (Bisani and Ney 2004).
    better: share of the draws in which B is better. p: two-sided, of the matched-pairs test (Gillick and Cox 1989).
    improved, worsened: utterances with fewer and with more errors in B. smallest: the difference that such a test set
    shows with a chance of 80 %. interval, better, p and smallest are None for fewer than two utterances.
    """

    utterances: int
    words: int
    wer_a: float
    wer_b: float
    difference: float
    interval: Optional[Tuple[float, ...]]
    better: Optional[float]
    p: Optional[float]
    improved: int
    worsened: int
    smallest: Optional[float]

    @property
    def is_significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def difference(errors_a: np.ndarray, errors_b: np.ndarray, words: np.ndarray) -> Difference:
    """errors_a, errors_b, words: (utterances,) integers, of the same utterances."""
    count, total = len(words), max(int(words.sum(dtype=np.int64)), 1)
    wer_a, wer_b = int(errors_a.sum()) / total, int(errors_b.sum()) / total
    turned = errors_b.astype(np.int64) - errors_a.astype(np.int64)
    interval = better = p = smallest = None
    if count > 1:
        drawn = _drawn_differences(turned, words)
        tail = 50 * (1 - CONFIDENCE)
        interval = tuple(float(bound) for bound in np.percentile(drawn, [tail, 100 - tail]))
        better = float(np.mean(drawn < 0))
        p = matched_pairs(turned)
        smallest = _POWER_SD * float(drawn.std())
    return Difference(
        utterances=count,
        words=int(words.sum(dtype=np.int64)),
        wer_a=wer_a,
        wer_b=wer_b,
        difference=wer_b - wer_a,
        interval=interval,
        better=better,
        p=p,
        improved=int((turned < 0).sum()),
        worsened=int((turned > 0).sum()),
        smallest=smallest,
    )


def _drawn_differences(turned: np.ndarray, words: np.ndarray) -> np.ndarray:
    """(replicates,) differences of the word error rate, each over utterances drawn with replacement."""
    generator = np.random.default_rng(_SEED)
    found = np.empty(REPLICATES)
    for replicate in range(REPLICATES):
        drawn = generator.integers(0, len(words), size=len(words))
        found[replicate] = turned[drawn].sum() / max(int(words[drawn].sum(dtype=np.int64)), 1)
    return found


def matched_pairs(turned: np.ndarray) -> float:
    """Two-sided p of the matched-pairs test: the mean difference of errors over its standard error, as a normal score.

    turned: (utterances,) errors of B less those of A. L. Gillick and S. Cox, "Some statistical issues in the comparison
    of speech recognition algorithms", ICASSP 1989; utterances are the segments.
    """
    spread = float(turned.std(ddof=1))
    if spread == 0.0:
        return 1.0 if not turned.any() else 0.0
    score = float(turned.mean()) / (spread / math.sqrt(len(turned)))
    return math.erfc(abs(score) / math.sqrt(2.0))


def minutes_needed(found: Difference, minutes: float, wanted: float) -> Optional[float]:
    """Of speech like this, to see a difference of `wanted` (a fraction); None where these are enough.

    The standard error falls with the square root of the number of utterances.
    """
    if found.smallest is None or found.smallest <= wanted:
        return None
    return minutes * (found.smallest / wanted) ** 2


def quantile_groups(values: Sequence[float], parts: int) -> np.ndarray:
    """(utterances,) which of `parts` groups of like size each value is in, from 0; equal values are in one group."""
    edges = np.quantile(np.asarray(values), np.arange(1, parts) / parts)
    return np.searchsorted(edges, np.asarray(values), side="left")
