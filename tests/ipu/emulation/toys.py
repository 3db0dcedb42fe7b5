"""Models of a few weights, and how they are run on the emulated IPU."""

from __future__ import annotations

from typing import Any, Callable, Optional

import torch


class Toy(torch.nn.Module):
    """y = second(dropout(first(x))); with a target, its mean square error is the loss."""

    def __init__(self, *, dropout: float = 0.0, marked: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
        self.dropout, self.marked = torch.nn.Dropout(dropout), marked

    def forward(self, x: torch.Tensor, target: Optional[torch.Tensor] = None) -> Any:
        """x (batch, 2), target (batch,) -> (batch, 1), or loss and that"""
        import poptorch

        y = self.second(self.dropout(self.first(x)))
        if target is None:
            return y
        loss = torch.nn.functional.mse_loss(y[:, 0], target)
        return (poptorch.identity_loss(loss, "none") if self.marked else loss), y


class Calls(torch.nn.Module):
    """Gives what `function(module, x)` gives."""

    def __init__(self, function: Callable[[torch.nn.Module, torch.Tensor], Any]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def batch(size: int, seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    return {
        "x": torch.randn(size, 2, generator=generator),
        "target": torch.randn(size, generator=generator),
    }


def options(poptorch: Any, *, accumulation: int = 1, replicas: int = 1, iterations: int = 1) -> Any:
    made = poptorch.Options().replicationFactor(replicas).deviceIterations(iterations).randomSeed(7)
    made.Training.gradientAccumulation(accumulation)
    return made
