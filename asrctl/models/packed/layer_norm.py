"""Layer norm of values in one precision by weights in another."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
from torch import nn
from torch.nn import functional

from asrctl.models.packed.linear import accumulate
from asrctl.models.packed.weight_cache import Copies


def layer_norm(values: torch.Tensor, norm: nn.LayerNorm, copies: Optional[Copies] = None) -> torch.Tensor:
    """values (..., width) -> the same shape and precision; sums are in fp32.

    A CPU takes fp32 weights with values of low precision. A GPU's kernel wants one precision for all: that of `copies`,
    where they are given, which takes fewer calls than converting the weights each time.
    """
    weight, bias = norm.weight, norm.bias
    if values.device.type == "cpu" or values.dtype == weight.dtype:
        return functional.layer_norm(values, norm.normalized_shape, weight, bias, norm.eps)
    if copies is None:
        weight, bias = weight.to(values.dtype), bias.to(values.dtype)
        return functional.layer_norm(values, norm.normalized_shape, weight, bias, norm.eps)
    return _LayerNorm.apply(values, copies.get(weight), copies.get(bias), norm.eps, weight, bias)


class _LayerNorm(torch.autograd.Function):
    """The backward pass adds to the parameters' `.grad` itself, as that of asrctl.models.packed.linear.linear does."""

    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, *parameters: Any
    ) -> torch.Tensor:
        normed, mean, scale = torch.native_layer_norm(values, weight.shape, weight, bias, eps)
        ctx.save_for_backward(values, mean, scale)
        ctx.weight, ctx.bias, ctx.parameters = weight, bias, parameters
        return normed

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        values, mean, scale = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[0], *(parameter.requires_grad for parameter in ctx.parameters)]
        onward, *gradients = torch.ops.aten.native_layer_norm_backward(
            gradient.contiguous(), values, ctx.weight.shape, mean, scale, ctx.weight, ctx.bias, wanted
        )
        for parameter, found in zip(ctx.parameters, gradients):
            if parameter.requires_grad:
                accumulate(parameter, found)
        return onward, None, None, None, None, None
