"""Which of the micro-batches' outputs go back to the host."""

from __future__ import annotations

from typing import Any, List

import torch

from ._errors import Error
from ._trees import zip_tensors
from .enums import OutputMode

_HOST_TYPES = {torch.int64: torch.int32, torch.float64: torch.float32}
"""A device has no 64-bit types; what it returns shows that."""


def combine(outputs: List[Any], *, mode: OutputMode, period: int, iterations: int, replicas: int) -> Any:
    """Outputs of all micro-batches, in the order (iteration, accumulation, replica), joined as `mode` says.

    Tensors are joined along their first dimension, scalars into a vector; a single scalar stays one. `period` is the N
    of EveryN. Raises Error if it does not divide `iterations`.
    """
    per_iteration = len(outputs) // iterations
    if mode == OutputMode.Final:
        outputs = outputs[-replicas:]
    elif mode == OutputMode.EveryN:
        if iterations % period:
            raise Error(f"the output return period {period} must divide the device iterations {iterations}")
        outputs = [out for i, out in enumerate(outputs) if (i // per_iteration + 1) % period == 0]
    elif mode == OutputMode.Sum:
        outputs = [zip_tensors(outputs[replica::replicas], _sum) for replica in range(replicas)]
    return zip_tensors(outputs, _join)


def _sum(parts: List[torch.Tensor]) -> torch.Tensor:
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total


def _join(parts: List[torch.Tensor]) -> torch.Tensor:
    joined = parts[0]
    if len(parts) > 1:
        joined = torch.cat(parts) if joined.dim() else torch.stack(parts)
    return joined.to(_HOST_TYPES.get(joined.dtype, joined.dtype))
