"""Self-attention of each utterance of a packed batch over its own frames."""

from __future__ import annotations

import math
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import torch
from torch.nn import functional

from asrctl.models.packed import fused_attention, shape_rounding
from asrctl.models.packed.dropout import Dice, kept
from asrctl.runtime import devices

# Scores of a few heads at a time stay in the caches between one operation and the next; each call has its own cost.
_CHUNK_SCORES = 2_000_000


def attention(
    joined: torch.Tensor, counts: Sequence[int], heads: int, dropout: float, dice: Optional[Dice]
) -> torch.Tensor:
    """joined (frames, 3 * hidden): queries, keys and values side by side -> (frames, hidden).

    counts: frames of each utterance; rows behind them become zeros. dropout: of the attention weights, drawn from dice
    (None: no dropout).
    """
    if joined.device.type == "cuda":
        return fused_attention.attention(joined, counts, heads, 0.0 if dice is None else dropout)
    if dice is None and not (torch.is_grad_enabled() and joined.requires_grad):
        # In bf16 without tiles the library's fused kernel takes 1.7 times as long as its products.
        in_products = joined.dtype == torch.bfloat16 and not devices.cpu_has_tiles()
        return (_without_gradient if in_products else _fused)(joined, counts, heads)
    return _Attention.apply(joined, counts, heads, dropout, dice)


def _without_gradient(joined: torch.Tensor, counts: Sequence[int], heads: int) -> torch.Tensor:
    """The forward pass of `_Attention` that keeps nothing."""
    hidden = joined.shape[1] // 3
    output = joined.new_empty(joined.shape[0], heads, hidden // heads)
    for part, target in zip(_utterances(joined, counts), _utterances(output, counts)):
        blocks = _blocks(part, heads)
        mixed = torch.empty_like(blocks[0])
        for some in _chunks(heads, blocks.shape[2]):
            weights = joined.new_empty(some.stop - some.start, blocks.shape[2], blocks.shape[2])
            _forward(blocks[:, some], weights, None, len(part), mixed[some])
        target.copy_(mixed[:, : len(part)].transpose(0, 1))
    output[sum(counts) :] = 0
    return output.view(-1, hidden)


def _fused(joined: torch.Tensor, counts: Sequence[int], heads: int) -> torch.Tensor:
    """The library's fused kernel: the fastest forward pass elsewhere; its backward pass is not."""
    hidden = joined.shape[1] // 3
    output = joined.new_empty(joined.shape[0], hidden)
    for part, target in zip(_utterances(joined, counts), _utterances(output, counts)):
        query, key, value = part.view(1, len(part), 3, heads, hidden // heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        target.view(len(part), heads, -1).copy_(mixed[0].transpose(0, 1))
    output[sum(counts) :] = 0
    return output


def _utterances(rows: torch.Tensor, counts: Sequence[int]) -> Sequence[torch.Tensor]:
    return rows[: sum(counts)].split(list(counts))


def _chunks(heads: int, count: int) -> Iterator[slice]:
    step = max(1, min(heads, _CHUNK_SCORES // (count * count)))
    for first in range(0, heads, step):
        yield slice(first, min(first + step, heads))


def _blocks(joined: torch.Tensor, heads: int) -> torch.Tensor:
    """(count, 3 * hidden) -> (3, heads, length, size): queries (scaled), keys and values; zeros from count on."""
    count, width = joined.shape
    size = width // (3 * heads)
    blocks = joined.new_empty(
        3, heads, count + shape_rounding.spare(count, shape_rounding.ATTENDED, joined.dtype, joined.device), size
    )
    blocks[:, :, :count] = joined.view(count, 3, heads, size).permute(1, 2, 0, 3)
    blocks[:, :, count:] = 0
    blocks[0].mul_(size**-0.5)
    return blocks


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, joined: torch.Tensor, counts: Sequence[int], heads: int, dropout: float, dice: Optional[Dice]
    ) -> torch.Tensor:
        frames, hidden = joined.shape[0], joined.shape[1] // 3
        output = joined.new_empty(frames, heads, hidden // heads)
        saved: List[Optional[torch.Tensor]] = []
        for part, target in zip(_utterances(joined, counts), _utterances(output, counts)):
            blocks = _blocks(part, heads)
            weights = joined.new_empty(heads, blocks.shape[2], blocks.shape[2])
            mask = None if dice is None else dice.keep(weights, dropout)
            mixed = torch.empty_like(blocks[0])
            for some in _chunks(heads, blocks.shape[2]):
                dropped = None if mask is None else mask[some]
                _forward(blocks[:, some], weights[some], dropped, len(part), mixed[some])
            target.copy_(mixed[:, : len(part)].transpose(0, 1))
            saved += [blocks, weights, mask]
        output[sum(counts) :] = 0
        ctx.scale = 1.0 if dice is None else 1.0 / (1.0 - dropout)
        ctx.counts, ctx.heads = counts, heads
        ctx.save_for_backward(*saved)
        return output.mul_(ctx.scale).view(frames, hidden) if dice is not None else output.view(frames, hidden)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        frames, hidden = gradient.shape
        size = hidden // ctx.heads
        onward = gradient.new_empty(frames, 3, ctx.heads, size)
        onward[sum(ctx.counts) :] = 0
        rows, targets = (_utterances(whole, ctx.counts) for whole in (gradient.view(frames, ctx.heads, size), onward))
        saved = ctx.saved_tensors  # to be asked for once: it may have to be computed again
        for index, (row, target) in enumerate(zip(rows, targets)):
            blocks, weights, mask = saved[3 * index : 3 * index + 3]
            inner = torch.zeros_like(blocks[0])
            inner[:, : len(row)] = row.transpose(0, 1)
            if ctx.scale != 1.0:
                inner.mul_(ctx.scale)
            moved = torch.empty_like(blocks)
            for some in _chunks(ctx.heads, blocks.shape[2]):
                dropped = None if mask is None else mask[some]
                _backward(blocks[:, some], weights[some], dropped, inner[some], moved[:, some])
            moved[0].mul_(size**-0.5)
            target.copy_(moved[:, :, : len(row)].permute(2, 0, 1, 3))
        return onward.view(frames, 3 * hidden), None, None, None, None


def _forward(
    blocks: torch.Tensor, weights: torch.Tensor, mask: Optional[torch.Tensor], count: int, mixed: torch.Tensor
) -> None:
    """Of a few heads: their weights into `weights` (heads, length, length), the mixed values into `mixed`."""
    query, key, value = blocks
    torch.bmm(query, key.transpose(1, 2), out=weights)
    weights[:, :, count:] = -math.inf
    torch.softmax(weights, dim=-1, out=weights)
    torch.bmm(weights if mask is None else kept(weights, mask), value, out=mixed)


def _backward(
    blocks: torch.Tensor,
    weights: torch.Tensor,
    mask: Optional[torch.Tensor],
    gradient: torch.Tensor,
    moved: torch.Tensor,
) -> None:
    """Gradients of a few heads' queries, keys and values into `moved` (3, some heads, count, size)."""
    query, key, value = blocks
    of_weights = torch.bmm(gradient, value.transpose(1, 2))
    used = weights
    if mask is not None:
        of_weights.view(mask.dtype).bitwise_and_(mask)
        used = kept(weights, mask)
    of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
    torch.bmm(of_scores, key, out=moved[0])
    torch.bmm(of_scores.transpose(1, 2), query, out=moved[1])
    torch.bmm(used.transpose(1, 2), gradient, out=moved[2])
