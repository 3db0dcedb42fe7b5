"""The moving average of the weights that learn, which is what is evaluated and kept where a recipe asks for it."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, Mapping

from asrctl.runtime import compat


class WeightAverage:
    """Exponential moving average of a model's weights, in fp32 (Polyak and Juditsky 1992; Tarvainen and Valpola 2017).

    After the update of step n (0-based) it moves by 1 - min(decay, (1 + n) / (10 + n)) towards the weights: the first
    ones count for less, as TensorFlow's ExponentialMovingAverage has it. What a batch norm counts is not averaged.
    """

    def __init__(self, model: Any, decay: float) -> None:
        self._decay = decay
        self._weights = {
            compat.canonical_name(name): parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        self._kept = {name: parameter.detach().clone() for name, parameter in self._weights.items()}

    def update(self, step: int) -> None:
        """Take in the weights after optimizer step `step` (0-based)."""
        import torch

        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in self._weights.items():
                self._kept[name].lerp_(parameter, 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model has the averages for weights."""
        own = {name: parameter.detach().clone() for name, parameter in self._weights.items()}
        try:
            self._put(self._kept)
            yield
        finally:
            self._put(own)

    def _put(self, values: Mapping[str, Any]) -> None:
        import torch

        with torch.no_grad():
            for name, parameter in self._weights.items():
                parameter.copy_(values[name])

    def state(self) -> Dict[str, Any]:
        """{name on disk: average}."""
        return dict(self._kept)

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave. Raises KeyError, RuntimeError where it is not this model's."""
        for name, average in self._kept.items():
            average.copy_(state[name])
