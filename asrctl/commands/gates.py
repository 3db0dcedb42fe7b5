"""Limits that an evaluation has to meet."""

from __future__ import annotations

from typing import Optional

from asrctl.commands.evaluate import EvaluateResult
from asrctl.errors import QualityGate, UsageError

# A limit of 20 is a percentage that somebody meant; nobody gates at ten times more errors than words.
_HIGHEST_LIMIT = 10.0


def check_limit(limit: Optional[float]) -> None:
    """Raises UsageError where `limit` can not be a word error rate."""
    if limit is not None and not 0 <= limit <= _HIGHEST_LIMIT:
        raise UsageError(f"a word error rate of {limit:g} is no sensible limit", fix="give a fraction: 0.2 means 20 %")


def check_gate(result: EvaluateResult, limit: Optional[float]) -> None:
    """Raises QualityGate where the WER is above `limit` (a fraction)."""
    unit = "phone" if result.metrics.phones else "word"
    if limit is not None and result.wer > limit:
        raise QualityGate(
            f"the {unit} error rate is {100 * result.wer:.2f} %, above the limit of {100 * limit:.2f} %",
            fix=f"train longer or on more data, or look at {result.hypotheses}",
        )
