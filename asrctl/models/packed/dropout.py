"""Dropout whose masks are cheap to draw and to apply on a CPU and depend on torch's seed alone."""

from __future__ import annotations

import copy
from typing import Any, Optional, Tuple

import numpy as np
import torch

_STEPS = 1 << 15
_INTEGERS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}


class Dice:
    """The masks of one forward pass, drawn from a seed that torch's default generator gives.

    On a CPU from numpy's SFC64, 15 bits a decision (a probability is met to 1 / 32768): several times faster than
    torch's own generator there.
    """

    def __init__(self) -> None:
        seed = int(torch.randint(0, 2**62, ()))
        self._generator = np.random.SFC64(seed)

    def copy(self) -> "Dice":
        """Dice that fall from now on as these do (on a CPU; elsewhere torch's own generator decides)."""
        made = copy.copy(self)
        made._generator = np.random.SFC64(0)
        made._generator.state = self._generator.state
        return made

    def keep(self, like: torch.Tensor, dropout: float) -> torch.Tensor:
        """All bits set where a value stays, none with probability `dropout`; integers as wide as `like`'s values."""
        integer = _INTEGERS[like.dtype]
        if like.device.type != "cpu":
            return -torch.empty(like.shape, dtype=integer, device=like.device).bernoulli_(1 - dropout)
        words = self._generator.random_raw((like.numel() + 3) // 4)
        drawn = torch.from_numpy(words.view(np.int16)[: like.numel()]).view(like.shape)
        # The sign of (threshold - 1 - drawn), spread over all bits.
        threshold = round(dropout * _STEPS)
        signs = drawn.bitwise_and_(_STEPS - 1).neg_().add_(threshold - 1).bitwise_right_shift_(15)
        return signs.to(integer)


def kept(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """values where the mask of `Dice.keep` has its bits set, else 0."""
    return torch.bitwise_and(values.view(mask.dtype), mask).view(values.dtype)


def drop(values: torch.Tensor, dropout: float, dice: Optional[Dice]) -> torch.Tensor:
    """Dropout (Srivastava et al. 2014), what stays scaled by 1 / (1 - dropout). dice None: outside of training."""
    if dice is None or dropout == 0.0:
        return values
    return _Drop.apply(values, dice.keep(values, dropout), 1.0 / (1.0 - dropout))


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return kept(values, mask).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        (mask,) = ctx.saved_tensors
        return kept(gradient.contiguous(), mask).mul_(ctx.scale), None, None
