"""What the metrics log of a run says, in as many numbers as a chart can show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from asrctl.storage import records
from asrctl.training import metrics_log
from asrctl.training.run_info import RunInfo
from asrctl.training.runs import Run

SCHEMA = 1
_POINTS = 300
_TRAIN = ("loss", "learning_rate", "grad_norm", "audio_s_per_s")
_EVAL = ("wer", "cer")


@dataclass(frozen=True)
class SeriesPoint:
    """Of logged values up to `step`, since the point before: mean, least and most."""

    step: float
    value: float
    low: float
    high: float

    def times(self, factor: float) -> "SeriesPoint":
        return SeriesPoint(self.step, factor * self.value, factor * self.low, factor * self.high)


@dataclass(frozen=True)
class Series:
    """In the order of the steps. left_out: values that were not finite."""

    points: Tuple[SeriesPoint, ...]
    left_out: int = 0


@dataclass(frozen=True)
class Evaluation:
    """One during training. empty: share of hypotheses without a character."""

    step: int
    wer: Optional[float]
    cer: Optional[float]
    empty: Optional[float]


@dataclass(frozen=True)
class LaterEvaluation:
    """One by `asrctl eval`. data: its name."""

    id: str
    split: str
    data: str
    wer: float
    utterances: int
    wer_interval: Optional[Tuple[float, ...]] = records.absent()


@dataclass(frozen=True)
class RunReport:
    """info: run.json. series: {loss, learning_rate, grad_norm, audio_s_per_s, wer, cer}."""

    schema: int
    info: RunInfo
    series: Mapping[str, Series]
    evaluations: Tuple[Evaluation, ...]
    later: Tuple[LaterEvaluation, ...]


def report(run: Run, later: Sequence[LaterEvaluation] = ()) -> RunReport:
    """Raises BadData."""
    trained, evaluated = metrics_log.read(run.folder, "train"), metrics_log.read(run.folder, "eval")
    series = {name: _series(trained, name) for name in _TRAIN}
    series.update({name: _series(evaluated, name) for name in _EVAL})
    evaluations = tuple(
        Evaluation(int(entry["step"]), *(_number(entry.get(name)) for name in ("wer", "cer", "empty")))
        for entry in evaluated
    )
    return RunReport(SCHEMA, run.brief(), series, evaluations, tuple(later))


def _number(value: Any) -> Optional[float]:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _series(entries: Sequence[Dict[str, Any]], name: str) -> Series:
    held = [(entry["step"], _number(entry[name])) for entry in entries if name in entry]
    found = [(step, value) for step, value in held if value is not None]
    at_once = -(-len(found) // _POINTS) or 1
    points: List[SeriesPoint] = []
    for first in range(0, len(found), at_once):
        part = found[first : first + at_once]
        values = [value for _, value in part]
        points.append(SeriesPoint(part[-1][0], sum(values) / len(values), min(values), max(values)))
    return Series(tuple(points), len(held) - len(found))
