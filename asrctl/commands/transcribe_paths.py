"""Which label each frame has: the likeliest one, or that of the words that a beam search finds."""

from __future__ import annotations

from typing import Callable

import numpy as np

from asrctl.alignment import viterbi
from asrctl.commands.decoder_choice import ChosenDecoder
from asrctl.data.text import Vocabulary
from asrctl.evaluation import hearing
from asrctl.events import Emit

Path = Callable[[np.ndarray], np.ndarray]


def of(decoder: ChosenDecoder, vocabulary: Vocabulary, emit: Emit) -> Path:
    """(frames, vocabulary) log-probabilities -> (frames,) label ids. Raises BadData, see ChosenDecoder.make."""
    if decoder.rules is None:
        return hearing.likeliest
    import torch

    decode, encode, blank = decoder.make(vocabulary, emit), vocabulary.encoder(), vocabulary.blank_id

    def searched(logs: np.ndarray) -> np.ndarray:
        (text,) = decode(torch.from_numpy(logs)[None], torch.tensor([len(logs)]))
        labels = np.array(encode(text)[0], dtype=np.int64)
        path = np.full(len(logs), blank)
        if len(labels):
            states = viterbi.align(logs, viterbi.plain(labels), blank)
            path[states % 2 == 1] = labels[states[states % 2 == 1] // 2]
        return path

    return searched
