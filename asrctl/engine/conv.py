"""The convolutional encoder of wav2vec 2.0 and its kin as matrix products, each utterance alone: no padding.

Frames lie one after another, (time, channels), so that a convolution is a view of strided rows times a matrix. A
group norm over time needs no pass of its own: the mean and variance of the first convolution's outputs follow from
the mean and covariance of its windows, so the norm is folded into that convolution's weights, utterance by utterance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, List, Optional, Sequence, Tuple
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional

from asrctl.acoustics import encoder_of
from asrctl.engine import shapes

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
        over_time = isinstance(norm, nn.GroupNorm)
        if norm is not None and not over_time and type(norm) is not nn.LayerNorm:
            return False
        if over_time and (index > 0 or norm.num_groups != norm.num_channels):
            return False
    return True


def frame_count(config: Any, num_samples: int) -> int:
    """Frames that `num_samples` samples give."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride):
        num_samples = (num_samples - kernel) // stride + 1
    return max(0, num_samples)


def features(model: nn.Module, samples: Sequence[torch.Tensor], *, precision: str) -> List[torch.Tensor]:
    """Samples of utterances, each (time,) float32, normalised -> each (frames, channels), outside of autograd.

    The same as the model's encoder gives each utterance alone. precision: fp32, bf16 or fp16, of the matrix products
    and of the result; statistics of norms are in fp32 or better. The result depends on nothing but the utterance:
    not on what else is in the batch.
    """
    with torch.no_grad(), torch.autocast(samples[0].device.type, enabled=False):
        layers = _layers_of(model, DTYPES[precision])
        return [_encode(row, layers, model.config) for row in samples]


@dataclass(frozen=True)
class _Layer:
    """matrix: (kernel * inputs, outputs). norm: None, or a module; after the first layer never a group norm."""

    matrix: torch.Tensor
    bias: Optional[torch.Tensor]
    norm: Any
    activation: Any
    kernel: int
    stride: int


_Stamp = Tuple[Tuple[int, int], ...]
_converted: "WeakKeyDictionary[nn.Module, Tuple[torch.dtype, _Stamp, List[_Layer]]]" = WeakKeyDictionary()


def _layers_of(model: nn.Module, dtype: torch.dtype) -> List[_Layer]:
    """The layers with their weights as matrices; those of a frozen encoder are kept until a weight changes.

    A change is seen by torch's version counter, which optimisers do not always raise: hence frozen ones only. The
    first layer's matrix stays in fp32, as norms fold into it.
    """
    extractor = encoder_of(model).feature_extractor
    parameters = list(extractor.parameters())
    stamp = tuple((parameter._version, parameter.data_ptr()) for parameter in parameters)
    kept = None if any(parameter.requires_grad for parameter in parameters) else _converted.get(model)
    if kept is not None and kept[:2] == (dtype, stamp):
        return kept[2]
    layers = []
    for index, layer in enumerate(extractor.conv_layers):
        conv, precision = layer.conv, torch.float32 if index == 0 else dtype
        matrix = conv.weight.detach().permute(2, 1, 0).reshape(-1, conv.out_channels).to(precision)
        bias = None if conv.bias is None else conv.bias.detach().to(precision)
        norm = getattr(layer, "layer_norm", None)
        layers.append(_Layer(matrix, bias, norm, layer.activation, conv.kernel_size[0], conv.stride[0]))
    _converted[model] = (dtype, stamp, layers)
    return layers


def _encode(samples: torch.Tensor, layers: List[_Layer], config: Any) -> torch.Tensor:
    """(time,) -> (frames, channels), in pieces small enough for the caches; where they are cut changes no number."""
    dtype = layers[-1].matrix.dtype
    frames = frame_count(config, len(samples))
    if frames == 0:
        return samples.new_empty(0, config.conv_dim[-1], dtype=dtype)
    first = layers[0]
    matrix, bias = _folded(samples, first) if isinstance(first.norm, nn.GroupNorm) else (first.matrix, first.bias)
    step = math.prod(config.conv_stride)
    pieces = math.ceil(frames * _numbers_per_frame(config) / _MOST_NUMBERS)
    each = _filled(math.ceil(frames / pieces), dtype, samples.device)
    made = []
    for start in range(0, frames, each):
        count = min(each, frames - start)
        reach = _reach(config, _filled(count, dtype, samples.device))
        needed = samples[start * step : start * step + reach]
        needed = functional.pad(needed, (0, reach - len(needed)))  # the frames beyond are dropped
        made.append(_piece(_first(needed, matrix, bias, first, dtype), layers)[:count])
    return torch.cat(made) if len(made) > 1 else made[0]


def _filled(frames: int, dtype: torch.dtype, device: torch.device) -> int:
    return frames + shapes.spare(frames, shapes.ENCODED, dtype, device)


def _numbers_per_frame(config: Any) -> int:
    """Numbers in the largest intermediate (the first convolution's output, as a rule) for one frame of output."""
    most, rows = 0, 1
    for dim, stride in zip(config.conv_dim[::-1], config.conv_stride[::-1]):
        most = max(most, rows * dim)
        rows *= stride
    return most


def _reach(config: Any, frames: int) -> int:
    """Samples that `frames` frames come from."""
    for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1]):
        frames = (frames - 1) * stride + kernel
    return frames


def _folded(samples: torch.Tensor, layer: _Layer) -> Tuple[torch.Tensor, torch.Tensor]:
    """The first convolution's (kernel, outputs) matrix and bias with the group norm over time in them.

    With windows x, weights w, mean m and covariance C of the windows: the outputs have mean w.m and variance w.C.w.
    """
    windows = samples.double().unfold(0, layer.kernel, layer.stride)
    mean = windows.mean(0)
    centred = windows - mean
    weights = layer.matrix.double()
    variance = (weights * ((centred.t() @ centred) @ weights)).sum(0) / len(windows)
    scale = layer.norm.weight.double() * torch.rsqrt(variance + layer.norm.eps)
    bias = layer.norm.bias.double() - (mean @ weights) * scale
    return (weights * scale).float(), bias.float()


def _first(
    samples: torch.Tensor, matrix: torch.Tensor, bias: Optional[torch.Tensor], layer: _Layer, dtype: torch.dtype
) -> torch.Tensor:
    """(time,) -> (frames, outputs) of the first convolution, before its activation."""
    if dtype == torch.float32:
        return functional.linear(samples.unfold(0, layer.kernel, layer.stride), matrix.t(), bias)
    # Each number is the sum of two of low precision; the product of the two rests is left out. With one input channel
    # this costs next to nothing, and the first layer is as good as in fp32.
    samples, rest = _halves(samples, dtype)
    windows, rests = (half.unfold(0, layer.kernel, layer.stride) for half in (samples, rest))
    ones = windows.new_ones(len(windows), 2)
    high, low = _halves(matrix, dtype)
    offsets = torch.stack(_halves(matrix.new_zeros(matrix.shape[1]) if bias is None else bias, dtype))
    return torch.cat([windows, rests, windows, ones], 1) @ torch.cat([high, high, low, offsets])


def _halves(values: torch.Tensor, dtype: torch.dtype) -> Tuple[torch.Tensor, torch.Tensor]:
    """The nearest values in low precision, and what is missing, in low precision too."""
    high = values.to(dtype)
    return high, (values - high.float()).to(dtype)


def _piece(hidden: torch.Tensor, layers: List[_Layer]) -> torch.Tensor:
    """(rows, outputs) of the first convolution -> (frames, channels)."""
    for done, layer in zip(layers, layers[1:]):
        hidden = _convolved(done.activation(_normed(hidden, done.norm)), layer)
    return layers[-1].activation(_normed(hidden, layers[-1].norm))


def _convolved(hidden: torch.Tensor, layer: _Layer) -> torch.Tensor:
    """(rows, inputs) -> (fewer rows, outputs)."""
    width, stride = hidden.shape[1], layer.stride
    rows = (len(hidden) - layer.kernel) // stride + 1

    def windows(first: int, count: int) -> torch.Tensor:
        return hidden.as_strided((rows, count * width), (stride * width, 1), hidden.storage_offset() + first * width)

    rest = layer.kernel - stride
    if not 0 < rest <= stride:
        return functional.linear(windows(0, layer.kernel), layer.matrix.t(), layer.bias)
    # Windows that overlap would be copied out for a matrix product; their halves do not overlap.
    found = functional.linear(windows(0, stride), layer.matrix[: stride * width].t(), layer.bias)
    return found.addmm_(windows(stride, rest), layer.matrix[stride * width :])


def _normed(hidden: torch.Tensor, norm: Any) -> torch.Tensor:
    return hidden if norm is None or isinstance(norm, nn.GroupNorm) else norm(hidden)
