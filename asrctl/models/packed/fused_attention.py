"""Self-attention of a packed batch on a GPU: one call of the library's fused kernel for all utterances."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Optional, Sequence, Tuple

import torch
from torch.nn import functional

from asrctl.runtime import compat

_LOW = (torch.bfloat16, torch.float16)


def attention(joined: torch.Tensor, counts: Sequence[int], heads: int, dropout: float) -> torch.Tensor:
    """joined (frames, 3 * hidden): queries, keys and values side by side -> (frames, hidden), differentiable.

    counts: frames of each utterance, all frames together. dropout: of the attention weights, from torch's generator.
    """
    size = joined.shape[1] // (3 * heads)
    if joined.dtype in _LOW and size % 8 == 0 and size <= 256 and compat.flash_takes_packed(joined.device):
        return _Flash.apply(joined, tuple(counts), heads, dropout)
    return padded(joined, counts, heads, dropout)


class _Flash(torch.autograd.Function):
    """Flash attention (Dao et al. 2022) over rows of different lengths, by the operators below torch's own functions.

    Those would cost several calls more for each layer, and may choose cuDNN's kernels, which seem to need a plan for
    each new shape: on an H200 the first nine steps took 4.4 s with them.
    """

    @staticmethod
    def forward(ctx: Any, joined: torch.Tensor, counts: Tuple[int, ...], heads: int, dropout: float) -> torch.Tensor:
        ends, longest = _ends(counts, joined.device), max(counts)
        query, key, value = joined.view(len(joined), 3, heads, -1).unbind(1)
        mixed, sums, seed, unused, _ = torch.ops.aten._flash_attention_forward(
            query, key, value, ends, ends, longest, longest, dropout, False, False
        )
        ctx.save_for_backward(joined, mixed, sums, seed, unused, ends)
        ctx.longest, ctx.heads, ctx.dropout = longest, heads, dropout
        return mixed.reshape(len(joined), -1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        joined, mixed, sums, seed, unused, ends = ctx.saved_tensors
        query, key, value = joined.view(len(joined), 3, ctx.heads, -1).unbind(1)
        gradients = torch.ops.aten._flash_attention_backward(
            gradient.contiguous().view(mixed.shape),
            *(query, key, value, mixed, sums, ends, ends, ctx.longest, ctx.longest, ctx.dropout, False, seed, unused),
        )
        return torch.stack(gradients, 1).view(joined.shape), None, None, None


def padded(joined: torch.Tensor, counts: Sequence[int], heads: int, dropout: float) -> torch.Tensor:
    """As `attention`, by torch's own function: padded to the longest, keys behind the end of each masked."""
    slots, mask = _layout(tuple(counts), joined.device)
    longest, width = max(counts), joined.shape[1]
    rows = joined if slots is None else joined.new_zeros(len(counts) * longest, width).index_copy(0, slots, joined)
    query, key, value = rows.view(len(counts), longest, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    rows = mixed.transpose(1, 2).reshape(len(counts) * longest, width // 3)
    return rows if slots is None else rows.index_select(0, slots)


# Every layer of a pass asks for the same. What is made in evaluation may serve training next, hence no inference mode.


@lru_cache(maxsize=1)
def _ends(counts: Tuple[int, ...], device: torch.device) -> torch.Tensor:
    """(utterances + 1,) int32: where each utterance begins, and the end of the last."""
    with torch.inference_mode(False):
        ends = torch.tensor((0, *counts)).cumsum(0)
        return ends.to(torch.int32).to(device)


@lru_cache(maxsize=1)
def _layout(counts: Tuple[int, ...], device: torch.device) -> Tuple[Optional[torch.Tensor], Optional[torch.Tensor]]:
    """(frames,) place of each frame in the padded batch, and the mask of keys (utterances, 1, longest, longest).

    Both None where nothing is padded. The mask's last dimension is that of a wider tensor, as the kernel wants its
    rows to begin at multiples of 16 bytes.
    """
    longest = max(counts)
    if min(counts) == longest:
        return None, None
    with torch.inference_mode(False):
        real = torch.arange(longest)[None, :] < torch.tensor(counts)[:, None]
        slots = real.flatten().nonzero()[:, 0].to(device)
        keys = functional.pad(real, (0, -longest % 16)).to(device)[:, None, None, :longest]
        return slots, keys.expand(-1, 1, longest, -1)
