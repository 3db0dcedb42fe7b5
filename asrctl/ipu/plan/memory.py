"""Bytes on each IPU while training: an estimate, and what it rests on (docs/plan.md has the formulas in words).

On a stage with P parameters, T of them trained, in numbers of b bytes (2 in fp16, 4 in fp32):
  weights     P b
  gradients   T b            the accumulator; always on chip
  optimizer   T (b + 4)      Adam's first moment in b, the second in fp32; 0 where it lives off chip; divided among the
                             replicas where it is sharded and there are several
  stash       2 (S - 1 - stage) + 1 copies of the input of each trained layer. Pipelined training recomputes the rest,
                             and the CTC models mark every transformer layer's output as kept. One IPU: nothing is
                             recomputed, so everything alive in any trained layer is kept once.
  working     the layer that needs most while it is computed
  matmul      ipu.matmul_proportion of the SRAM: scratch of matrix products and convolutions
  program     code, exchange buffers and constants: assumed, see PROGRAM_BYTES
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from asrctl.config.recipe import IpuSection
from asrctl.ipu.plan.layers import Layer
from asrctl.ipu.plan.placement import Placement
from asrctl.ipu.plan.timetable import Timetable

MIB = 1024**2
# Graphcore's Mk2: 1472 tiles of 624 KiB.
SRAM_BYTES = 1472 * 624 * 1024
# Only the compiler knows this one; it is a guess.
PROGRAM_BYTES = 100 * MIB
DEFAULT_MATMUL_PROPORTION = 0.2
# The estimate leaves out how the compiler lays tensors over tiles; above this share of the SRAM it warns.
TIGHT_SHARE = 0.85

FITS, TIGHT, TOO_MUCH = "fits", "tight", "too much"


@dataclass(frozen=True)
class IpuMemory:
    """Estimated bytes on one IPU. host_optimizer: the optimizer state of its layers that lives off chip."""

    ipu: int
    weights: int
    gradients: int
    optimizer: int
    stash: int
    working: int
    matmul: int
    program: int
    host_optimizer: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.stash + self.working + self.matmul + self.program

    @property
    def verdict(self) -> str:
        if self.total > SRAM_BYTES:
            return TOO_MUCH
        return TIGHT if self.total > TIGHT_SHARE * SRAM_BYTES else FITS

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__, total=self.total, sram=SRAM_BYTES, verdict=self.verdict)


def estimate(layers: Sequence[Layer], placement: Placement, ipu: IpuSection, accumulation: int) -> List[IpuMemory]:
    """The memory of each IPU of a replica."""
    stages = placement.stages
    timetable = Timetable(len(stages), accumulation)
    found = []
    for place in range(len(placement.layers_per_ipu)):
        own = [layers[index] for index in placement.on(place)]
        copies = timetable.in_flight(stages.index(place)) if own else 0
        found.append(on_stage(own, place, copies, ipu, pipelined=placement.blocks))
    return found


def on_stage(layers: Sequence[Layer], place: int, copies: int, ipu: IpuSection, *, pipelined: bool) -> IpuMemory:
    """The memory of an IPU that holds `layers` and keeps the inputs of `copies` micro-batches."""
    width = 2 if ipu.precision == "fp16" else 4
    trained = sum(layer.trained for layer in layers)
    state = trained * (width + 4)
    sharded = ipu.replication if ipu.replicated_tensor_sharding else 1
    kept = [layer.input_elements if pipelined else layer.working_elements for layer in layers if layer.trained]
    working = max((layer.working_elements for layer in layers), default=0)
    return IpuMemory(
        ipu=place,
        weights=width * sum(layer.frozen + layer.trained for layer in layers),
        gradients=width * trained,
        optimizer=0 if ipu.optimizer_state_offchip else state // sharded,
        stash=copies * width * ipu.micro_batch * sum(kept),
        working=width * ipu.micro_batch * working,
        matmul=int(_proportion(ipu, place) * SRAM_BYTES),
        program=PROGRAM_BYTES,
        host_optimizer=state if ipu.optimizer_state_offchip else 0,
    )


def _proportion(ipu: IpuSection, place: int) -> float:
    return ipu.matmul_proportion[place] if place < len(ipu.matmul_proportion) else DEFAULT_MATMUL_PROPORTION


def stage_flops(layers: Sequence[Layer], micro_batch: int, *, last: bool) -> Tuple[float, float]:
    """(forward, backward) operations of a micro-batch on one stage.

    Backward costs twice the forward pass of what is trained, and once more where it is recomputed: everywhere but on
    the last stage, which goes straight back.
    """
    trained = sum(layer.trained_flops for layer in layers)
    half_loss = sum(layer.loss_flops for layer in layers) / 2
    forward = trained + half_loss + sum(layer.frozen_flops for layer in layers)
    return micro_batch * forward, micro_batch * (half_loss + trained * (2.0 if last else 3.0))
