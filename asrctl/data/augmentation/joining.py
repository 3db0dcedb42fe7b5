"""Several utterances as one item of a batch."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np


def joins(
    indices: np.ndarray, num_samples: np.ndarray, most: int, max_samples: int, generator: np.random.Generator
) -> List[Tuple[int, ...]]:
    """Neighbors of a batch joined into items of 1..`most` utterances, none longer than `max_samples` if it can be."""
    items: List[Tuple[int, ...]] = []
    start = 0
    while start < len(indices):
        count = int(generator.integers(1, most + 1)) if most > 1 else 1
        while count > 1 and int(num_samples[indices[start : start + count]].sum()) > max_samples:
            count -= 1
        items.append(tuple(int(index) for index in indices[start : start + count]))
        start += count
    return items


def joined_labels(rows: Sequence[np.ndarray], delimiter: Optional[int]) -> np.ndarray:
    """Label ids of several utterances as one text, a word delimiter between them where there is one."""
    pieces: List[np.ndarray] = []
    for row in rows:
        if pieces and delimiter is not None:
            pieces.append(np.array([delimiter], dtype=np.int32))
        pieces.append(np.asarray(row, dtype=np.int32))
    return np.concatenate(pieces)
