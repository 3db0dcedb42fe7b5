"""Transformer layers whose inner values are computed again for the backward pass instead of being kept.

Chen et al. 2016 (arXiv 1604.06174): memory of one layer instead of all, for about a third more time. On a CPU losses,
gradients and weights are bit for bit those of a run without it; on other devices as far as their kernels repeat
themselves. Transformers' own way is not taken: its older releases give no gradient to layers above a frozen input, and
the second pass counts for batch norms and does not know what padding was to be left out.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Callable, Iterator

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from asrctl.models import padding
from asrctl.models.depths import layers_of
from asrctl.runtime import compat


def switch_on(model: nn.Module) -> None:
    """From now on the model's transformer layers work so in training, under both engines."""
    for layer in layers_of(model)[1]:
        layer.is_recomputed = True  # type: ignore[assignment]
        layer.forward = _recomputing(model, layer, layer.forward)  # type: ignore[method-assign]


def is_on(layer: nn.Module) -> bool:
    return bool(getattr(layer, "is_recomputed", False)) and layer.training and torch.is_grad_enabled()


def twice(first: Callable[..., Any], again: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """What `first` gives for the inputs; the backward pass calls `again` for the same. torch's dice fall alike."""
    calls = [again, first]

    def call(*inputs: Any, **named: Any) -> Any:
        return (calls.pop() if len(calls) > 1 else again)(*inputs, **named)

    return checkpoint(call, *inputs, use_reentrant=False, **named)


def _recomputing(model: nn.Module, layer: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    """The forward pass of a layer in transformers' own model."""

    @functools.wraps(forward)
    def call(*inputs: Any, **named: Any) -> Any:
        if not is_on(layer):
            return forward(*inputs, **named)
        frames = padding.masked_frames(model)

        def again(*inputs: Any, **named: Any) -> Any:
            with _statistics_kept(layer), padding.layers_masked(layer, frames), compat.known_warnings():
                return forward(*inputs, **named)

        return twice(forward, again, *inputs, **named)

    return call


@contextlib.contextmanager
def _statistics_kept(layer: nn.Module) -> Iterator[None]:
    """Within the block batch norms take what they see into account, and do not count it."""
    norms: Any = [module for module in layer.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, seen) in zip(norms, before):
            norm.momentum, norm.num_batches_tracked = momentum, seen
