"""Shapes that come again: oneDNN makes code for every new one, up to 17 ms for a product that takes 5."""

from __future__ import annotations

import torch

# Filled up to a multiple of these are a batch's frames, those of an utterance in attention, and those of a piece in the
# convolutional encoder.
FRAMES = 64
ATTENDED = 32
ENCODED = 16
# Of these precisions.
MADE_TO_MEASURE = {torch.bfloat16}


def spare(count: int, multiple: int, dtype: torch.dtype, device: torch.device) -> int:
    """Rows to add to `count` so that the shape comes again; none where no code is made for it."""
    return -count % multiple if device.type == "cpu" and dtype in MADE_TO_MEASURE else 0
