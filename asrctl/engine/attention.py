"""Self-attention of each utterance of a packed batch over its own frames."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

import torch

from asrctl.engine.dropout import Dice

Blocks = Tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def attention(
    joined: torch.Tensor, counts: Sequence[int], heads: int, dropout: float, dice: Optional[Dice]
) -> torch.Tensor:
    """joined (frames, 3 * hidden): queries, keys and values side by side -> (frames, hidden).

    counts: frames of each utterance. dropout: of the attention weights, drawn from dice (None: no dropout).
    """
    return _Attention.apply(joined, counts, heads, dropout, dice)


def _blocks(joined: torch.Tensor, heads: int) -> Blocks:
    """(count, 3 * hidden) -> queries (scaled), keys and values, each (heads, count, size)."""
    count, width = joined.shape
    size = width // (3 * heads)
    query, key, value = joined.view(count, 3, heads, size).permute(1, 2, 0, 3).contiguous()
    return query.mul_(size**-0.5), key, value


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, joined: torch.Tensor, counts: Sequence[int], heads: int, dropout: float, dice: Optional[Dice]
    ) -> torch.Tensor:
        frames, hidden = joined.shape[0], joined.shape[1] // 3
        output = joined.new_empty(frames, heads, hidden // heads)
        saved: List[Optional[torch.Tensor]] = []
        start = 0
        for count in counts:
            end = start + count
            query, key, value = _blocks(joined[start:end], heads)
            weights = torch.softmax(torch.bmm(query, key.transpose(1, 2)), dim=-1)
            kept = None if dice is None else dice.keep(weights, dropout)
            used = weights if kept is None else weights * kept
            output[start:end].copy_(torch.bmm(used, value).transpose(0, 1))
            if ctx.needs_input_grad[0]:
                saved += [query, key, value, weights, kept]
            start = end
        ctx.scale = 1.0 if dice is None else 1.0 / (1.0 - dropout)
        ctx.counts, ctx.heads = counts, heads
        ctx.save_for_backward(*saved)
        return output.mul_(ctx.scale).view(frames, hidden) if dice is not None else output.view(frames, hidden)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        frames, hidden = gradient.shape
        size = hidden // ctx.heads
        onward = gradient.new_empty(frames, 3, ctx.heads, size)
        rows = gradient.view(frames, ctx.heads, size)
        start = 0
        for index, count in enumerate(ctx.counts):
            end = start + count
            query, key, value, weights, kept = ctx.saved_tensors[5 * index : 5 * index + 5]
            inner = rows[start:end].transpose(0, 1).contiguous()
            if ctx.scale != 1.0:
                inner.mul_(ctx.scale)
            used = weights if kept is None else weights * kept
            of_weights = torch.bmm(inner, value.transpose(1, 2))
            if kept is not None:
                of_weights.mul_(kept)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            target = onward[start:end].permute(1, 2, 0, 3)
            target[0].copy_(torch.bmm(of_scores, key).mul_(size**-0.5))
            target[1].copy_(torch.bmm(of_scores.transpose(1, 2), query))
            target[2].copy_(torch.bmm(used.transpose(1, 2), inner))
            start = end
        return onward.view(frames, 3 * hidden), None, None, None, None
