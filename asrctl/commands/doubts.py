"""Label doubts of prepared data: what a model hears elsewhere than the text says, ranked."""

from __future__ import annotations

import heapq
import json
from array import array
from typing import IO, Any, Iterator, List, Sequence, Tuple

from asrctl.commands.select import TrainedModel, alphabet_gap
from asrctl.commands.transcription import How, listening
from asrctl.data import glyphs
from asrctl.data.audit import overlap
from asrctl.data.audit.distribution import Histogram
from asrctl.data.audit.findings import LabelDoubt
from asrctl.data.dataset import PreparedData
from asrctl.errors import UsageError
from asrctl.evaluation import label_doubts
from asrctl.events import Emit, Warned
from asrctl.messages import amounts
from asrctl.models import loading

# Listed whether they are odd or not: what to listen to first.
RANKED = 100
# A nat a label: the text is e times less likely for each of its letters. Beyond that, far outside what is usual of this
# model on this data: a model that knows little doubts everything a little.
_LEAST, _FAR, _LEAST_SIGMA = 1.0, 6.0, 0.1
_FEWEST = 20


class Doubts:
    """Scores of all utterances. ranking: the first, odd or not; histogram: of all."""

    def __init__(self, spool: IO[bytes]) -> None:
        self._spool = spool
        self.histogram = Histogram(0.0, label_doubts.MOST + 0.5, 0.02)
        self._values = array("d")
        self._first: List[Tuple[float, int, Any]] = []

    def add(self, split: str, identity: str, text: str, found: label_doubts.Heard) -> None:
        score = round(found.score, 3)
        self._values.append(score)
        row = (split, identity, text, found.heard, score)
        item = (score, -len(self._values), row)
        (heapq.heappush if len(self._first) < RANKED else heapq.heappushpop)(self._first, item)
        if score >= _LEAST:
            self._spool.write(json.dumps(row).encode("ascii") + b"\n")

    @property
    def limit(self) -> float:
        """From where on a doubt is odd."""
        import numpy as np

        if len(self._values) < _FEWEST:
            return _LEAST
        self.histogram.counts[:] = 0
        self.histogram.add(np.frombuffer(self._values, dtype=np.float64))
        spread = self.histogram.spread(_LEAST_SIGMA)
        return max(_LEAST, spread.median + _FAR * spread.sigma)

    def ranking(self) -> List[LabelDoubt]:
        ordered = sorted(self._first, key=lambda item: item[:2], reverse=True)
        return [_doubt(row, rank) for rank, (_, _, row) in enumerate(ordered, 1)]

    def findings(self) -> Iterator[LabelDoubt]:
        """Those that are odd, in the order in which they were heard."""
        limit = self.limit
        ordered = sorted((value for value in self._values if value >= limit), reverse=True)
        ranks = {value: rank for rank, value in reversed(list(enumerate(ordered, 1)))}
        self._spool.seek(0)
        for line in self._spool:
            row = json.loads(line)
            if row[4] >= limit:
                yield _doubt(row, ranks[row[4]])


def _doubt(row: Sequence[Any], rank: int) -> LabelDoubt:
    split, identity, text, heard, score = row
    return LabelDoubt(identity, split, text, heard, score, rank)


def look(trained: TrainedModel, data: PreparedData, how: How, spool: IO[bytes], emit: Emit) -> Doubts:
    """Listen to all splits. Raises BadData where the model is not for this data, PresetError, Locked."""
    recognizer = trained.recognizer()
    loading.require_rate(recognizer, data.sample_rate)
    gap = alphabet_gap(recognizer.vocabulary, data.vocabulary())
    if gap:
        shown = " ".join(map(glyphs.shown, gap[:20]))
        emit(Warned(f"the model can not write {amounts.count(len(gap), 'character')} of this data: {shown}"))
    doubts = Doubts(spool)
    with listening(how, recognizer, emit, fix="use `--device cpu`") as options:
        for name in (name for name in overlap.ORDER if name in data.splits):
            split = data.split(name)
            for heard in label_doubts.scores(recognizer, split, **options, emit=emit):
                doubts.add(name, split.id(heard.row), split.text(heard.row), heard)
    return doubts


def refuse_ipu(how: How) -> None:
    """Raises UsageError: an IPU is compiled for longer than a host takes to listen."""
    if how.recipe is not None:
        raise UsageError(f"audits do not listen on {how.device.kind}", fix="use `--device cpu`, or leave it out")
