"""The layers of a convolutional speech encoder, their weights as matrices, and passes over rows of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional, Sequence, Tuple
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional

from asrctl.data import conv_lengths
from asrctl.models.packed.layer_norm import layer_norm
from asrctl.models.padding import encoder_of


@dataclass(frozen=True)
class Layer:
    """matrix: (kernel * inputs, outputs). norm: None, or a module; after the first layer never a group norm."""

    matrix: torch.Tensor
    bias: Optional[torch.Tensor]
    norm: Any
    activation: Any
    kernel: int
    stride: int


_Stamp = Tuple[Tuple[int, int], ...]
_converted: "WeakKeyDictionary[nn.Module, Tuple[torch.dtype, _Stamp, List[Layer]]]" = WeakKeyDictionary()


def layers_of(model: nn.Module, dtype: torch.dtype) -> List[Layer]:
    """The layers with their weights as matrices; those of a frozen encoder are kept until a weight changes.

    A change is seen by torch's version counter, which optimizers do not always raise: hence frozen ones only. The
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
        layers.append(Layer(matrix, bias, norm, layer.activation, conv.kernel_size[0], conv.stride[0]))
    _converted[model] = (dtype, stamp, layers)
    return layers


def frame_count(config: Any, num_samples: int) -> int:
    """Frames that `num_samples` samples give."""
    return frames_of_layers(config, num_samples)[-1]


def frames_of_layers(config: Any, num_samples: int) -> List[int]:
    """Frames that each convolution in turn makes of `num_samples` samples."""
    return conv_lengths.after_each(num_samples, config.conv_kernel, config.conv_stride)


def numbers_per_frame(config: Any) -> int:
    """Numbers in the largest intermediate (the first convolution's output, as a rule) for one frame of output."""
    most, rows = 0, 1
    for dim, stride in zip(config.conv_dim[::-1], config.conv_stride[::-1]):
        most = max(most, rows * dim)
        rows *= stride
    return most


# In low precision each number of the first layer is the sum of two, and the product of the two rests is left out. With
# one input channel this costs next to nothing, and the first layer is as good as in fp32.


def first_inputs(samples: torch.Tensor, layer: Layer, dtype: torch.dtype) -> torch.Tensor:
    """(time,) fp32 -> (windows, 3 * kernel + 2) in low precision, to be multiplied by `first_weights`."""
    windows, rests = (half.unfold(0, layer.kernel, layer.stride) for half in _halves(samples, dtype))
    return torch.cat([windows, rests, windows, windows.new_ones(len(windows), 2)], 1)


def first_weights(matrix: torch.Tensor, bias: Optional[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """(..., kernel, outputs) and (..., outputs), fp32 -> (..., 3 * kernel + 2, outputs) in low precision."""
    high, low = _halves(matrix, dtype)
    offsets = torch.stack(_halves(matrix.new_zeros(matrix.shape[-1]) if bias is None else bias, dtype), -2)
    return torch.cat([high, high, low, offsets], -2)


def _halves(values: torch.Tensor, dtype: torch.dtype) -> Tuple[torch.Tensor, torch.Tensor]:
    """The nearest values in low precision, and what is missing, in low precision too."""
    high = values.to(dtype)
    return high, (values - high.float()).to(dtype)


def folded(mean: torch.Tensor, products: torch.Tensor, count: Any, layer: Layer) -> Tuple[torch.Tensor, torch.Tensor]:
    """The first convolution's matrix (..., kernel, outputs) and bias (..., outputs), fp32, with a group norm in them.

    mean (..., kernel) of the `count` windows and products (..., kernel, kernel), the sum of centered windows' outer
    products, in float64. The outputs w.x have mean w.mean and variance w.products.w / count.
    """
    weights = layer.matrix.double()
    variance = (weights * (products @ weights)).sum(-2) / count
    scale = layer.norm.weight.double() * torch.rsqrt(variance + layer.norm.eps)
    bias = layer.norm.bias.double() - (mean @ weights) * scale
    return (weights * scale.unsqueeze(-2)).float(), bias.float()


def after_first(hidden: torch.Tensor, layers: Sequence[Layer]) -> torch.Tensor:
    """(rows, outputs) of the first convolution, before its activation -> (frames, channels)."""
    for done, layer in zip(layers, layers[1:]):
        hidden = _convolved(done.activation(_normed(hidden, done.norm)), layer)
    return layers[-1].activation(_normed(hidden, layers[-1].norm))


def _convolved(hidden: torch.Tensor, layer: Layer) -> torch.Tensor:
    """(rows, inputs) -> (fewer rows, outputs)."""
    width, stride = hidden.shape[1], layer.stride
    rows = conv_lengths.after(len(hidden), layer.kernel, stride)

    def windows(first: int, count: int) -> torch.Tensor:
        return hidden.as_strided((rows, count * width), (stride * width, 1), hidden.storage_offset() + first * width)

    rest = layer.kernel - stride
    if not 0 < rest <= stride:
        return functional.linear(windows(0, layer.kernel), layer.matrix.t(), layer.bias)
    # Windows that overlap would be copied out for a matrix product; their halves do not overlap.
    found = functional.linear(windows(0, stride), layer.matrix[: stride * width].t(), layer.bias)
    return found.addmm_(windows(stride, rest), layer.matrix[stride * width :])


def _normed(hidden: torch.Tensor, norm: Any) -> torch.Tensor:
    return hidden if norm is None or isinstance(norm, nn.GroupNorm) else layer_norm(hidden, norm)
