"""The gradient of a step from those of its micro-batches, whichever process computed them.

torch's DistributedDataParallel hooks on autograd, and the packed engine adds to `.grad` without it
(asrctl.models.packed.linear). It also adds up in an order that depends on the number of processes. So collectives of
torch are used directly, between the backward passes of a step and its update.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
import torch

from asrctl.runtime.ranks import Group

# Numbers that go over the network at a time: 32 MB in fp32.
_BUCKET = 8 << 20


@dataclass(frozen=True)
class _Bucket:
    """Parameters next to each other, laid end to end. starts: where each begins, and the end of all.

    chunk: numbers of each process, so that all of them together are at least as many.
    """

    first: int
    parameters: Sequence[Any]
    starts: np.ndarray
    chunk: int

    def flat(self, size: int) -> torch.Tensor:
        """(size * chunk,): the gradients, zeros where there is none."""
        made = torch.zeros(size * self.chunk, dtype=self.parameters[0].dtype, device=self.parameters[0].device)
        for parameter, start, end in zip(self.parameters, self.starts, self.starts[1:]):
            if parameter.grad is not None:
                made[start:end].copy_(parameter.grad.reshape(-1))
        return made

    def put_back(self, flat: torch.Tensor, present: np.ndarray) -> None:
        """Make the numbers of `flat` the gradients of those parameters that are present."""
        for place, parameter in enumerate(self.parameters):
            found = flat[self.starts[place] : self.starts[place + 1]].view_as(parameter)
            if not present[self.first + place]:
                parameter.grad = None
            elif parameter.grad is None:
                parameter.grad = torch.empty_like(parameter).copy_(found)
            else:
                parameter.grad.copy_(found)

    def stretches(self, rank: int, *states: np.ndarray) -> List[Tuple[int, int, Tuple[bool, ...]]]:
        """(start, end, states) of the chunk of `rank`, neighbors of equal states in one. states: by parameter."""
        begin, end = rank * self.chunk, min((rank + 1) * self.chunk, int(self.starts[-1]))
        found: List[Tuple[int, int, Tuple[bool, ...]]] = []
        place = max(0, int(np.searchsorted(self.starts, begin, side="right")) - 1)
        while begin < end:
            until = min(end, int(self.starts[place + 1]))
            now = tuple(bool(state[self.first + place]) for state in states)
            if found and found[-1][2] == now:
                found[-1] = (found[-1][0], until - rank * self.chunk, now)
            elif until > begin:
                found.append((begin - rank * self.chunk, until - rank * self.chunk, now))
            begin, place = until, place + 1
        return found


def _buckets(parameters: Sequence[Any], size: int) -> List[_Bucket]:
    found: List[_Bucket] = []
    first = 0
    while first < len(parameters):
        last, count = first, 0
        like = (parameters[first].dtype, parameters[first].device)
        while last < len(parameters) and (parameters[last].dtype, parameters[last].device) == like:
            if count and count + parameters[last].numel() > _BUCKET:
                break
            count += parameters[last].numel()
            last += 1
        starts = np.cumsum([0] + [parameter.numel() for parameter in parameters[first:last]])
        found.append(_Bucket(first, parameters[first:last], starts, -(-count // size)))
        first = last
    return found


def present_in(parameters: Sequence[Any]) -> np.ndarray:
    """(parameters,) bool: which have a gradient. A dropped layer has none, and its optimizer state then stays."""
    return np.array([parameter.grad is not None for parameter in parameters])


class InOrder:
    """Gradients added in the order of micro-batches, ((g0 + g1) + g2) + ..., so bit for bit as one process adds them.

    Each process adds up one chunk of all numbers. After each round it gets that chunk of every process' gradient.
    """

    def __init__(self, group: Group, parameters: Sequence[Any]) -> None:
        self._group, self._parameters = group, list(parameters)
        self._buckets = _buckets(self._parameters, group.size)
        self.clear()

    def clear(self) -> None:
        self._sums: List[Optional[torch.Tensor]] = [None] * len(self._buckets)
        self._present = np.zeros(len(self._parameters), dtype=bool)

    def add(self, turn: Sequence[Optional[int]]) -> None:
        """Take the gradients of a round from `.grad`. turn: the micro-batch that each process has computed."""
        mine = present_in(self._parameters)
        theirs = self._group.gather_flags(mine)
        order = sorted((number, rank) for rank, number in enumerate(turn) if number is not None)
        after = self._present | theirs.any(axis=0)
        for place, bucket in enumerate(self._buckets):
            if theirs[:, bucket.first : bucket.first + len(bucket.parameters)].any():
                self._sums[place] = self._added(place, bucket, [rank for _, rank in order], theirs)
        self._present = after
        for parameter in self._parameters:
            parameter.grad = None

    def _added(self, place: int, bucket: _Bucket, order: Sequence[int], theirs: np.ndarray) -> torch.Tensor:
        flat = bucket.flat(self._group.size)
        given = torch.empty_like(flat)
        self._group.exchange(given, flat)
        held = self._sums[place]
        total = torch.zeros(bucket.chunk, dtype=flat.dtype, device=flat.device) if held is None else held
        before = self._present.copy()
        for rank in order:
            source = given[rank * bucket.chunk : (rank + 1) * bucket.chunk]
            for start, end, (has_some, gets_more) in bucket.stretches(self._group.rank, before, theirs[rank]):
                if gets_more and has_some:
                    total[start:end] += source[start:end]
                elif gets_more:  # 0 + -0 would be 0
                    total[start:end] = source[start:end]
            before |= theirs[rank]
        return total

    def finish(self) -> None:
        """Make the sums the parameters' `.grad`, in every process."""
        for place, bucket in enumerate(self._buckets):
            total = self._sums[place]
            if total is not None:
                flat = torch.empty(self._group.size * bucket.chunk, dtype=total.dtype, device=total.device)
                self._group.gather_tensor(flat, total)
                bucket.put_back(flat, self._present)
                self._sums[place] = None
        self.clear()


class AddedUp:
    """Each process adds up its own, and one sum over all of them makes the gradient: equal but for rounding."""

    def __init__(self, group: Group, parameters: Sequence[Any]) -> None:
        self._group, self._parameters = group, list(parameters)
        self._buckets = _buckets(self._parameters, group.size)

    def finish(self) -> None:
        present = self._group.gather_flags(present_in(self._parameters)).any(axis=0)
        for bucket in self._buckets:
            if present[bucket.first : bucket.first + len(bucket.parameters)].any():
                flat = bucket.flat(self._group.size)
                self._group.add_up(flat)
                bucket.put_back(flat, present)
