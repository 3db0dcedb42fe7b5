"""The files of an evaluation: hypotheses.jsonl, and metrics.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple

import numpy as np

from asrctl.data.dataset import PreparedSplit
from asrctl.evaluation import metrics
from asrctl.evaluation.metrics import EvaluationMetrics
from asrctl.evaluation.other_texts import OtherTexts
from asrctl.storage import files, records
from asrctl.storage.workspace import Artifact

_FIX_EVALUATION = "evaluate again with --force"


def write_hypotheses(
    split: PreparedSplit,
    hypotheses: Iterable[Tuple[int, str]],
    folder: Path,
    others: OtherTexts,
    more: Callable[[metrics.Scored], Dict[str, Any]],
) -> Tuple[metrics.Tally, OtherTexts]:
    """Score hypotheses as they come (any order) and write hypotheses.jsonl in the split's order, in flat memory.

    more: what else a line is to have.
    """
    tally = metrics.Tally(len(split))
    starts = np.full(len(split), -1, dtype=np.int64)
    spool = folder / "hypotheses.part"
    with open(spool, "wb") as stream:
        for index, hypothesis in hypotheses:
            # A stranger's vocabulary can hold half a character, which no file can.
            hypothesis = hypothesis.encode("utf-8", "replace").decode("utf-8")
            scored = tally.add(index, split.id(index), split.text(index), hypothesis)
            others.add(index, scored.reference, hypothesis)
            starts[index] = stream.tell()
            row = {**records.as_dict(scored), **more(scored)}
            stream.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
    with open(spool, "rb") as source, open(folder / "hypotheses.jsonl", "wb") as target:
        for start in starts:
            source.seek(int(start))
            target.write(source.readline())
    spool.unlink()
    return tally, others


@dataclass(frozen=True)
class _Transcribed:
    """What each line of hypotheses.jsonl has at least."""

    id: str
    reference: str
    hypothesis: str


def hypotheses(path: Path) -> Iterator[Dict[str, Any]]:
    """The rows of a hypotheses.jsonl. Raises BadData."""
    for number, row in files.read_json_lines(path, fix=_FIX_EVALUATION):
        records.read(_Transcribed, row, f"{path}, line {number} is damaged", fix=_FIX_EVALUATION)
        yield row


def read_hypotheses(path: Path) -> List[Dict[str, Any]]:
    """All of them at once. Raises BadData."""
    return list(hypotheses(path))


def read_metrics(artifact: Artifact) -> EvaluationMetrics:
    """The metrics.json of an evaluation. Raises BadData."""
    path = artifact.path / "metrics.json"
    return records.read(
        EvaluationMetrics, files.read_json(path, fix=_FIX_EVALUATION), f"{path} is damaged", fix=_FIX_EVALUATION
    )
