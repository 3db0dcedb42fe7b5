"""A better `layers_per_ipu`: contiguous layers on each IPU, the slowest stage as fast as the memory allows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from asrctl.config.recipe import IpuSection
from asrctl.ipu.plan import memory
from asrctl.ipu.plan.layers import Layer
from asrctl.ipu.plan.placement import Placement
from asrctl.ipu.plan.timetable import Timetable


@dataclass(frozen=True)
class Speed:
    """How a placement runs. duration: FLOPs of the slowest stage, summed over the cycles of an optimizer step.

    busy: share of the step in which each IPU that has layers computes.
    """

    duration: float
    busy: Tuple[float, ...]


@dataclass(frozen=True)
class Proposal:
    """layers_per_ipu that is better by the estimate, or None where no placement keeps within `limit_bytes` per IPU."""

    layers_per_ipu: Optional[Tuple[int, ...]]
    limit_bytes: int


def speed(layers: Sequence[Layer], placement: Placement, ipu: IpuSection, accumulation: int) -> Speed:
    """The estimated run of one optimizer step."""
    stages = placement.stages
    costs = [
        memory.stage_flops([layers[i] for i in placement.on(place)], ipu.micro_batch, last=place == stages[-1])
        for place in stages
    ]
    forward, backward = [cost[0] for cost in costs], [cost[1] for cost in costs]
    timetable = Timetable(len(stages), accumulation)
    return Speed(timetable.duration(forward, backward), tuple(timetable.busy(forward, backward)))


def search(layers: Sequence[Layer], ipu: IpuSection, accumulation: int) -> Proposal:
    """The placement over all IPUs of a replica whose slowest stage costs least; of equal ones the one whose fullest IPU
    is emptiest. First below the warning line of the memory estimate, then below the SRAM itself.
    """
    for limit in (int(memory.TIGHT_SHARE * memory.SRAM_BYTES), memory.SRAM_BYTES):
        found = _partition(layers, ipu, accumulation, limit)
        if found is not None:
            return Proposal(found, limit)
    return Proposal(None, memory.SRAM_BYTES)


_Best = Tuple[Tuple[float, int], Tuple[int, ...]]


def _partition(layers: Sequence[Layer], ipu: IpuSection, accumulation: int, limit: int) -> Optional[Tuple[int, ...]]:
    """Dynamic program over (IPU, layers placed so far)."""
    count, last = len(layers), ipu.ipus_per_replica - 1
    timetable = Timetable(last + 1, accumulation)
    best: Dict[int, _Best] = {0: ((0.0, 0), ())}
    for place in range(last + 1):
        after: Dict[int, _Best] = {}
        for start, ((cost, fullest), sizes) in best.items():
            ends: List[int] = [count] if place == last else list(range(start + 1, count))
            for end in ends:
                own = layers[start:end]
                used = memory.on_stage(own, place, timetable.in_flight(place), ipu, pipelined=last > 0).total
                if not own or used > limit:
                    continue
                value = (
                    max(cost, sum(memory.stage_flops(own, ipu.micro_batch, last=place == last))),
                    max(fullest, used),
                )
                if end not in after or value < after[end][0]:
                    after[end] = (value, sizes + (end - start,))
        best = after
    return best[count][1] if count in best else None
