"""Two evaluations of the same utterances, side by side, with a test of whether they differ beyond chance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from asrctl.commands.evaluation_files import read_hypotheses
from asrctl.data.dataset import PreparedData, PreparedSplit
from asrctl.errors import BadData, MissingArtifact, QualityGate, UsageError
from asrctl.evaluation import comparison, groups, metrics
from asrctl.evaluation.comparison import Difference
from asrctl.evaluation.decoding import GREEDY
from asrctl.events import Emit, Note, Warned, ignore
from asrctl.messages import suggestions
from asrctl.storage import files, records
from asrctl.storage.workspace import Artifact, Workspace

HYPOTHESES = "hypotheses.jsonl"
GROUPS = ("speaker", "duration", "length")
_TURNED_KEPT = 100
_FIX_SIDE = "give two runs that were evaluated, two evaluation IDs, or two hypotheses.jsonl files"


@dataclass(frozen=True)
class CompareRequest:
    """a, b: each a run, an evaluation's ID, or a folder or file of hypotheses; b is the new one. split: of runs.

    by: groups to compare too. max_drop: points of WER (1 is 1 %) by which b may be worse.
    """

    a: str
    b: str
    split: Optional[str] = None
    by: Tuple[str, ...] = ()
    max_drop: Optional[float] = None


@dataclass(frozen=True)
class Side:
    """One of the two. name: as it was typed; id: of its evaluation, where it is one of the workspace."""

    name: str
    path: Path
    id: Optional[str] = None
    split: Optional[str] = None
    wer: Optional[float] = None
    data: Optional[str] = None
    minutes: Optional[float] = None


@dataclass(frozen=True)
class Turned:
    """An utterance that has other errors now."""

    id: str
    reference: str
    a: str
    b: str
    errors_a: int
    errors_b: int


@dataclass(frozen=True)
class Gate:
    """max_drop: in points. failed: b is worse by more than that, and beyond chance. too_small: the test set is too
    small to see such a drop; minutes: of speech that would be needed, where that is known.
    """

    max_drop: float
    failed: bool
    too_small: bool
    minutes: Optional[float]


@dataclass(frozen=True)
class Comparison:
    """difference: over all utterances; groups: {group: {value: difference}}. turned: those that changed most."""

    a: Side
    b: Side
    difference: Difference
    groups: Mapping[str, Mapping[str, Difference]]
    turned: Tuple[Turned, ...]
    gate: Optional[Gate]

    def as_dict(self) -> Dict[str, Any]:
        values = records.as_dict(self)
        values["significant"] = self.difference.is_significant
        for side in ("a", "b"):
            values[side]["path"] = str(getattr(self, side).path)
        return values


def compare(workspace: Workspace, request: CompareRequest, emit: Emit = ignore) -> Comparison:
    """Raises UsageError, MissingArtifact, BadData (other utterances, or damaged files)."""
    a, b = (_side(workspace, word, request.split) for word in (request.a, request.b))
    if a.path == b.path:
        raise UsageError(f"{request.a} and {request.b} are the same evaluation", fix=_FIX_SIDE)
    rows = _paired(a, b)
    errors_a, errors_b, words = (np.array([row[place] for row in rows], dtype=np.int64) for place in (4, 5, 6))
    found = comparison.difference(errors_a, errors_b, words)
    by_group = {}
    for by in request.by:
        values = _values(workspace, by, (b, a), rows, words)
        by_group[by] = {
            value: comparison.difference(errors_a[mine], errors_b[mine], words[mine])
            for value in sorted(set(values))
            for mine in [np.array([each == value for each in values])]
        }
    gate = None if request.max_drop is None else _gate(found, request.max_drop, b.minutes or a.minutes)
    _tell(found, gate, emit)
    return Comparison(a, b, found, by_group, _turned(rows), gate)


def check_gate(result: Comparison) -> None:
    """Raises QualityGate where `--max-drop` failed."""
    if result.gate is not None and result.gate.failed:
        points = 100 * result.difference.difference
        raise QualityGate(
            f"{result.b.name} is worse by {points:.2f} points of WER, above the limit of {result.gate.max_drop:g}, and "
            "beyond chance",
            fix=f"look at the utterances that turned in `asrctl compare {result.a.name} {result.b.name}`",
        )


# -- which two --------------------------------------------------------------------------------------------------------


def _side(workspace: Workspace, word: str, split: Optional[str]) -> Side:
    path = files.expanded(word)
    if path.is_dir() and (path / HYPOTHESES).is_file():
        path = path / HYPOTHESES
    if path.is_file():
        return Side(word, path)
    artifacts = workspace.all("evals")
    by_id = [artifact for artifact in artifacts if artifact.id == word]
    of_run = [artifact for artifact in artifacts if artifact.summary.get("run") == word]
    found = by_id or _chosen(word, of_run, split)
    if not found:
        known = sorted({str(artifact.summary.get("run")) for artifact in artifacts if artifact.summary.get("run")})
        what = f"evaluation of {word!r}" + (f" on the split {split!r}" if split and of_run else "")
        meant = suggestions.question(word, known, str)
        raise MissingArtifact(
            f"there is no {what} (evaluated runs: {', '.join(known) or 'none'})",
            fix=meant or f"evaluate it first: `asrctl eval --run {word}`",
        )
    return _of(word, found[0])


def _chosen(word: str, of_run: List[Artifact], split: Optional[str]) -> List[Artifact]:
    """The evaluation of a run that is meant, by default the greedy one of the eval split. Raises UsageError."""
    wanted = split or ("eval" if any(artifact.summary.get("split") == "eval" for artifact in of_run) else None)
    found = [artifact for artifact in of_run if wanted in (None, artifact.summary.get("split"))]
    greedy = [artifact for artifact in found if artifact.meta["parameters"].get("decoder", GREEDY) == GREEDY]
    found = greedy or found
    if len(found) > 1:
        told = ", ".join(
            f"{artifact.id} ({artifact.summary.get('split')}, {artifact.summary.get('precision')})"
            for artifact in found
        )
        raise UsageError(f"run {word!r} has several evaluations: {told}", fix="give the ID of one of them, or --split")
    return found


def _of(word: str, artifact: Artifact) -> Side:
    known = files.read_json(artifact.path / "metrics.json", fix="evaluate again with --force")
    seconds = known.get("audio_s")
    return Side(
        word,
        artifact.path / HYPOTHESES,
        artifact.id,
        artifact.summary.get("split"),
        artifact.summary.get("wer"),
        artifact.meta["inputs"].get("data"),
        seconds / 60 if isinstance(seconds, (int, float)) else None,
    )


# -- utterances -------------------------------------------------------------------------------------------------------

# (id, reference, hypothesis of a, of b, errors of a, of b, words)
_Row = Tuple[str, str, str, str, int, int, int]


def _paired(a: Side, b: Side) -> List[_Row]:
    """Raises BadData where the two are not of the same utterances and references."""
    before = {row["id"]: row for row in read_hypotheses(a.path)}
    after = read_hypotheses(b.path)
    missing = [row["id"] for row in after if row["id"] not in before]
    if missing or len(after) != len(before):
        example = missing[0] if missing else next(iter(before.keys() - {row["id"] for row in after}))
        raise BadData(
            f"{a.name} and {b.name} are not of the same utterances: they have {len(before)} and {len(after)}, and "
            f"{example} is in one only",
            fix="evaluate both on the same data and split",
        )
    rows: List[_Row] = []
    for row in after:
        other = before[row["id"]]
        if other["reference"] != row["reference"]:
            raise BadData(
                f"{a.name} and {b.name} have other references, such as {row['id']}: {other['reference']!r} and "
                f"{row['reference']!r}",
                fix="evaluate both on the same data",
            )
        edits = [metrics.word_edits(row["reference"], each["hypothesis"]) for each in (other, row)]
        rows.append(
            (
                row["id"],
                row["reference"],
                other["hypothesis"],
                row["hypothesis"],
                edits[0].errors,
                edits[1].errors,
                edits[1].units,
            )
        )
    return rows


def _turned(rows: List[_Row]) -> Tuple[Turned, ...]:
    """The utterances with the largest change, worse ones first among equals."""
    changed = [row for row in rows if row[4] != row[5]]
    changed.sort(key=lambda row: (-abs(row[5] - row[4]), row[4] - row[5], row[0]))
    return tuple(Turned(*row[:6]) for row in changed[:_TURNED_KEPT])


def _values(workspace: Workspace, by: str, sides: Tuple[Side, ...], rows: List[_Row], words: np.ndarray) -> List[str]:
    """Which group each utterance is in. Raises UsageError where that is not known."""
    if by == "length":
        return groups.quarters([float(count) for count in words], "words")
    split = next((found for found in (_split(workspace, side) for side in sides) if found is not None), None)
    if split is None:
        raise UsageError(
            f"--by {by} needs the prepared data, which is not in this workspace", fix="leave it out, or use --by length"
        )
    places = {split.id(place): place for place in range(len(split))}
    unknown = [row[0] for row in rows if row[0] not in places]
    if unknown:
        raise BadData(f"{unknown[0]} is not in the prepared data", fix=f"leave --by {by} out")
    if by == "duration":
        return groups.quarters([int(split.num_samples[places[row[0]]]) / split.sample_rate for row in rows], "s")
    return [split[places[row[0]]].speaker or groups.UNKNOWN for row in rows]


def _split(workspace: Workspace, side: Side) -> Optional[PreparedSplit]:
    artifact = workspace.find("prepared", side.data) if side.data is not None else None
    return None if artifact is None or side.split is None else PreparedData(artifact).split(side.split)


# -- the verdict ------------------------------------------------------------------------------------------------------


def _gate(found: Difference, max_drop: float, minutes: Optional[float]) -> Gate:
    """max_drop: in points."""
    limit = max_drop / 100
    failed = found.difference > limit and found.is_significant
    too_small = not failed and (found.smallest is None or found.smallest > max(limit, 1e-9))
    needed = comparison.minutes_needed(found, minutes, limit) if minutes is not None and limit > 0 else None
    return Gate(max_drop, failed, too_small, None if needed is None else round(needed, 1))


def _tell(found: Difference, gate: Optional[Gate], emit: Emit) -> None:
    if gate is None or not gate.too_small:
        return
    smallest = "no drop at all" if found.smallest is None else f"drops of {100 * found.smallest:.2f} points and more"
    needed = "" if gate.minutes is None else f"; about {gate.minutes:,.0f} minutes of such speech would be needed"
    emit(Warned(f"this test set is too small to see a drop of {gate.max_drop:g} points: it shows {smallest}{needed}"))
    if found.difference > gate.max_drop / 100:
        emit(Note("the drop that it shows is above the limit, and may be chance"))
