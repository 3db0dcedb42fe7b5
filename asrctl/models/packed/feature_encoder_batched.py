"""The convolutional encoder over many utterances at once, for devices where each call costs more than its work.

The utterances lie in one long row, each beginning at a multiple of the samples that make a frame, so that the frames of
each are some of the row's. Windows that reach from one into the next give frames that nobody asks for. As a library's
product may add up otherwise for another number of rows, neighbors can change a number by rounding.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any, Iterator, List, Sequence, Tuple

import torch
from torch import nn
from torch.nn import functional

from asrctl.data import conv_lengths
from asrctl.models.packed.feature_encoder_layers import (
    Layer,
    after_first,
    first_inputs,
    first_weights,
    folded,
    frame_count,
    numbers_per_frame,
)

# Largest intermediate of a pass, in numbers: that of two minutes of audio. An utterance alone may have more.
_MOST_NUMBERS = 200_000_000


def encode(samples: Sequence[torch.Tensor], layers: Sequence[Layer], config: Any) -> List[torch.Tensor]:
    """Utterances, each (time,) float32 -> each (frames, channels)."""
    most = max(1, _MOST_NUMBERS // numbers_per_frame(config))
    counts = [frame_count(config, len(row)) for row in samples]
    found = []
    for some in _groups(counts, most):
        found += _encode(samples[some], counts[some], layers, math.prod(config.conv_stride))
    return found


def _groups(counts: Sequence[int], most: int) -> Iterator[slice]:
    """Neighbors of at most so many frames together, or one that has more."""
    first, frames = 0, 0
    for index, count in enumerate(counts):
        if index > first and frames + count > most:
            yield slice(first, index)
            first, frames = index, 0
        frames += count
    yield slice(first, len(counts))


def _encode(
    samples: Sequence[torch.Tensor], counts: Sequence[int], layers: Sequence[Layer], step: int
) -> List[torch.Tensor]:
    """step: samples from one frame to the next."""
    first, dtype = layers[0], layers[-1].matrix.dtype
    long_enough = [row for row, count in zip(samples, counts) if count]
    if not long_enough:
        return [row.new_empty(0, layers[-1].matrix.shape[1], dtype=dtype) for row in samples]
    steps = [-(-len(row) // step) for row in long_enough]
    starts = [0, *accumulate(steps)]
    gap = long_enough[0].new_zeros(step)
    row = torch.cat([part for one in long_enough for part in (one, gap[: -len(one) % step])])
    per_step = step // first.stride
    cuts = [slice(start * per_step, end * per_step) for start, end in zip(starts, starts[1:])]
    frames = after_first(_first(row, long_enough, cuts, first, dtype), layers)
    places, found = iter(starts), []
    for count in counts:
        start = next(places) if count else 0
        found.append(frames[start : start + count])
    return found


def _first(
    row: torch.Tensor, samples: Sequence[torch.Tensor], cuts: Sequence[slice], layer: Layer, dtype: torch.dtype
) -> torch.Tensor:
    """The first convolution's outputs for the long row, (rows, outputs); cuts: which of them are each utterance's."""
    low = dtype != torch.float32
    inputs = first_inputs(row, layer, dtype) if low else row.unfold(0, layer.kernel, layer.stride)
    if not isinstance(layer.norm, nn.GroupNorm):
        if low:
            return inputs @ first_weights(layer.matrix, layer.bias, dtype)
        return functional.linear(inputs, layer.matrix.t(), layer.bias)
    matrices, biases = _folded(samples, layer)
    made = inputs.new_empty(len(inputs), layer.matrix.shape[1])
    for cut, matrix, bias in zip(cuts, first_weights(matrices, biases, dtype) if low else matrices, biases):
        if low:
            torch.mm(inputs[cut], matrix, out=made[cut])
        else:
            torch.addmm(bias, inputs[cut], matrix, out=made[cut])
    return made


def _folded(samples: Sequence[torch.Tensor], layer: Layer) -> Tuple[torch.Tensor, torch.Tensor]:
    """As feature_encoder's, for all utterances at once: (utterances, kernel, outputs) and (utterances, outputs)."""
    padded = nn.utils.rnn.pad_sequence(list(samples), batch_first=True).double()
    windows = padded.unfold(1, layer.kernel, layer.stride)
    frames = [conv_lengths.after(len(row), layer.kernel, layer.stride) for row in samples]
    counts = torch.tensor(frames).to(padded.device)[:, None]
    real = (torch.arange(windows.shape[1], device=padded.device) < counts)[..., None]
    mean = (windows * real).sum(1) / counts
    centered = (windows - mean[:, None]) * real
    return folded(mean, centered.transpose(1, 2) @ centered, counts, layer)
