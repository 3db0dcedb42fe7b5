"""How sure a model is of each word that it heard, and whether these words are right."""

from __future__ import annotations

from typing import List, Optional, Sequence

import numpy as np

from asrctl.evaluation import calibration as calibrations
from asrctl.evaluation import metrics
from asrctl.evaluation.calibration import LEAST_WORDS, Calibration, ConfidenceScores, reliability


def of_word(label_logs: Sequence[float]) -> float:
    """A word's confidence before any calibration: the geometric mean of the posteriors of its labels.

    label_logs: natural logarithm of each label's posterior, meant over the frames in which the alignment has it.
    """
    return float(np.exp(min(float(np.mean(label_logs)), 0.0))) if len(label_logs) else 0.0


class ConfidenceTally:
    """Gathers words as utterances come, in any order; keeps a few bytes for each."""

    def __init__(self) -> None:
        self._confidences: List[np.ndarray] = []
        self._right: List[np.ndarray] = []

    def add(self, reference: str, hypothesis: str, confidences: Sequence[float]) -> None:
        """confidences: one for each word of the hypothesis."""
        right = [left == word for left, word in metrics.align(reference, hypothesis) if word]
        self._confidences.append(np.asarray(confidences, dtype=np.float32))
        self._right.append(np.asarray(right, dtype=bool))

    def __len__(self) -> int:
        return sum(map(len, self._right))

    def scores(self, calibration: Optional[Calibration] = None) -> Optional[ConfidenceScores]:
        """None where there is no word. calibration: one that was made before."""
        if not len(self):
            return None
        raw = reliability(self._confidences, self._right)
        if calibration is None:
            return ConfidenceScores(raw)
        better = reliability([calibration.apply(each) for each in self._confidences], self._right)
        return ConfidenceScores(raw, better, calibration)

    def calibration(self, data: str) -> Optional[Calibration]:
        """The best for these words; None where they are too few, or all right or all wrong."""
        right = np.concatenate(self._right) if self._right else np.zeros(0, dtype=bool)
        if len(right) < LEAST_WORDS or right.all() or not right.any():
            return None
        return calibrations.fitted(np.concatenate(self._confidences), right, data)
