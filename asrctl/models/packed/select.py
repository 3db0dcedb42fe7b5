"""Choose the engine of a model: plain (transformers' own passes over padded batches) or packed."""

from __future__ import annotations

from typing import Any

from asrctl.models.packed import feature_encoder, transformer

PACKED, PLAIN = "packed", "plain"
NAMES = ("auto", PACKED, PLAIN)


def choose(model: Any, device_type: str, wanted: str, *, shapes_free: bool) -> str:
    """packed or plain, for a wish of auto, packed or plain.

    Packed frames need free shapes and a model that both halves of the engine know; `auto` takes them on a CPU
    and on CUDA, where they were measured.
    """
    if wanted == PLAIN or not shapes_free or (wanted == "auto" and device_type not in ("cpu", "cuda")):
        return PLAIN
    return PACKED if transformer.supports(model) and feature_encoder.supports(model) else PLAIN
