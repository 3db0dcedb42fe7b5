"""What a training forgets: a guard set, heard before it and at each evaluation (`run.guard`).

The errors before are kept in the run's folder, since the model that training started from is gone when it is resumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

import numpy as np

from asrctl.data.dataset import PreparedSplit
from asrctl.errors import BadData
from asrctl.evaluation import comparison
from asrctl.evaluation.comparison import Difference
from asrctl.events import Emit, Note
from asrctl.models.loading import Recognizer
from asrctl.storage import files, records
from asrctl.training.evaluator import Evaluator

FILE = "guard.json"
REASON = "guard"
_FIX = "go on without it: `--set run.guard=null`"


@dataclass(frozen=True)
class GuardSet:
    """name: of prepared data; content: a digest of what it holds."""

    name: str
    content: str
    split: PreparedSplit


@dataclass(frozen=True)
class Before:
    """guard.json: errors of each utterance that is heard, before training."""

    content: str
    errors: Tuple[int, ...]
    words: Tuple[int, ...]


class Guard:
    """folder: of the run."""

    def __init__(self, guarded: GuardSet, evaluator: Evaluator, folder: Path) -> None:
        self.name = guarded.name
        self._content, self._evaluator, self._path = guarded.content, evaluator, folder / FILE
        self._before: Optional[Before] = None

    def begin(self, recognizer: Recognizer, emit: Emit, *, resumed: bool) -> None:
        """Hear it before the first step, or read what was heard then. Raises OSError, BadData."""
        if resumed:
            self._resume()
            return
        errors, words = self._evaluator.errors(recognizer, emit)
        self._before = Before(self._content, tuple(errors.tolist()), tuple(words.tolist()))
        files.write_json(self._path, records.as_dict(self._before))
        rate = 100 * errors.sum() / max(int(words.sum()), 1)
        emit(Note(f"guard {self.name}: WER {rate:.2f} % before training"))

    def _resume(self) -> None:
        values = files.read_json(self._path, fix=_FIX)
        before = records.read(Before, values, f"{self._path} is damaged", fix=_FIX)
        heard = len(self._evaluator.indices())
        if before.content != self._content or len(before.errors) != heard or len(before.words) != heard:
            raise BadData(f"the run began with another guard set than {self.name} is now", fix=_FIX)
        self._before = before

    def look(self, recognizer: Recognizer, emit: Emit) -> Difference:
        """Before and now."""
        if self._before is None:
            raise RuntimeError("the guard set was not heard before")
        errors, words = self._evaluator.errors(recognizer, emit)
        return comparison.difference(np.array(self._before.errors), errors, words)
