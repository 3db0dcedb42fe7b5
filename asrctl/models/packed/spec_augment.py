"""SpecAugment over packed frames, with the library's own draw of masks."""

from __future__ import annotations

import sys
from typing import Any, Sequence

import torch
from torch import nn
from torch.nn import functional

from asrctl.models.ctc import masks_fit


def spec_augment(hidden: torch.Tensor, counts: Sequence[int], model: nn.Module, encoder: nn.Module) -> torch.Tensor:
    """(frames, hidden) with masks over time and features, as transformers' `_mask_hidden_states` in training.

    counts: frames of each utterance; what lies behind them stays as it is. The masks are those of a padded batch of the
    same utterances whose padding is masked, from numpy's global generator; none over time where none would fit.
    """
    config = model.config
    if not (model.training and getattr(config, "apply_spec_augment", True)):
        return hidden
    draw = sys.modules[type(model).__module__]._compute_mask_indices
    spare = len(hidden) - sum(counts)
    if config.mask_time_prob > 0 and masks_fit(config, max(counts)):
        chosen = functional.pad(_time_mask(draw, config, counts), (0, spare)).to(hidden.device)
        hidden = torch.where(chosen[:, None], encoder.masked_spec_embed.to(hidden.dtype), hidden)
    if config.mask_feature_prob > 0:
        drawn = draw(
            (len(counts), hidden.shape[1]),
            mask_prob=config.mask_feature_prob,
            mask_length=config.mask_feature_length,
            min_masks=config.mask_feature_min_masks,
        )
        rows = torch.from_numpy(drawn).repeat_interleave(torch.tensor(counts), dim=0)
        hidden = hidden.masked_fill(functional.pad(rows, (0, 0, 0, spare)).to(hidden.device), 0)
    return hidden


def _time_mask(draw: Any, config: Any, counts: Sequence[int]) -> torch.Tensor:
    """(frames,) bool."""
    real = torch.arange(max(counts))[None, :] < torch.tensor(counts)[:, None]
    drawn = draw(
        tuple(real.shape),
        mask_prob=config.mask_time_prob,
        mask_length=config.mask_time_length,
        attention_mask=real.long(),
        min_masks=config.mask_time_min_masks,
    )
    return torch.from_numpy(drawn)[real]
