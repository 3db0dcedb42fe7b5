"""Linear layers in low precision with gradients in fp32, as few and well-shaped matrix products as possible."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Optional, Sequence, Tuple

import torch
from torch import nn
from torch.nn import functional

from asrctl.engine.copies import Copies

# The identity's share in turning a matrix grows with its width.
_TURNED_COLUMNS = 384


def linear(inputs: torch.Tensor, copies: Copies, *layers: nn.Linear) -> torch.Tensor:
    """(rows, in) -> (rows, out) in the copies' precision; several layers' outputs lie side by side.

    The backward pass adds to the parameters' fp32 `.grad` itself: they are inputs here only so that autograd comes by.
    """
    weight = copies.get(*(layer.weight for layer in layers))
    bias = copies.get(*(layer.bias for layer in layers))
    inputs = inputs.to(copies.dtype)
    parameters = [layer.weight for layer in layers] + [layer.bias for layer in layers]
    if not torch.is_grad_enabled():
        return _affine(inputs, weight, bias)
    return _Linear.apply(inputs, weight, bias, *parameters)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *parameters: Any) -> Any:
        ctx.weight, ctx.parameters = weight, parameters
        learns = any(parameter.requires_grad for parameter in parameters)
        ctx.save_for_backward(inputs if learns else None)
        return _affine(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        (inputs,) = ctx.saved_tensors
        half = len(ctx.parameters) // 2
        weights, biases = ctx.parameters[:half], ctx.parameters[half:]
        sizes = [weight.shape[0] for weight in weights]
        if any(weight.requires_grad for weight in weights):
            _accumulate_all(weights, weight_gradient(gradient, inputs).split(sizes))
        if any(bias.requires_grad for bias in biases):
            _accumulate_all(biases, _column_sums(gradient).split(sizes))
        onward = torch.mm(gradient, ctx.weight) if ctx.needs_input_grad[0] else None
        return (onward,) + (None,) * (2 + len(ctx.parameters))


def _on_cpu_in_bf16(tensor: torch.Tensor) -> bool:
    return tensor.dtype == torch.bfloat16 and tensor.device.type == "cpu"


@lru_cache(maxsize=None)
def _has_onednn_bf16() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _affine(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """inputs @ weight.t() + bias. On a CPU in bf16, torch's linear spends up to 40 % on the bias; oneDNN's does not."""
    if _on_cpu_in_bf16(inputs) and _has_onednn_bf16():
        return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return functional.linear(inputs, weight, bias)


def weight_gradient(gradient: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """gradient (rows, out), inputs (rows, in) -> (out, in) in their precision.

    A CPU's bf16 product takes twice as long with its first operand transposed. So the narrower one is turned before,
    unless both are about as wide.
    """
    out, width = gradient.shape[1], inputs.shape[1]
    if _on_cpu_in_bf16(gradient) and width >= 2 * out:
        return torch.mm(_turned(gradient), inputs)
    if _on_cpu_in_bf16(gradient) and out >= 2 * width:
        across = torch.mm(_turned(inputs), gradient)
        return torch.cat([_turned(part) for part in across.split(_TURNED_COLUMNS, dim=1)])
    return torch.mm(gradient.t(), inputs)


def _turned(matrix: torch.Tensor) -> torch.Tensor:
    """The transpose, laid out anew, as a product with the identity: exact, and torch's own copy uses one thread."""
    return functional.linear(torch.eye(matrix.shape[1], dtype=matrix.dtype), matrix)


def _column_sums(gradient: torch.Tensor) -> torch.Tensor:
    """(rows, out) -> (out,). In bf16 on a CPU as a product with ones: it adds up in fp32 and is three times faster."""
    if _on_cpu_in_bf16(gradient):
        return torch.mm(gradient.new_ones(1, gradient.shape[0]), gradient)[0]
    return gradient.sum(0, dtype=torch.float32)


def _accumulate_all(parameters: Sequence[nn.Parameter], gradients: Sequence[torch.Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients):
        if parameter.requires_grad:
            accumulate(parameter, gradient)


def accumulate(parameter: nn.Parameter, gradient: torch.Tensor) -> None:
    """parameter.grad += gradient, in the parameter's precision."""
    if parameter.grad is None:
        parameter.grad = gradient.to(parameter.dtype)
    else:
        parameter.grad.add_(gradient)
