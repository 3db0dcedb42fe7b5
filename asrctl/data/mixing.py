"""How often each part of a mixture is drawn. Pure: (sizes, weights, epoch) -> the same utterances on every machine.

An epoch has as many utterances as the parts together. Each part has its share of them, taken from an endless sequence
of its own permutations: no utterance comes again before all of its part have come, over the ends of epochs too.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np

# (part, number) -> a permutation of the part's utterances, the same whenever it is asked for.
Permutations = Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class Shares:
    """How much of an epoch each part gets: by `weights`, one for each part, or else by `temperature`.

    temperature: part i of N utterances, n_i of them its own, gets a share proportional to (n_i / N) ** (1 / T), as
    fairseq's and mT5's temperature sampling has it (Arivazhagan et al. 2019, section 4.2; Xue et al. 2021, whose alpha
    is 1 / T; XLS-R's alpha of 0.5, on hours, is T = 2). 1: as large as the parts are; the larger, the more alike.
    NeMo's `reweight_temperature` is 1 / T.
    """

    weights: Optional[Tuple[int, ...]] = None
    temperature: float = 1.0

    def quotas(self, sizes: Sequence[int]) -> List[int]:
        """Utterances of each part in an epoch, sum(sizes) in all, by the method of the largest remainder."""
        total = sum(sizes)
        if not total:
            return [0] * len(sizes)
        weights = [float(weight) if size else 0.0 for weight, size in zip(self._weights(sizes), sizes)]
        exact = [total * weight / sum(weights) for weight in weights]
        quotas = [int(share) for share in exact]
        order = sorted(range(len(sizes)), key=lambda part: (quotas[part] - exact[part], part))
        for part in order[: total - sum(quotas)]:
            quotas[part] += 1
        return quotas

    def _weights(self, sizes: Sequence[int]) -> Sequence[float]:
        if self.weights is not None:
            return self.weights
        if self.temperature == 1:
            return sizes
        return [(size / sum(sizes)) ** (1 / self.temperature) for size in sizes]


@dataclass(frozen=True)
class Mixing:
    """The parts of a split that is a mixture.

    members: of each part, the indices in the split of its utterances, (utterances,) int64. quotas: how many of each
    part an epoch has.
    """

    members: Tuple[np.ndarray, ...]
    quotas: Tuple[int, ...]

    def draw(self, epoch: int, permutations: Permutations) -> np.ndarray:
        """(utterances of an epoch,) int64: the indices of epoch `epoch`, part after part."""
        return np.concatenate(
            [
                member[_window(epoch * quota, quota, len(member), functools.partial(permutations, part))]
                for part, (member, quota) in enumerate(zip(self.members, self.quotas))
                if quota
            ]
        )

    def expected_samples(self, num_samples: np.ndarray) -> int:
        """Samples of an epoch, on average."""
        return round(
            sum(
                quota * float(num_samples[member].mean(dtype=np.float64))
                for member, quota in zip(self.members, self.quotas)
                if quota
            )
        )

    def most_samples(self, num_samples: np.ndarray) -> int:
        """Samples that no epoch has more of."""
        return sum(_most(num_samples[member], quota) for member, quota in zip(self.members, self.quotas) if quota)


def _window(start: int, count: int, size: int, permutation: Callable[[int], np.ndarray]) -> np.ndarray:
    """`count` places from `start` on of the permutations of 0..size-1 laid end to end."""
    first, last = start // size, (start + count - 1) // size
    laid = np.concatenate([permutation(number) for number in range(first, last + 1)])
    return laid[start - first * size : start - first * size + count]


def _most(lengths: np.ndarray, quota: int) -> int:
    """The largest sum of `quota` neighbors in the permutations: whole ones, and an end and a beginning of others."""
    size = len(lengths)
    whole = max(0, quota // size - 1)
    rest = quota - whole * size
    longest = np.cumsum(np.sort(lengths.astype(np.int64))[::-1])
    return whole * int(longest[-1]) + 2 * int(longest[min(size, (rest + 1) // 2) - 1])
