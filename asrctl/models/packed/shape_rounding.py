"""Round shapes so that they recur: oneDNN compiles code for each new one, up to 17 ms for a product that takes 5."""

from __future__ import annotations

import torch

from asrctl.runtime import devices

# Filled up to a multiple of these are a batch's frames, those of an utterance in attention, and those of a piece in the
# convolutional encoder.
FRAMES = 64
ATTENDED = 32
ENCODED = 16
# Of these precisions.
MADE_TO_MEASURE = {torch.bfloat16}
# Without tiles code is made in a quarter of a millisecond, which is less than what the rows added would take.
_WITHOUT_TILES = 8


def spare(count: int, multiple: int, dtype: torch.dtype, device: torch.device) -> int:
    """Rows to add to `count` so that the shape comes again; none where no code is made for it."""
    if device.type != "cpu" or dtype not in MADE_TO_MEASURE:
        return 0
    return -count % (multiple if devices.cpu_has_tiles() else min(multiple, _WITHOUT_TILES))
