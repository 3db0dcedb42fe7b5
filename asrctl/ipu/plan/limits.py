"""What static shapes cost on real utterances, and which longest utterance (max_s) would be better. Pure.

The rule: of all limits on a grid of 0.1 s up to the present one that drop at most a given share of the audio, the one
with the least compute per kept second. Every kept utterance costs as much as one of the full length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from asrctl.data.sampler import samples_in

# The shares that are offered, and the one that is recommended.
DROPPED_SHARES = (0.01, 0.02, 0.05, 0.1)
MAX_DROPPED_SHARE = 0.05
_GRID_S = 0.1
_SHORTEST_S = 1.0
# A saving below this is not worth another preparation of the data.
WORTH_SHARE = 0.01

Cost = Callable[[Any], Any]


@dataclass(frozen=True)
class Limit:
    """Padding every utterance to max_s.

    padding_audio, padding_compute: share of the samples, and of the forward operations, spent on padding.
    dropped, dropped_s, dropped_share: utterances, seconds and share of the audio above the limit.
    flops_per_s: forward operations for each kept second.
    """

    max_s: float
    kept: int
    dropped: int
    dropped_s: float
    dropped_share: float
    padding_audio: float
    padding_compute: float
    flops_per_s: float

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__)


def measure(num_samples: np.ndarray, sample_rate: int, max_s: float, cost: Cost) -> Limit:
    """num_samples: (utterances,). cost: forward operations of so many samples (a number or an array)."""
    length = samples_in(max_s, sample_rate)
    kept = num_samples[num_samples <= length]
    real = float(kept.sum(dtype=np.int64))
    everything = float(num_samples.sum(dtype=np.int64))
    full = float(cost(length))
    spent = len(kept) * full
    return Limit(
        max_s=max_s,
        kept=len(kept),
        dropped=len(num_samples) - len(kept),
        dropped_s=(everything - real) / sample_rate,
        dropped_share=1.0 - real / everything if everything else 0.0,
        padding_audio=1.0 - real / (len(kept) * length) if len(kept) else 0.0,
        padding_compute=1.0 - float(np.sum(cost(kept))) / spent if spent else 0.0,
        flops_per_s=spent * sample_rate / real if real else 0.0,
    )


def choices(num_samples: np.ndarray, sample_rate: int, max_s: float, cost: Cost) -> List[Limit]:
    """The limit that the rule prefers for each of DROPPED_SHARES, the longest first, each once.

    Left out is what saves less than WORTH_SHARE of the compute per second against the present limit.
    """
    found: List[Limit] = []
    for share in DROPPED_SHARES:
        limit = better(num_samples, sample_rate, max_s, cost, share)
        if limit is not None and limit not in found:
            found.append(limit)
    return found


def better(
    num_samples: np.ndarray, sample_rate: int, max_s: float, cost: Cost, dropped_share: float = MAX_DROPPED_SHARE
) -> Optional[Limit]:
    """The limit that the rule prefers; None where that saves less than WORTH_SHARE of the compute per second."""
    if not len(num_samples):
        return None
    now = measure(num_samples, sample_rate, max_s, cost)
    best = now
    longest = min(max_s, float(num_samples.max()) / sample_rate + _GRID_S)
    for tick in range(round(_SHORTEST_S / _GRID_S), int(longest / _GRID_S) + 1):
        limit = measure(num_samples, sample_rate, round(tick * _GRID_S, 1), cost)
        if limit.kept and limit.dropped_share <= dropped_share and limit.flops_per_s < best.flops_per_s:
            best = limit
    return best if best.flops_per_s < (1.0 - WORTH_SHARE) * now.flops_per_s else None
