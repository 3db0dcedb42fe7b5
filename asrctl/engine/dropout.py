"""Dropout whose masks are cheap to draw on a CPU and depend on torch's seed alone."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import numpy as np
import torch
from torch.nn import functional

_STEPS = 1 << 16


class Dice:
    """The masks of one forward pass, drawn from a seed that torch's default generator gives.

    On a CPU from numpy's SFC64, 16 bits a decision (a probability is met to 1 / 65536): several times faster than
    torch's own generator there.
    """

    def __init__(self) -> None:
        seed = int(torch.randint(0, 2**62, ()))
        self._generator = np.random.SFC64(seed)

    def keep(self, like: torch.Tensor, dropout: float) -> torch.Tensor:
        """1 where a value stays, 0 with probability `dropout`: shape and precision of `like`."""
        if like.device.type != "cpu":
            return torch.empty_like(like, requires_grad=False).bernoulli_(1 - dropout)
        words = self._generator.random_raw((like.numel() + 3) // 4)
        bits = words.view(np.uint16)[: like.numel()]
        stays = torch.from_numpy(bits >= np.uint16(min(_STEPS - 1, round(dropout * _STEPS))))
        return stays.view(like.shape).to(like.dtype)


def drop(values: torch.Tensor, dropout: float, dice: Optional[Dice]) -> torch.Tensor:
    """Dropout (Srivastava et al. 2014), what stays scaled by 1 / (1 - dropout). dice None: outside of training."""
    if dice is None or dropout == 0.0:
        return values
    if values.device.type != "cpu":
        return functional.dropout(values, dropout)
    return _Drop.apply(values, dice.keep(values, dropout), 1.0 / (1.0 - dropout))


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, kept: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return torch.mul(values, kept).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        (kept,) = ctx.saved_tensors
        return torch.mul(gradient, kept).mul_(ctx.scale), None, None
