"""Layer norm of values in one precision by weights in another."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def layer_norm(values: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
    """values (..., width) -> the same shape and precision; sums are in fp32.

    A CPU takes fp32 weights with values of low precision; a GPU's kernel wants one precision for all.
    """
    weight, bias = norm.weight, norm.bias
    if values.device.type != "cpu":
        weight, bias = weight.to(values.dtype), bias.to(values.dtype)
    return functional.layer_norm(values, norm.normalized_shape, weight, bias, norm.eps)
