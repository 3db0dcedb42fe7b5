"""How much a micro-batch holds on a device of some kind."""

from __future__ import annotations

from typing import Any, Optional

from asrctl.training.dataloader import Limits

# Where cpu and mps leave the length of a micro-batch open: about this much is fastest on a CPU (caches).
_DEFAULT_MICRO_BATCH_S = 45.0
_CUDA_START_S = 640.0


def default_micro_batch_s(kind: str) -> float:
    """Seconds of audio in a micro-batch, at first, where the recipe leaves it open. kind: of a host device."""
    return _CUDA_START_S if kind == "cuda" else _DEFAULT_MICRO_BATCH_S


def limits_of(host: Any, kind: str, max_samples: int, pad_to: Optional[int], *, packs: bool) -> Limits:
    """Of micro-batches on a device of this kind. host: its section of the recipe. packs: no item is padded."""
    is_about = packs and host.micro_batch_s is None and kind != "cuda"
    return Limits(max_samples, host.micro_batch, pad_to, is_about)
