"""What `asrctl eval` takes about limits, and how it tells CI of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Tuple

import typer

from asrctl.cli import numbers, options
from asrctl.errors import UsageError
from asrctl.storage import files

if TYPE_CHECKING:
    from asrctl.cli.report import Report
    from asrctl.commands.evaluate import EvaluateResult
    from asrctl.commands.evaluate_request import EvaluateRequest
    from asrctl.commands.guard import GuardResult
    from asrctl.evaluation.gates import GroupGate, Verdict
    from asrctl.storage.workspace import Workspace

TEXT, GITHUB = "text", "github"
_LIMIT = numbers.Number("--gate", "a group and a share", "speaker:0.3", low=0, share=True)
MAX_WER = numbers.option(
    "--max-wer",
    "a share",
    example="0.2 or 20%",
    metavar="SHARE",
    low=0,
    share=True,
    help="Exit with 8 above this word error rate, such as 0.2 or 20%.",
)
GATE = typer.Option(
    [],
    "--gate",
    metavar="GROUP:SHARE",
    help="Exit with 8 where a group is above this rate: speaker:0.3, duration:40% ... Repeatable.",
)
JUNIT = typer.Option(
    None, "--junit", metavar="FILE", parser=files.expanded, help="Write the limits as tests, in JUnit's XML."
)
GUARD = typer.Option(
    [],
    "--guard",
    metavar="DATA",
    help="Exit with 8 where training made the model worse on this prepared data, beyond chance. Repeatable.",
)
FORMAT = options.one_of(
    "--format",
    "format",
    lambda: (TEXT, GITHUB),
    "text, or github: annotations, and the job's summary, of a GitHub workflow.",
    TEXT,
)


def parsed(typed: Sequence[str]) -> "Tuple[GroupGate, ...]":
    """Raises UsageError."""
    from asrctl.evaluation.gates import GroupGate

    found: List[Any] = []
    for text in typed:
        key, colon, limit = text.rpartition(":")
        if not colon or not key:
            raise UsageError(f"--gate is {text!r}, not a group and a share", fix="write it as in `--gate speaker:0.3`")
        found.append(GroupGate(key.strip(), _LIMIT.parse(limit)))
    return tuple(found)


@dataclass(frozen=True)
class Gates:
    """What was asked for; wrong limits and paths are refused before any work."""

    workspace: "Workspace"
    max_wer: Optional[float]
    groups: "Tuple[GroupGate, ...]"
    junit: Optional[Path]
    format: str
    guards: Tuple[str, ...] = ()
    _output: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Raises UsageError, OSError."""
        from asrctl.commands import ci_reports, gates

        gates.check_limit(self.max_wer)
        gates.check_gates(self.groups)
        if self.junit is not None:
            object.__setattr__(self, "_output", ci_reports.junit_file(self.workspace, self.junit))

    def check(self, request: "EvaluateRequest") -> None:
        """Refuse what would make no sense after all the work. Raises UsageError, MissingArtifact."""
        from asrctl.commands import guard

        for name in self.guards:
            guard.check(self.workspace, request, name)

    def guarded(self, request: "EvaluateRequest", report: "Report") -> "List[GuardResult]":
        """The guard sets, heard by the model and by its base."""
        from asrctl.commands import guard

        return [guard.guard(self.workspace, request, name, report.emit) for name in self.guards]

    def judged(
        self, result: "EvaluateResult", guarded: "Sequence[GuardResult]", report: "Report"
    ) -> "Tuple[Verdict, ...]":
        """All of them; the JUnit file is written, whatever came out."""
        from asrctl.commands import ci_reports, gates

        verdicts = gates.judge(self.workspace, result, self.max_wer, self.groups, report.emit)
        verdicts = (*verdicts, *(each.verdict for each in guarded))
        if self._output is not None:
            ci_reports.write_junit(self._output, result, verdicts)
        return verdicts

    def lines(self, result: "EvaluateResult", verdicts: "Sequence[Verdict]", report: "Report") -> List[str]:
        """What was judged, for people; and annotations, which with --json go to stderr."""
        from asrctl.commands import ci_reports

        told = [f"{'passed' if verdict.passed else 'FAILED'} {verdict.name}: {verdict.message}" for verdict in verdicts]
        if self.format != GITHUB:
            return told
        annotations = ci_reports.github_lines(result, verdicts, report.emit)
        if report.output.json:
            for line in annotations:
                report.display.line(line)
            return told
        return [*told, *annotations]

    def enforce(self, result: "EvaluateResult", verdicts: "Sequence[Verdict]") -> None:
        """Raises QualityGate."""
        from asrctl.commands import gates

        gates.enforce(result, verdicts)
