"""The convolutional position embedding of packed utterances."""

from __future__ import annotations

from typing import Sequence

import torch
from torch import nn
from torch.nn import functional

from asrctl.models.packed import fft_conv
from asrctl.runtime import compat


def embed(hidden: torch.Tensor, counts: Sequence[int], conv: nn.Conv1d) -> torch.Tensor:
    """(frames, hidden) -> what transformers' position embedding gives each utterance alone, in hidden's precision.

    counts: frames of each utterance; rows behind them are one more that nobody asks for.
    The utterances lie in one long row with as many zeros between them as the kernel reaches, so none sees another.
    """
    reach, spare = conv.kernel_size[0] // 2, hidden.shape[0] - sum(counts)
    counts = [*counts, spare] if spare else counts
    gaps = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    places = (torch.arange(hidden.shape[0]) + reach * gaps).to(hidden.device)
    length = hidden.shape[0] + reach * (len(counts) - 1)
    weight = kernel(conv)
    bias = None if conv.bias is None else conv.bias.to(hidden.dtype)

    def laid(rows: int, where: torch.Tensor) -> torch.Tensor:
        return hidden.new_zeros(rows, hidden.shape[1]).index_copy(0, where, hidden)

    if fft_conv.supports(hidden, weight):
        row = laid(fft_conv.rows_for(length, weight.shape[2]), places + reach)
        # In fp32: neighbors see no more of each other than rounding.
        spread = fft_conv.correlate(row.float(), weight, conv.groups).to(hidden.dtype)
        spread = spread if bias is None else spread + bias
    else:
        # As an image of one line with its channels last: rows are taken and given as they lie.
        line = laid(length, places).t()[None, :, None]
        spread = functional.conv2d(
            line, weight.to(hidden.dtype)[:, :, None], bias, padding=(0, reach), groups=conv.groups
        )[0, :, 0].t()
    return functional.gelu(spread.index_select(0, places))


def kernel(conv: nn.Conv1d) -> torch.Tensor:
    """The weight-normed kernel (Salimans and Kingma 2016), one norm for each of its places, differentiable."""
    length, direction = compat.weight_norm_halves(conv)
    return torch._weight_norm(direction, length, 2)
