"""Storing float32 results in half tensors, with the stochastic rounding that the device does in training."""

from __future__ import annotations

import torch

_MANTISSA_BITS = 11  # of float16, the leading one included
_LEAST_EXPONENT = -24  # of float16's smallest subnormal number


class Store:
    """Writes float32 values into tensors of either precision."""

    def __init__(self, *, stochastic: bool, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed) if stochastic else None

    def __call__(self, target: torch.Tensor, value: torch.Tensor) -> None:
        if target.dtype == torch.float16 and self._generator is not None:
            value = round_stochastically(value, self._generator)
        target.copy_(value)


def round_stochastically(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """float32 -> float32 that float16 holds exactly: one of the two halves around `value`, right in the mean.

    So small updates of half weights, which rounding to nearest would lose altogether, count in the long run.
    """
    _, exponent = torch.frexp(value)  # abs(value) in [0.5, 1) * 2**exponent
    spacing = torch.ldexp(torch.ones_like(value), (exponent - _MANTISSA_BITS).clamp(min=_LEAST_EXPONENT))
    dice = torch.rand(value.shape, generator=generator)
    rounded = torch.floor(value / spacing + dice) * spacing
    return torch.where(torch.isfinite(value), rounded, value)
