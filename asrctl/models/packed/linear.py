"""Linear layers in low precision with gradients in fp32, as few and well-shaped matrix products as possible."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple

import torch
from torch import nn
from torch.nn import functional

from asrctl.models.packed.weight_cache import Copies
from asrctl.runtime import compat, devices

# Columns that are turned at a time: fewer take more calls, more take more of the identity.
_TURNED_COLUMNS = 256
# On tiles oneDNN leaves one of two threads idle where a product has about as many rows as columns, up to twice as many,
# and no more columns than this (seen by the processor time of each; not seen with 4 and 8 threads, or without tiles).
_LOPSIDED_COLUMNS = 1024


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
        onward = _product(gradient, ctx.weight) if ctx.needs_input_grad[0] else None
        return (onward,) + (None,) * (2 + len(ctx.parameters))


def _on_cpu_in_bf16(tensor: torch.Tensor) -> bool:
    return tensor.dtype == torch.bfloat16 and tensor.device.type == "cpu"


def _affine(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """inputs @ weight.t() + bias. On a CPU in bf16, torch's linear spends up to 40 % on the bias; oneDNN's does not."""
    if not (_on_cpu_in_bf16(inputs) and compat.has_onednn_bf16()):
        return functional.linear(inputs, weight, bias)
    parts = inputs.split(rows_at_a_time(len(inputs), len(weight)))
    made = [torch.ops.mkldnn._linear_pointwise(part, weight, bias, "none", [], "") for part in parts]
    return torch.cat(made) if len(made) > 1 else made[0]


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left (rows, inner) @ right (inner, columns)."""
    step = rows_at_a_time(len(left), right.shape[1]) if _on_cpu_in_bf16(left) else max(1, len(left))
    if step >= len(left):
        return torch.mm(left, right)
    made = left.new_empty(len(left), right.shape[1])
    for part, target in zip(left.split(step), made.split(step)):
        torch.mm(part, right, out=target)
    return made


def rows_at_a_time(rows: int, columns: int) -> int:
    """Rows to give to a product of low precision at a time, so that both of two threads work: all, or less."""
    lopsided = columns <= _LOPSIDED_COLUMNS and 3 * columns <= 4 * rows < 8 * columns
    if not lopsided or torch.get_num_threads() != 2 or not devices.cpu_has_tiles():
        return max(1, rows)
    parts = 1 + 4 * rows // (3 * columns)
    return -(-rows // parts)


def weight_gradient(gradient: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """gradient (rows, out), inputs (rows, in) -> (out, in) in their precision.

    On tiles a bf16 product takes twice as long with its first operand transposed. So that one is turned before, unless
    both are about as wide: then turning costs as much as it saves. Without tiles nothing is lost by a transposed one.
    """
    out, width = gradient.shape[1], inputs.shape[1]
    if _on_cpu_in_bf16(gradient) and devices.cpu_has_tiles() and (width >= 2 * out or out >= 2 * width):
        return torch.mm(_turned(gradient), inputs)
    return torch.mm(gradient.t(), inputs)


def _turned(matrix: torch.Tensor) -> torch.Tensor:
    """The transpose, laid out anew, by products with the identity: exact, and torch's own copy uses one thread."""
    turned = matrix.new_empty(matrix.shape[::-1])
    identity = torch.eye(min(_TURNED_COLUMNS, len(turned))).to(matrix.dtype)  # torch 2.0 has no bf16 eye
    for part, target in zip(matrix.split(_TURNED_COLUMNS, dim=1), turned.split(_TURNED_COLUMNS)):
        torch.mm(identity[: len(target), : len(target)], part.t(), out=target)
    return turned


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
