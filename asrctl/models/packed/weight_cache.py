"""Weights in a lower precision, copied once after each change instead of at each use."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Dict, List, Sequence, Tuple
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from asrctl.runtime import compat

_Stamp = Tuple[Tuple[int, int, int], ...]
_Kept = Tuple[Sequence[nn.Parameter], _Stamp, torch.Tensor]

# Optimizer steps of this process, once copies exist: fused kernels change weights without raising their version.
_steps = 0


def _count_step(*_: Any) -> None:
    global _steps
    _steps += 1


def _stamp_of(parameters: Sequence[nn.Parameter]) -> _Stamp:
    return tuple((_steps, parameter._version, parameter.data_ptr()) for parameter in parameters)


def _together(kept: _Kept) -> bool:
    """Whether a copy is where its weights are; the model may have moved."""
    return kept[2].device == kept[0][0].device


class Copies:
    """The copies that belong to one model in one precision."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._kept: Dict[Tuple[int, ...], _Kept] = {}

    def get(self, *parameters: nn.Parameter) -> torch.Tensor:
        """The parameters' values joined along their first dimension, outside of autograd.

        A change is seen by torch's version counter (in-place operations, load_state_dict) or made by any of torch's
        optimizers; writing through `.data` is not seen.
        """
        if len(parameters) == 1 and parameters[0].dtype == self.dtype:
            return parameters[0].detach()
        key, stamp = tuple(id(parameter) for parameter in parameters), _stamp_of(parameters)
        kept = self._kept.get(key)
        if kept is not None and kept[1] == stamp:
            return kept[2]
        if kept is not None and parameters[0].device.type == "cuda" and _together(kept):
            self._refresh_all()
            return self._kept[key][2]
        # An inference tensor could not be saved for a backward pass later.
        with torch.inference_mode(False), torch.no_grad():
            joined = self._joined(parameters, None if kept is None else kept[2])
        self._kept[key] = (parameters, stamp, joined)
        return joined

    def _refresh_all(self) -> None:
        """One call for all copies: on a GPU each has its own cost, and what changes one weight changes all."""
        targets: List[torch.Tensor] = []
        sources: List[torch.Tensor] = []
        for key, kept in self._kept.items():
            if not _together(kept):
                continue
            parameters, _, joined = kept
            targets += joined.split([parameter.shape[0] for parameter in parameters])
            sources += parameters
            self._kept[key] = (parameters, _stamp_of(parameters), joined)
        with torch.inference_mode(False), torch.no_grad():
            compat.copy_all(targets, sources)

    def _joined(self, parameters: Sequence[nn.Parameter], old: Any) -> torch.Tensor:
        first = parameters[0]
        shape = (sum(parameter.shape[0] for parameter in parameters),) + tuple(first.shape[1:])
        reusable = isinstance(old, torch.Tensor) and old.shape == shape and old.device == first.device
        joined = old if reusable else torch.empty(shape, dtype=self.dtype, device=first.device)
        start = 0
        for parameter in parameters:
            joined[start : start + parameter.shape[0]].copy_(parameter)
            start += parameter.shape[0]
        return joined


_of_models: "WeakKeyDictionary[nn.Module, Copies]" = WeakKeyDictionary()


def of(model: nn.Module, dtype: torch.dtype) -> Copies:
    """The copies of a model's weights; one precision at a time."""
    if not _of_models:
        _watch_optimizers()
    copies = _of_models.get(model)
    if copies is None or copies.dtype != dtype:
        copies = _of_models[model] = Copies(dtype)
    return copies


@lru_cache(maxsize=None)
def _watch_optimizers() -> None:
    register_optimizer_step_post_hook(_count_step)
