"""How much likelier a model finds what it hears than what the transcript says.

Both are sequences of labels whose likelihood CTC sums over all alignments (Graves et al. 2006, section 3): the score is
the difference of their negative logarithms, in nats for each label of the longer. It is 0 where the model hears the
transcript, and a few tenths where it mishears a letter; a transcript of other words costs several nats a label. To
divide by the length makes long and short utterances comparable.
"""

from __future__ import annotations

import math
from typing import Any, Iterator, List, NamedTuple, Tuple

from asrctl.data.dataset import PreparedSplit
from asrctl.data.shard_files import count_repeats
from asrctl.evaluation.transcribe import transcribe
from asrctl.events import Emit
from asrctl.models import ctc
from asrctl.models.loading import Recognizer

# Beyond this one text is as wrong as another.
MOST = 100.0


class Heard(NamedTuple):
    """row: in the split. heard: the model's own words. score: in nats a label, MOST at most."""

    row: int
    heard: str
    score: float


def scores(
    recognizer: Recognizer,
    split: PreparedSplit,
    *,
    device: Any,
    precision: str,
    batch_s: float,
    engine: str,
    emit: Emit,
) -> Iterator[Heard]:
    """Of each utterance of a split, longest first, in bounded memory."""
    vocabulary = recognizer.vocabulary
    encode = vocabulary.encoder()
    blank = vocabulary.blank_id
    found = transcribe(
        recognizer,
        split,
        device=device,
        precision=precision,
        batch_s=batch_s,
        engine=engine,
        emit=emit,
        task=f"listen {split.name}",
        decode=_rows,
    )
    for index, logits in found:
        path = logits.argmax(-1).tolist()
        heard = [label for label, before in zip(path, [blank, *path]) if label not in (before, blank)]
        # Where a blank parts two equal labels, both count: the one before is the blank.
        said = encode(split.text(index))[0]
        yield Heard(index, vocabulary.decode(path), _score(logits, said, heard, blank))


def _rows(logits: Any, frames: Any) -> List[Any]:
    """(frames, vocabulary) logits of each utterance, on the host and no longer than its batch."""
    counts = frames.tolist()
    if logits.dim() == 2:  # packed
        return [row.float().cpu() for row in logits.split(counts)]
    return [row[:count].float().cpu() for row, count in zip(logits, counts)]


def _score(logits: Any, said: List[int], heard: List[int], blank: int) -> float:
    if not len(logits) or said == heard:
        return 0.0
    # A text with more labels than frames has no alignment. Frames that count several times over, for both, have one.
    times = max(1, math.ceil((len(said) + count_repeats(said)) / len(logits)))
    frames = logits.repeat_interleave(times, dim=0)
    texts, hears = (_loss(frames, labels, blank) for labels in (said, heard))
    score = (texts - hears) / times / max(len(said), len(heard), 1)
    return min(max(score, 0.0), MOST) if math.isfinite(score) else MOST


def _loss(logits: Any, labels: List[int], blank: int) -> float:
    import torch

    lengths: Tuple[Any, Any] = torch.tensor([len(logits)]), torch.tensor([len(labels)])
    targets = torch.tensor([labels], dtype=torch.long).reshape(1, -1)
    loss = ctc.ctc_losses(
        logits[None], lengths[0], targets, lengths[1], blank=blank, reduction="sum", zero_infinity=False
    )
    return float(loss[0])
