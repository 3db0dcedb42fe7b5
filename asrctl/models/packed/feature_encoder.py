"""The convolutional encoder of wav2vec 2.0 and its kin as matrix products, each utterance alone: no padding.

Frames lie one after another, (time, channels), so that a convolution is a view of strided rows times a matrix. A
group norm over time needs no pass of its own: the mean and variance of the first convolution's outputs follow from
the mean and covariance of its windows, so the norm is folded into that convolution's weights, utterance by utterance.
"""

from __future__ import annotations

import math
from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import nn
from torch.nn import functional

from asrctl.models.packed import feature_encoder_batched, shape_rounding
from asrctl.models.packed.feature_encoder_layers import (
    Layer,
    after_first,
    first_inputs,
    first_weights,
    folded,
    frame_count,
    layers_of,
    numbers_per_frame,
)
from asrctl.models.padding import encoder_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Largest intermediate of a pass, in numbers: below what the allocator takes from, and gives back to, the system.
_MOST_NUMBERS = 8_000_000


def supports(model: nn.Module) -> bool:
    """Whether `features` computes what this very model's encoder would: transformers' own, nothing added."""
    extractor = encoder_of(model).feature_extractor
    if not type(model).__module__.startswith("transformers.") or not hasattr(extractor, "conv_layers"):
        return False
    for index, layer in enumerate(extractor.conv_layers):
        conv, norm = layer.conv, getattr(layer, "layer_norm", None)
        plain = type(conv) is nn.Conv1d and conv.padding == (0,) and conv.dilation == (1,) and conv.groups == 1
        if not plain or conv.weight.dtype != torch.float32:
            return False
        if norm is not None and not isinstance(norm, nn.GroupNorm) and type(norm) is not nn.LayerNorm:
            return False
        if isinstance(norm, nn.GroupNorm) and (index > 0 or norm.num_groups != norm.num_channels):
            return False
    return True


def features(model: nn.Module, samples: Sequence[torch.Tensor], *, precision: str) -> List[torch.Tensor]:
    """Samples of utterances, each (time,) float32, normalized -> each (frames, channels), outside of autograd.

    The same as the model's encoder gives each utterance alone. precision: fp32, bf16 or fp16, of the matrix products
    and of the result; statistics of norms are in fp32 or better. On a CPU the result depends on nothing but the
    utterance; elsewhere what else is in the batch can change it by rounding.
    """
    with torch.no_grad(), torch.autocast(samples[0].device.type, enabled=False):
        layers = layers_of(model, DTYPES[precision])
        if samples[0].device.type != "cpu":
            return feature_encoder_batched.encode(samples, layers, model.config)
        return [_encode(row, layers, model.config) for row in samples]


def _encode(samples: torch.Tensor, layers: List[Layer], config: Any) -> torch.Tensor:
    """(time,) -> (frames, channels), in pieces small enough for the caches; where they are cut changes no number."""
    dtype = layers[-1].matrix.dtype
    frames = frame_count(config, len(samples))
    if frames == 0:
        return samples.new_empty(0, config.conv_dim[-1], dtype=dtype)
    first = layers[0]
    matrix, bias = _folded(samples, first) if isinstance(first.norm, nn.GroupNorm) else (first.matrix, first.bias)
    step = math.prod(config.conv_stride)
    pieces = math.ceil(frames * numbers_per_frame(config) / _MOST_NUMBERS)
    each = _filled(math.ceil(frames / pieces), dtype, samples.device)
    made = []
    for start in range(0, frames, each):
        count = min(each, frames - start)
        reach = _reach(config, _filled(count, dtype, samples.device))
        needed = samples[start * step : start * step + reach]
        needed = functional.pad(needed, (0, reach - len(needed)))  # the frames beyond are dropped
        made.append(after_first(_first(needed, matrix, bias, first, dtype), layers)[:count])
    return torch.cat(made) if len(made) > 1 else made[0]


def _filled(frames: int, dtype: torch.dtype, device: torch.device) -> int:
    return frames + shape_rounding.spare(frames, shape_rounding.ENCODED, dtype, device)


def _reach(config: Any, frames: int) -> int:
    """Samples that `frames` frames come from."""
    for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1]):
        frames = (frames - 1) * stride + kernel
    return frames


def _folded(samples: torch.Tensor, layer: Layer) -> Tuple[torch.Tensor, torch.Tensor]:
    """The first convolution's (kernel, outputs) matrix and bias with the group norm over time in them."""
    windows = samples.double().unfold(0, layer.kernel, layer.stride)
    mean = windows.mean(0)
    centered = windows - mean
    return folded(mean, centered.t() @ centered, len(windows), layer)


def _first(
    samples: torch.Tensor, matrix: torch.Tensor, bias: Optional[torch.Tensor], layer: Layer, dtype: torch.dtype
) -> torch.Tensor:
    """(time,) -> (frames, outputs) of the first convolution, before its activation."""
    if dtype == torch.float32:
        return functional.linear(samples.unfold(0, layer.kernel, layer.stride), matrix.t(), bias)
    return first_inputs(samples, layer, dtype) @ first_weights(matrix, bias, dtype)
