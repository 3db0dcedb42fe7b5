"""Self-attention of a packed batch on a GPU: one call of the library's fused kernel for all utterances."""

from __future__ import annotations

from functools import lru_cache
from typing import Optional, Sequence, Tuple

import torch
from torch.nn import functional


def attention(joined: torch.Tensor, counts: Sequence[int], heads: int, dropout: float) -> torch.Tensor:
    """joined (frames, 3 * hidden): queries, keys and values side by side -> (frames, hidden), differentiable.

    counts: frames of each utterance, all frames together. dropout: of the attention weights, from torch's generator.
    The utterances are padded to the longest for this, and keys behind the end of each are masked.
    """
    slots, mask = _layout(tuple(counts), joined.device)
    longest, width = max(counts), joined.shape[1]
    padded = joined if slots is None else joined.new_zeros(len(counts) * longest, width).index_copy(0, slots, joined)
    query, key, value = padded.view(len(counts), longest, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    rows = mixed.transpose(1, 2).reshape(len(counts) * longest, width // 3)
    return rows if slots is None else rows.index_select(0, slots)


@lru_cache(maxsize=1)  # every layer of a pass asks for the same
def _layout(counts: Tuple[int, ...], device: torch.device) -> Tuple[Optional[torch.Tensor], Optional[torch.Tensor]]:
    """(frames,) place of each frame in the padded batch, and the mask of keys (utterances, 1, longest, longest).

    Both None where nothing is padded. The mask's last dimension is that of a wider tensor, as the kernel wants its
    rows to begin at multiples of 16 bytes.
    """
    longest = max(counts)
    if min(counts) == longest:
        return None, None
    with torch.inference_mode(False):  # what is made in evaluation may serve training next
        real = torch.arange(longest)[None, :] < torch.tensor(counts)[:, None]
        slots = real.flatten().nonzero()[:, 0].to(device)
        keys = functional.pad(real, (0, -longest % 16)).to(device)[:, None, None, :longest]
        return slots, keys.expand(-1, 1, longest, -1)
