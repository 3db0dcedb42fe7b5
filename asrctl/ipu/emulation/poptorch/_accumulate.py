"""The gradient of one optimizer step, from the losses of its micro-batches."""

from __future__ import annotations

from typing import Dict

import torch

from ._halves import halves
from ._rounding import Store


class MeanGradient:
    """Accumulates gradients of scaled losses, in the order of the micro-batches.

    float32: their sum, divided at the end. float16: their running mean, so that the accumulator can not overflow.
    """

    def __init__(
        self,
        parameters: Dict[str, torch.nn.Parameter],
        *,
        micro_batches: int,
        dtype: torch.dtype,
        mean: bool,
        loss_scaling: float,
        store: Store,
    ) -> None:
        self._parameters, self._dtype, self._store = parameters, dtype, store
        self._loss_scaling = loss_scaling
        self._running = mean and dtype == torch.float16
        self._divisor = loss_scaling * (micro_batches if mean and not self._running else 1)
        self._added = 0
        self._accumulators: Dict[str, torch.Tensor] = {}

    def add(self, loss: torch.Tensor) -> None:
        """`loss`: a scalar with its graph, which is used up."""
        parameters = list(self._parameters.values())
        with halves():
            gradients = torch.autograd.grad(loss * self._loss_scaling, parameters, allow_unused=True)
        share = 1 / (self._added + 1) if self._running else 1
        for name, gradient in zip(self._parameters, gradients):
            if gradient is None:
                continue
            if name not in self._accumulators:
                self._accumulators[name] = gradient.to(self._dtype, copy=True, memory_format=torch.contiguous_format)
            elif self._dtype == torch.float32:
                self._accumulators[name] += gradient
            else:
                accumulator = self._accumulators[name]
                kept = accumulator.float() * (1 - share if self._running else 1)
                self._store(accumulator, kept + share * gradient.float())
        self._added += 1

    def result(self) -> Dict[str, torch.Tensor]:
        """The unscaled mean (or sum) by parameter name, float32."""
        return {name: accumulator.float() / self._divisor for name, accumulator in self._accumulators.items()}
