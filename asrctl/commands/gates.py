"""Limits that an evaluation has to meet, as they are typed and as they are enforced."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from asrctl.commands import error_analysis
from asrctl.commands.evaluate import EvaluateResult
from asrctl.commands.missing_analysis import analyzed
from asrctl.errors import QualityGate, UsageError
from asrctl.evaluation import gates
from asrctl.evaluation.gates import GroupGate, Verdict
from asrctl.events import Emit, Warned, ignore
from asrctl.messages import suggestions
from asrctl.storage.workspace import Workspace

GUARD = "guard:"  # how verdicts of `eval --guard` begin
# A limit of 20 is a percentage that somebody meant; nobody gates at ten times more errors than words.
_HIGHEST_LIMIT = 10.0


def check_limit(limit: Optional[float]) -> None:
    """Raises UsageError where `limit` can not be a word error rate."""
    if limit is not None and not 0 <= limit <= _HIGHEST_LIMIT:
        raise UsageError(f"a word error rate of {limit:g} is no sensible limit", fix="give a fraction: 0.2 means 20 %")


def check_gates(wanted: Sequence[GroupGate]) -> None:
    """Raises UsageError where one is of a key that no report has, or has no sensible limit."""
    for gate in wanted:
        check_limit(gate.limit)
        if gate.key not in error_analysis.KEYS:
            raise UsageError(
                f"--gate {gate.name}: there is no group {gate.key!r}",
                fix=suggestions.one_of(gate.key, error_analysis.KEYS),
            )


def judge(
    workspace: Workspace,
    result: EvaluateResult,
    limit: Optional[float],
    wanted: Sequence[GroupGate] = (),
    emit: Emit = ignore,
) -> Tuple[Verdict, ...]:
    """limit: of the whole rate. Raises UsageError where a gate is of a key that this report has not."""
    unit = "phone" if result.metrics.phones else "word"
    found: List[Verdict] = [] if limit is None else [gates.judge_whole(result.wer, limit, unit)]
    report = error_analysis.read(result.artifact.path) if wanted else None
    if wanted and report is None:  # an earlier version made it
        report = analyzed(workspace, result.artifact, emit)[1]
    for gate in wanted:
        if report is None or gate.key not in report.groups:
            known = ", ".join(report.groups) if report is not None else "none"
            raise UsageError(
                f"--gate {gate.name}: nothing is known of the {gate.key} of these utterances",
                fix=f"choose another group (this evaluation has {known})",
            )
        verdict = gates.judge_groups(gate, report.groups[gate.key])
        if verdict.too_small:
            shown = gates.listed(verdict.too_small)
            emit(Warned(f"--gate {gate.name}: too small to judge, with fewer than {gates.ENOUGH} utterances: {shown}"))
        found.append(verdict)
    return tuple(found)


def enforce(result: EvaluateResult, verdicts: Sequence[Verdict]) -> None:
    """Raises QualityGate where a limit was not met, naming all that were not."""
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if failed:
        where = result.hypotheses if result.page is None else result.page
        forgot = all(verdict.name.startswith(GUARD) for verdict in failed)
        again = "train for fewer steps or at a lower learning rate, or mix such data in (`asrctl prepare mix A=2 B=1`)"
        advice = again if forgot else "train longer or on more data"
        raise QualityGate("; ".join(verdict.message for verdict in failed), fix=f"{advice}, or look at {where}")
