"""The convolutional position embedding of packed utterances."""

from __future__ import annotations

from typing import Optional, Sequence

import torch
from torch import nn
from torch.nn import functional

from asrctl import compat
from asrctl.engine import long_kernels


def embed(hidden: torch.Tensor, counts: Sequence[int], conv: nn.Conv1d) -> torch.Tensor:
    """(frames, hidden) -> what transformers' position embedding gives each utterance alone, in hidden's precision.

    counts: frames of each utterance; rows behind them are one more that nobody asks for.
    The utterances lie in one long row with as many zeros between them as the kernel reaches, so none sees another.
    """
    reach, spare = conv.kernel_size[0] // 2, hidden.shape[0] - sum(counts)
    counts = [*counts, spare] if spare else counts
    places = torch.arange(hidden.shape[0], device=hidden.device)
    places += reach * torch.repeat_interleave(
        torch.arange(len(counts), device=hidden.device), torch.tensor(counts, device=hidden.device)
    )
    length = hidden.shape[0] + reach * (len(counts) - 1)
    weight = kernel(conv).to(hidden.dtype)
    bias = None if conv.bias is None else conv.bias.to(hidden.dtype)
    convolve = _by_spectra if long_kernels.supports(hidden, weight) else _directly
    return functional.gelu(convolve(hidden, places, length, weight, bias, conv.groups))


def _directly(
    hidden: torch.Tensor,
    places: torch.Tensor,
    length: int,
    weight: torch.Tensor,
    bias: Optional[torch.Tensor],
    groups: int,
) -> torch.Tensor:
    row = hidden.new_zeros(length, hidden.shape[1]).index_copy(0, places, hidden)
    # As an image of one line with its channels last: rows are taken and given as they lie.
    line = row.t()[None, :, None]
    spread = functional.conv2d(line, weight[:, :, None], bias, padding=(0, weight.shape[2] // 2), groups=groups)
    return spread[0, :, 0].t().index_select(0, places)


def _by_spectra(
    hidden: torch.Tensor,
    places: torch.Tensor,
    length: int,
    weight: torch.Tensor,
    bias: Optional[torch.Tensor],
    groups: int,
) -> torch.Tensor:
    size = weight.shape[2]
    rows = (long_kernels.blocks_of(length, size) + 1) * size
    row = hidden.new_zeros(rows, hidden.shape[1]).index_copy(0, places + size // 2, hidden)
    spread = long_kernels.correlate(row, weight, groups).index_select(0, places)
    return spread if bias is None else spread + bias


def kernel(conv: nn.Conv1d) -> torch.Tensor:
    """The weight-normed kernel (Salimans and Kingma 2016), one norm for each of its places, differentiable."""
    length, direction = compat.weight_norm_halves(conv)
    return torch._weight_norm(direction, length, 2)
