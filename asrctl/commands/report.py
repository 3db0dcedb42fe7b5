"""A run or an evaluation as a page, and its numbers as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Union

from asrctl.commands import report_files, run_page
from asrctl.errors import MissingArtifact, UsageError
from asrctl.events import Emit, Warned, ignore
from asrctl.messages import suggestions
from asrctl.reports import run_page as page_of_run
from asrctl.storage import files, records
from asrctl.storage.names import is_plain_name
from asrctl.storage.workspace import Artifact, Workspace
from asrctl.training import metrics_log, runs
from asrctl.training.run_report import RunReport
from asrctl.training.runs import Run

if TYPE_CHECKING:
    from asrctl.evaluation.error_analysis import EvaluationReport


@dataclass(frozen=True)
class ReportRequest:
    """name: a run or the ID of an evaluation; default: the run started last. output: where it goes too, .html or
    .json; force: even over an earlier report.
    """

    name: Optional[str] = None
    output: Optional[Path] = None
    force: bool = False


@dataclass(frozen=True)
class ReportResult:
    """page: in the workspace, None where it is only in `output`."""

    kind: str
    name: str
    report: "Union[RunReport, EvaluationReport]"
    page: Optional[Path]
    output: Optional[Path]

    def as_dict(self) -> Dict[str, Any]:
        paths = {
            name: None if path is None else str(path) for name, path in (("page", self.page), ("output", self.output))
        }
        return {"kind": self.kind, "name": self.name, **records.as_dict(self.report), **paths}


def report(workspace: Workspace, request: ReportRequest, emit: Emit = ignore) -> ReportResult:
    """Raises MissingArtifact, UsageError (output), BadData, OSError."""
    run = _run(workspace, request.name)
    if run is not None:
        damage = metrics_log.damage(run.folder)
        if damage is not None:
            emit(Warned(f"{run.folder / 'metrics.jsonl'} {damage}, so the charts lack something"))
        collected = run_page.collected(workspace, run)
        page = run_page.write(workspace, run)
        written = _written(workspace, request, collected, page_of_run.render(collected))
        return ReportResult("run", run.name, collected, page, written)
    return _of_evaluation(workspace, _evaluation(workspace, str(request.name)), request, emit)


def _run(workspace: Workspace, name: Optional[str]) -> Optional[Run]:
    """None for a name that is none of a run."""
    if name is None:
        folders = workspace.runs(strict=True)
        if not folders:
            raise MissingArtifact(f"there is no run in {workspace.root}", fix=runs.instead_of(workspace, None))
        return Run(folders[-1])
    found = next((folder for folder in workspace.runs() if folder.name == name), None)
    return None if found is None else Run(found)


def _evaluation(workspace: Workspace, name: str) -> Artifact:
    found = workspace.find("evals", name) if is_plain_name(name) else None
    if found is None:
        known = [folder.name for folder in workspace.runs()] + [artifact.id for artifact in workspace.all("evals")]
        meant = suggestions.question(name, known, str)
        raise MissingArtifact(
            f"there is no run and no evaluation {name!r} in {workspace.root}",
            fix=meant or "see `asrctl status` for runs, and `asrctl status --json` for the IDs of evaluations",
        )
    return found


def _of_evaluation(workspace: Workspace, artifact: Artifact, request: ReportRequest, emit: Emit) -> ReportResult:
    from asrctl.commands import error_analysis

    found = error_analysis.read(artifact.path)
    if found is not None:
        page = artifact.path / error_analysis.PAGE
        text = page.read_text(encoding="utf-8") if request.output is not None else ""
        return ReportResult("evaluation", artifact.id, found, page, _written(workspace, request, found, text))
    if request.output is None:
        raise UsageError(
            f"evaluation {artifact.id} was made by an earlier asrctl, which wrote no report beside it",
            fix=f"say where it is to go: `asrctl report {artifact.id} --output report.html`",
        )
    from asrctl.commands.missing_analysis import analyzed

    split, found = analyzed(workspace, artifact, emit)
    text = error_analysis.page(found, split)
    return ReportResult("evaluation", artifact.id, found, None, _written(workspace, request, found, text))


def _written(workspace: Workspace, request: ReportRequest, found: Any, text: str) -> Optional[Path]:
    if request.output is None:
        return None
    output = report_files.meant(workspace, request.output, type(found), what="a report", replace=request.force)
    with output.written() as temporary:
        if output.path.suffix == ".json":
            files.write_json(temporary, records.as_dict(found))
        else:
            files.write_text(temporary, text)
    return output.path
