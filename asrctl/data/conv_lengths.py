"""How many frames convolutions without padding make of so many samples: one formula, for numbers and arrays alike.

Tensors that are traced for ONNX have it in `models/ctc.py`: older exporters take `//` for a division that truncates.
"""

from __future__ import annotations

from typing import Any, List, Sequence


def after(length: Any, kernel: int, stride: int) -> Any:
    """floor((length - kernel) / stride) + 1: what one convolution leaves; 0 or less where it finds too little."""
    return (length - kernel) // stride + 1


def after_each(length: Any, kernels: Sequence[int], strides: Sequence[int]) -> List[Any]:
    """What each of several in turn leaves, at least 0. length: a whole number, or an array of them.

    Of nothing nothing is made, also where a kernel is 0 or negative for the padding around it.
    """
    found = []
    for kernel, stride in zip(kernels, strides):
        made = after(length, kernel, stride)
        length = made * ((made > 0) & (length > 0))
        found.append(length)
    return found
