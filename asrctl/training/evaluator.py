"""WER of a model inside training: the same transcription and the same scores as `asrctl eval`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterable, Optional, Tuple

import numpy as np

from asrctl.data.dataset import PreparedSplit
from asrctl.data.sampler import generator
from asrctl.evaluation.metrics import Tally
from asrctl.evaluation.transcribe import transcribe
from asrctl.events import Emit
from asrctl.models.loading import Recognizer
from asrctl.runtime.ranks import ALONE, Ranks
from asrctl.training.distributed import dealing

_SAMPLE_STREAM = 5


@dataclass(frozen=True)
class Evaluator:
    """split: what to score on; most: at most this many utterances (a seeded sample), or None for all.

    ranks: the processes that score together.
    """

    split: PreparedSplit
    device: Any
    precision: str
    batch_s: float
    pad_to: Optional[int]
    most: Optional[int]
    seed: int
    engine: str = "plain"
    ranks: Ranks = ALONE

    def indices(self) -> np.ndarray:
        count = len(self.split)
        if self.most is None or self.most >= count:
            return np.arange(count)
        return np.sort(generator(self.seed, _SAMPLE_STREAM).permutation(count)[: self.most])

    def score(self, recognizer: Recognizer, emit: Emit) -> Dict[str, Any]:
        """`rates` of the model on a host device. Leaves it in eval mode.

        Several processes share out the batches that one would make: each utterance is transcribed once, with the same
        neighbors, so the rates are the same.
        """
        found = self._hypotheses(recognizer, emit)
        return self.rates(one for share in self.ranks.gather(list(found)) for one in share)

    def errors(self, recognizer: Recognizer, emit: Emit) -> Tuple[np.ndarray, np.ndarray]:
        """((utterances,) errors, (utterances,) words) of each chosen utterance, by one process alone."""
        tally = self._tally(self._hypotheses(recognizer, emit))
        return tally.errors, tally.words

    def _hypotheses(self, recognizer: Recognizer, emit: Emit) -> Iterable[Tuple[int, str]]:
        return transcribe(
            recognizer,
            self.split,
            device=self.device,
            precision=self.precision,
            batch_s=self.batch_s,
            indices=self.indices(),
            pad_to=self.pad_to,
            engine=self.engine,
            emit=emit,
            task="evaluate",
            take=lambda seconds: dealing.evenly(seconds, self.ranks.size)[self.ranks.rank],
        )

    def rates(self, hypotheses: Iterable[Tuple[int, str]]) -> Dict[str, Any]:
        """(index in the split, hypothesis) of each chosen utterance -> {"wer", "cer", "empty": share of hypotheses
        without any character}.
        """
        scores = self._tally(hypotheses).scores()
        return {
            "wer": scores.wer,
            "cer": scores.cer,
            "empty": scores.empty_hypotheses / max(1, scores.utterances),
        }

    def _tally(self, hypotheses: Iterable[Tuple[int, str]]) -> Tally:
        indices = self.indices()
        place = {int(index): position for position, index in enumerate(indices)}
        tally = Tally(len(indices))
        for index, hypothesis in hypotheses:
            tally.add(place[index], self.split.id(index), self.split.text(index), hypothesis)
        return tally
