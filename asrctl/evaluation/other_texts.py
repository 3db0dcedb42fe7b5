"""The same hypotheses against other forms of the texts: as they stand in the corpus, and without case or signs."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

import numpy as np

from asrctl.evaluation.metrics import Edits, TextScore, bootstrap_interval, word_edits
from asrctl.evaluation.scoring_text import normalized

NOT_KEPT = "the data does not hold the texts of its corpus; `asrctl prepare CORPUS --force` keeps them"
PHONEMES = "the model writes phonemes, and the texts of the corpus are letters"


class _Words:
    """Edits of words in one form of the texts; a few small integers for each utterance."""

    def __init__(self, utterances: int) -> None:
        self._errors = np.zeros(utterances, dtype=np.int32)
        self._units = np.zeros(utterances, dtype=np.int32)
        self._total = Edits()

    def add(self, index: int, reference: str, hypothesis: str) -> None:
        found = word_edits(reference, hypothesis)
        self._errors[index], self._units[index] = found.errors, found.units
        self._total += found

    def score(self) -> TextScore:
        total = self._total
        interval = bootstrap_interval(self._errors, self._units)
        return TextScore(total.rate, interval, total.units, total.substitutions, total.deletions, total.insertions)


class OtherTexts:
    """raw: what the corpus says of an utterance, or None where that is its text; None where nobody knows.

    why: what to say of `raw` where it is not scored. normalizes: False for texts of phonemes.
    """

    def __init__(
        self,
        utterances: int,
        raw: Optional[Callable[[int], Optional[str]]],
        why: Optional[str],
        *,
        normalizes: bool = True,
    ) -> None:
        self._raw_text = raw
        self._normalizes = normalizes
        self._why = why
        self._raw, self._normalized = _Words(utterances), _Words(utterances)

    def add(self, index: int, text: str, hypothesis: str) -> None:
        """text: by the training rules. Each index once, in any order."""
        found = None if self._raw_text is None else self._raw_text(index)
        standing = text if found is None else found
        if self._raw_text is not None:
            self._raw.add(index, standing, hypothesis)
        if self._normalizes:
            self._normalized.add(index, normalized(standing), normalized(hypothesis))

    def scores(self) -> Dict[str, Any]:
        """The fields of EvaluationMetrics that are about them."""
        raw = None if self._raw_text is None else self._raw.score()
        plain = self._normalized.score() if self._normalizes else None
        return {
            "raw": raw,
            "raw_missing": self._why if raw is None else None,
            "normalized": plain,
            "phones": not self._normalizes or None,
        }
