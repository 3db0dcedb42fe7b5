"""Emulated poptorch operations that models call."""

from __future__ import annotations

from typing import List, Union

import torch

from ._errors import refuse_unknown
from ._stages import BeginBlock, removeBlocks  # noqa: F401 (poptorch keeps them here)

marked_losses: List[torch.Tensor] = []
"""What `identity_loss` marked since the list was last cleared; the executor clears it before each micro-batch."""


def identity_loss(x: torch.Tensor, reduction: Union[str, int]) -> torch.Tensor:
    """Marks `x`, reduced by "sum", "mean" or "none", as the loss to train on."""
    if reduction == "sum":
        x = x.sum()
    elif reduction == "mean":
        x = x.mean()
    elif reduction != "none":
        raise AssertionError(f"Unsupported reduction type {reduction!r}")  # poptorch's own class of error
    marked_losses.append(x)
    return x


def recomputationCheckpoint(*tensors: torch.Tensor):
    """A hint for the device's memory. Returns what it is given."""
    return tensors[0] if len(tensors) == 1 else tensors


__getattr__ = refuse_unknown(__name__)
