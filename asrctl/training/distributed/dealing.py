"""Who computes which micro-batches of a step. Pure: (seconds, processes) -> the same deal in every process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence

import numpy as np


@dataclass(frozen=True)
class Deal:
    """The share of process `rank` of `size`.

    in_rounds: each round takes the next `size` micro-batches, one a process, so that their gradients can be added in
    order while no more than one is held (asrctl.training.distributed.gradients.InOrder).
    """

    rank: int = 0
    size: int = 1
    in_rounds: bool = True

    def mine(self, seconds: Sequence[float]) -> List[int]:
        """The micro-batches that this process computes, in their order. seconds: of audio in each of a step's."""
        if not self.in_rounds:
            return sorted(evenly(seconds, self.size)[self.rank])
        taken = (one[self.rank] for one in rounds(seconds, self.size))
        return [number for number in taken if number is not None]


def evenly(seconds: Sequence[float], size: int) -> List[List[int]]:
    """Numbers of items for each of `size` processes: the longest first, each to who has least."""
    shares: List[List[int]] = [[] for _ in range(size)]
    loads = [0.0] * size
    for number in np.argsort(-np.asarray(seconds, dtype=np.float64), kind="stable"):
        least = loads.index(min(loads))
        shares[least].append(int(number))
        loads[least] += seconds[number]
    return shares


def rounds(seconds: Sequence[float], size: int) -> List[List[Optional[int]]]:
    """For each round, what each process takes of the next `size` items: the longest goes to who has had least."""
    found: List[List[Optional[int]]] = []
    loads = [0.0] * size
    for start in range(0, len(seconds), size):
        longest_first = sorted(range(start, min(start + size, len(seconds))), key=lambda number: -seconds[number])
        least_first = sorted(range(size), key=lambda rank: loads[rank])
        turn: List[Optional[int]] = [None] * size
        for number, rank in zip(longest_first, least_first):
            turn[rank] = number
            loads[rank] += seconds[number]
        found.append(turn)
    return found
