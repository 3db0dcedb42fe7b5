"""A compiled model: its structure frozen, its weights shared with the host's model."""

from __future__ import annotations

import contextlib
import copy
import random
from typing import Any, ContextManager, Dict, List, NamedTuple, Optional, Sequence

import numpy
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from asrctl.runtime import compat

from . import _impl, ops
from ._errors import Error, NotEmulated
from ._halves import halves
from ._stages import Strategy, tracing

_READS = ("item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__", "__contains__")
_DYNAMIC = ("nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "equal", "allclose", "is_nonzero")
_LOSSES = (
    F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits,
    F.cross_entropy,
    F.ctc_loss,
    F.kl_div,
    F.l1_loss,
    F.mse_loss,
    F.nll_loss,
    F.smooth_l1_loss,
)


class MicroBatch(NamedTuple):
    """Results of one micro-batch: the model's outputs, and the loss if it is a training model."""

    outputs: Any
    loss: Optional[torch.Tensor]


class Graph:
    """Runs single micro-batches.

    Train or eval flags, dropout probabilities, classes and blocks are those of the moment when it is made, whatever
    becomes of the host's model. Parameters and buffers are the host's own tensors.

    Raises Error if the model can not be compiled: no loss in a training model, values read back, shapes that depend on
    values, random numbers drawn on the host.
    """

    def __init__(
        self, model: torch.nn.Module, inputs: Dict[str, Any], *, training: bool, strategy: Strategy, seed: int
    ) -> None:
        compat.mend_torch()
        self._model = _freeze(model)
        self._training = training
        self._finds_torch_losses = False
        host_random = random.getstate(), numpy.random.get_state()[1:3]
        with tracing(
            strategy
        ), _Static(), _StaticIndexing(), _sound_losses(), _TorchLosses() as torch_losses, torch.no_grad():
            self._forward(inputs, seed)
        if random.getstate() != host_random[0] or not _same(numpy.random.get_state()[1:3], host_random[1]):
            raise Error(
                "the model draws random numbers with Python's random or numpy: on an IPU they would be compiled in as "
                "constants (spec-augment does this)"
            )
        if training and not ops.marked_losses:
            if not torch_losses.found:
                raise Error("Couldn't find a loss in graph!")
            self._finds_torch_losses = True
        ops.marked_losses.clear()

    def run(self, inputs: Dict[str, Any], seed: int) -> MicroBatch:
        """One micro-batch, its random numbers drawn from `seed`. The loss carries its graph if grad mode is on."""
        with _sound_losses():
            if self._finds_torch_losses:
                with _TorchLosses() as torch_losses:
                    outputs = self._forward(inputs, seed)
                losses = torch_losses.found[-1:]
            else:
                outputs = self._forward(inputs, seed)
                losses = list(ops.marked_losses)
        ops.marked_losses.clear()
        if not self._training:
            return MicroBatch(outputs, None)
        if len(losses) != 1:
            raise NotEmulated(f"a model that marks {len(losses)} losses")
        if losses[0].dim():
            raise Error(f"the loss must be a scalar, not of shape {tuple(losses[0].shape)}")
        return MicroBatch(outputs, losses[0])

    def _forward(self, inputs: Dict[str, Any], seed: int) -> Any:
        ops.marked_losses.clear()
        with _impl.on_ipu(), torch.random.fork_rng(devices=[]), halves():
            torch.manual_seed(seed)
            return self._model(**inputs)


def _freeze(model: torch.nn.Module) -> torch.nn.Module:
    """A copy of all modules that keeps every tensor, as deepcopy takes what its memo holds for a copy already made."""
    shared: Dict[int, Any] = {}
    for module in model.modules():
        for values in (module._parameters, module._buffers, module.__dict__):
            shared.update((id(value), value) for value in values.values() if isinstance(value, torch.Tensor))
    frozen = copy.deepcopy(model, shared)
    frozen.__class__ = _impl.host_class(model)
    return frozen


class _Static(TorchFunctionMode):
    """Refuses what no static graph can hold: control flow on values, and shapes that depend on values."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in _READS or name in _DYNAMIC:
            raise _not_static(name)
        return function(*args, **(kwargs or {}))


class _StaticIndexing(TorchDispatchMode):
    """Refuses to read through a mask. Below functions, as indexing is none in torch 2.0."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.index.Tensor and _has_mask(args[1]):
            raise _not_static("__getitem__")
        return function(*args, **(kwargs or {}))


def _not_static(name: str) -> Error:
    return Error(
        f"the model calls {name}() on a tensor while it is compiled: an IPU has static shapes and can not "
        "branch on values (spec-augment's masks and boolean indexing need that)"
    )


def _sound_losses() -> ContextManager:
    return contextlib.nullcontext() if compat.ctc_knows_no_frames() else _SoundCtc()


class _SoundCtc(TorchFunctionMode):
    """The CTC loss of a current torch."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return (compat.ctc_loss if function is F.ctc_loss else function)(*args, **(kwargs or {}))


class _TorchLosses(TorchFunctionMode):
    """Notes the results of torch's loss functions."""

    def __init__(self) -> None:
        super().__init__()
        self.found: List[torch.Tensor] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in _LOSSES:
            self.found.append(result)
        return result


def _has_mask(indices: Sequence[Optional[torch.Tensor]]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _same(state: Any, other: Any) -> bool:
    return state[1] == other[1] and numpy.array_equal(state[0], other[0])
