"""Greedy transcription of a prepared split, in bounded memory: logits never outlive their batch."""

from __future__ import annotations

from typing import Any, Iterator, Optional, Sequence, Tuple

import numpy as np

from asrctl import acoustics
from asrctl.batches import micro_batches
from asrctl.devices import autocast
from asrctl.events import Emit, Progress, ignore
from asrctl.features import collate
from asrctl.models import Recogniser
from asrctl.prepared import PreparedSplit


def transcribe(
    recogniser: Recogniser,
    split: PreparedSplit,
    *,
    device: Any,
    precision: str,
    batch_s: float,
    indices: Optional[Sequence[int]] = None,
    pad_to: Optional[int] = None,
    emit: Emit = ignore,
    task: str = "transcribe",
) -> Iterator[Tuple[int, str]]:
    """(index in the split, hypothesis) for each utterance, longest first.

    Batches hold at most `batch_s` seconds of padded audio. indices: only these. pad_to: pad every utterance to this
    many samples and let a group-norm encoder see the padding (the static-shape experiment); without it each utterance
    gets the logits that it gets alone. precision: fp32, bf16 or fp16.
    """
    import torch

    chosen = np.arange(len(split)) if indices is None else np.asarray(indices)
    lengths = split.num_samples[chosen]
    batches = micro_batches(lengths, max_samples=int(batch_s * split.sample_rate), pad_to=pad_to)
    model = recogniser.model.to(device).eval()
    total_s, done_s = float(lengths.sum(dtype=np.int64)) / split.sample_rate, 0.0
    for batch in batches:
        rows = [int(chosen[position]) for position in batch]
        inputs = collate([split[row].pcm for row in rows], recogniser.features, pad_to=pad_to)
        inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
        with torch.inference_mode(), autocast(device, precision):
            logits, frames = acoustics.forward(model, exact=pad_to is None, **inputs)
        for row, ids in zip(rows, acoustics.greedy_ids(logits, frames)):
            yield row, recogniser.vocabulary.decode(ids.tolist())
        done_s += float(lengths[batch].sum(dtype=np.int64)) / split.sample_rate
        emit(Progress(task, round(done_s, 1), round(total_s, 1), "s of audio"))
