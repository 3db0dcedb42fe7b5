"""From logits to text, greedily. The search with a language model is in beam_search.py."""

from __future__ import annotations

from typing import Any, Callable, List

import numpy as np

from asrctl.data.text import Vocabulary

GREEDY = "greedy"  # as evaluations name it
# (logits, frames) -> one hypothesis for each utterance. Logits are padded, (utterances, frames, vocabulary), or packed,
# (frames of all utterances, vocabulary); frames: (utterances,) real frames of each.
Decoder = Callable[[Any, Any], List[str]]


def greedy(vocabulary: Vocabulary) -> Decoder:
    """The most likely label of each frame; repeats and blanks fall away (Graves et al. 2006, best path decoding)."""
    return lambda logits, frames: [vocabulary.decode(row.tolist()) for row in greedy_ids(logits, frames)]


def greedy_ids(logits: Any, frames: Any) -> List[np.ndarray]:
    """The best label of each real frame: a (frames,) int array on the host for each utterance."""
    best = logits.argmax(-1).cpu().numpy()
    if best.ndim == 1:
        return np.split(best, np.cumsum(frames.tolist())[:-1])
    return [row[:count] for row, count in zip(best, frames.tolist())]
