"""What went wrong in an evaluation, and where: report.json and report.html beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from asrctl.commands.evaluation_files import hypotheses
from asrctl.data.audit.measures import speech_level
from asrctl.data.dataset import MixedSplit, PreparedSplit
from asrctl.errors import BadData
from asrctl.evaluation import groups
from asrctl.evaluation.error_analysis import Analysis, EvaluationReport, Known, Names
from asrctl.events import Emit, Progress, ignore
from asrctl.reports import evaluation_page
from asrctl.storage import files, records

KEYS = ("speaker", "duration", "level", "length", "seen", "data")
JSON, PAGE = "report.json", "report.html"
_FIX = "evaluate again with --force"
_SEEN = {True: "seen in training", False: "not seen"}


def analyze(
    folder: Path, split: PreparedSplit, seen: Optional[np.ndarray], names: Names, emit: Emit = ignore
) -> EvaluationReport:
    """Of the evaluation in `folder`, which has its metrics.json and hypotheses.jsonl. Raises BadData."""
    analysis = Analysis(known(split, seen, emit))
    for index, row in enumerate(hypotheses(folder / "hypotheses.jsonl")):
        if index >= len(split) or row["id"] != split.id(index):
            raise BadData(f"{folder / 'hypotheses.jsonl'} is not of this data", fix=_FIX)
        analysis.add(index, row["id"], row["reference"], row["hypothesis"])
    return analysis.report(names, files.read_json(folder / "metrics.json", fix=_FIX))


def known(split: PreparedSplit, seen: Optional[np.ndarray], emit: Emit = ignore) -> Known:
    """What utterances are grouped by: one look at all samples of the split."""
    count = len(split)
    speakers: List[Optional[str]] = []
    levels = np.zeros(count)
    for index in range(count):
        utterance = split[index]
        part = f"{_part(utterance.id)}/" if isinstance(split, MixedSplit) and utterance.speaker else ""
        speakers.append(None if utterance.speaker is None else part + utterance.speaker)
        levels[index] = speech_level(utterance.pcm, split.sample_rate) if len(utterance.pcm) else np.nan
        if index % 1000 == 999:
            emit(Progress("analyze", index + 1, count, "utterances"))
    seconds = split.num_samples / split.sample_rate
    values: Dict[str, List[str]] = {
        "speaker": [speaker or groups.UNKNOWN for speaker in speakers],
        "duration": groups.quarters(seconds.tolist(), "s"),
        "level": groups.quarters(levels.tolist(), "dBFS"),
    }
    if seen is not None:
        values["seen"] = [_SEEN[bool(one)] for one in seen]
    if isinstance(split, MixedSplit):
        values["data"] = [_part(split.id(index)) for index in range(count)]
    return Known(seconds, speakers, seen, values)


def _part(identity: str) -> str:
    return identity.partition("/")[0]


def write(folder: Path, report: EvaluationReport, split: PreparedSplit) -> None:
    files.write_json(folder / JSON, records.as_dict(report))
    files.write_text(folder / PAGE, page(report, split))


def page(report: EvaluationReport, split: PreparedSplit) -> str:
    return evaluation_page.render(report, lambda index: split[index].pcm, split.sample_rate)


def read(folder: Path) -> Optional[EvaluationReport]:
    """report.json of an evaluation; None where an earlier version made it. Raises BadData."""
    path = folder / JSON
    if not path.exists():
        return None
    values: Mapping[str, Any] = files.read_json(path, fix=_FIX)
    return records.read(EvaluationReport, values, f"{path} is damaged", fix=_FIX)
