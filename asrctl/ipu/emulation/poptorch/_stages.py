"""Blocks, the stages that they make, and how many micro-batches a pipeline of that many stages needs."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import torch

from ._errors import Error, NotEmulated
from .enums import AutoStage


class Placement(NamedTuple):
    """One block: its name, the IPU it is on, and its pipeline stage."""

    block: str
    ipu: int
    stage: int


class Strategy:
    """Turns the blocks that a forward pass enters into stages, numbered from 0.

    Consecutive blocks on one IPU are one stage; what runs before the first block is on IPU 0.
    """

    def __init__(self, auto_stage: AutoStage = AutoStage.SameAsIpu, *stages: Any) -> None:
        if stages or not isinstance(auto_stage, AutoStage):
            raise NotEmulated(f"poptorch.{type(self).__name__} with explicit stages")
        self.auto_stage = auto_stage
        self.placements: List[Placement] = []
        self._ipu = self._stage = 0

    def begin(self, block: str, ipu: int) -> None:
        if ipu != self._ipu:
            if self.auto_stage is AutoStage.SameAsIpu and ipu < self._ipu:
                raise Error(f"block {block!r} goes back to IPU {ipu} from IPU {self._ipu}: AutoStage.SameAsIpu can not")
            self._stage = ipu if self.auto_stage is AutoStage.SameAsIpu else self._stage + 1
            self._ipu = ipu
        self.placements.append(Placement(block, ipu, self._stage))

    def check_depth(self, *, training: bool, micro_batches: int) -> None:
        """Raises Error if `micro_batches` (accumulated, or iterated in inference) do not fill the stages."""

    def as_dict(self) -> Dict[str, Any]:
        return {"kind": type(self).__name__, "auto_stage": str(self.auto_stage)}


class ShardedExecution(Strategy):
    """One stage after the other: any number of micro-batches will do."""


class PipelinedExecution(Strategy):
    """All stages at once, each on another micro-batch. Training goes back through all but the last."""

    def check_depth(self, *, training: bool, micro_batches: int) -> None:
        forward = self._stage + 1
        needed = 2 * forward - 1 if training else forward
        if micro_batches >= needed:
            return
        option = "Training.gradientAccumulation" if training else "deviceIterations"
        backward = f", of which training adds {forward - 1} for the way back" if training else ""
        raise Error(
            f"poptorch.Options.{option} is {micro_batches}, but must be at least the number of pipeline stages, "
            f"{needed}{backward}, when using poptorch.PipelinedExecution"
        )


_tracing: Optional[Strategy] = None


@contextlib.contextmanager
def tracing(strategy: Strategy) -> Iterator[None]:
    """Blocks entered inside are placed by `strategy`; outside they do nothing."""
    global _tracing
    strategy.placements, strategy._ipu, strategy._stage = [], 0, 0
    _tracing = strategy
    try:
        yield
    finally:
        _tracing = None


class BlockHook:
    """The forward pre-hook that begins a block."""

    def __init__(self, name: str, ipu: int) -> None:
        self.name, self.ipu = name, ipu

    def __call__(self, module: torch.nn.Module, inputs: Any) -> None:
        if _tracing is not None:
            _tracing.begin(self.name, self.ipu)


def BeginBlock(layer_to_call: torch.nn.Module, user_id: Optional[str] = None, ipu_id: Optional[int] = None):
    """From `layer_to_call` on, the model runs on IPU `ipu_id`. Returns the layer."""
    if not isinstance(layer_to_call, torch.nn.Module):
        raise NotEmulated(f"poptorch.BeginBlock of a {type(layer_to_call).__name__}")
    if ipu_id is None:
        raise NotEmulated("poptorch.BeginBlock without ipu_id")
    if any(isinstance(hook, BlockHook) for hook in layer_to_call._forward_pre_hooks.values()):
        raise Error("module has already been assigned to a block.")
    layer_to_call.register_forward_pre_hook(BlockHook(str(user_id or ipu_id), ipu_id))
    return layer_to_call


def removeBlocks(module: torch.nn.Module) -> None:
    """Takes every block off `module` and all that is in it."""
    for layer in module.modules():
        hooks = layer._forward_pre_hooks
        for key in [key for key, hook in hooks.items() if isinstance(hook, BlockHook)]:
            del hooks[key]
