"""Linear layers in low precision with gradients in fp32, as few and well-shaped matrix products as possible."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
from torch import nn
from torch.nn import functional

from asrctl.engine.copies import Copies


def linear(inputs: torch.Tensor, copies: Copies, *layers: nn.Linear) -> torch.Tensor:
    """(rows, in) -> (rows, out) in the copies' precision; several layers' outputs lie side by side.

    The backward pass adds to the parameters' fp32 `.grad` itself: they are inputs here only so that autograd comes by.
    """
    weight = copies.get(*(layer.weight for layer in layers))
    bias = copies.get(*(layer.bias for layer in layers))
    inputs = inputs.to(copies.dtype)
    parameters = [layer.weight for layer in layers] + [layer.bias for layer in layers]
    if not torch.is_grad_enabled():
        return functional.linear(inputs, weight, bias)
    return _Linear.apply(inputs, weight, bias, *parameters)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *parameters: Any) -> Any:
        ctx.weight, ctx.parameters = weight, parameters
        learns = any(parameter.requires_grad for parameter in parameters)
        ctx.save_for_backward(inputs if learns else None)
        return functional.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        (inputs,) = ctx.saved_tensors
        half = len(ctx.parameters) // 2
        start = 0
        for weight, bias in zip(ctx.parameters[:half], ctx.parameters[half:]):
            part = gradient[:, start : start + weight.shape[0]]
            start += weight.shape[0]
            if weight.requires_grad:
                accumulate(weight, torch.mm(part.t(), inputs))
            if bias.requires_grad:
                accumulate(bias, part.sum(0, dtype=torch.float32))
        onward = torch.mm(gradient, ctx.weight) if ctx.needs_input_grad[0] else None
        return (onward,) + (None,) * (2 + len(ctx.parameters))


def accumulate(parameter: nn.Parameter, gradient: torch.Tensor) -> None:
    """parameter.grad += gradient, in the parameter's precision."""
    if parameter.grad is None:
        parameter.grad = gradient.to(parameter.dtype)
    else:
        parameter.grad.add_(gradient)
