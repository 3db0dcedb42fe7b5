"""When each IPU works on which micro-batch, and how much of an optimizer step is spent filling and draining. Pure.

A pipeline over S stages is S steps forward and S - 1 back (the last stage does both at once), so P = 2 S - 1 deep. The
optimizer step waits until it has drained: with A accumulated micro-batches a step takes A + P - 1 cycles, of which
P - 1 fill and drain. Their share is (P - 1) / (A + P - 1); poptorch demands A >= P.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple


@dataclass(frozen=True)
class Timetable:
    """One optimizer step of one replica. stages: IPUs that have layers. accumulation: micro-batches per step."""

    stages: int
    accumulation: int

    @property
    def depth(self) -> int:
        """Pipeline steps that a micro-batch passes, forward and back; also the fewest micro-batches per step."""
        return 2 * self.stages - 1

    @property
    def cycles(self) -> int:
        return self.accumulation + self.depth - 1

    @property
    def ramp_share(self) -> float:
        """Share of the cycles in which the pipeline fills or drains, 0..1."""
        return (self.depth - 1) / self.cycles

    def at(self, stage: int, cycle: int) -> Tuple[Optional[int], Optional[int]]:
        """(micro-batch going forward, micro-batch going back) on a stage in a cycle; None where there is none."""
        return self._inside(cycle - stage), self._inside(cycle - (self.depth - 1 - stage))

    def _inside(self, micro_batch: int) -> Optional[int]:
        return micro_batch if 0 <= micro_batch < self.accumulation else None

    def in_flight(self, stage: int) -> int:
        """Micro-batches whose inputs a stage keeps: those gone forward and not yet back, 2 (S - 1 - stage) + 1."""
        return 2 * (self.stages - 1 - stage) + 1

    def duration(self, forward: Sequence[float], backward: Sequence[float]) -> float:
        """Time of the step, in the unit of the costs (one per stage). A cycle lasts as long as its slowest stage."""
        spans = []
        for cycle in range(self.cycles):
            active = [self.at(stage, cycle) for stage in range(self.stages)]
            spans.append(
                max(
                    (there is not None) * forward[stage] + (back is not None) * backward[stage]
                    for stage, (there, back) in enumerate(active)
                )
            )
        return float(sum(spans))

    def busy(self, forward: Sequence[float], backward: Sequence[float]) -> List[float]:
        """Share of the step in which each stage computes, 0..1: what ramps and uneven stages leave of it."""
        duration = self.duration(forward, backward) or 1.0
        return [self.accumulation * (there + back) / duration for there, back in zip(forward, backward)]


@dataclass(frozen=True)
class CombinedBatch:
    """Utterances that one call hands to the IPUs, and how that number is made."""

    micro_batch: int
    replication: int
    accumulation: int
    device_iterations: int

    @property
    def global_batch(self) -> int:
        """Utterances per optimizer step."""
        return self.micro_batch * self.replication * self.accumulation

    @property
    def size(self) -> int:
        return self.global_batch * self.device_iterations
