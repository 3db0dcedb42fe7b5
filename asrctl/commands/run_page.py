"""A run as a page: what its metrics log and its evaluations say."""

from __future__ import annotations

from pathlib import Path
from typing import List

from asrctl.errors import BadData
from asrctl.events import Emit, Warned
from asrctl.reports import run_page
from asrctl.storage import files
from asrctl.storage.workspace import Workspace
from asrctl.training import run_report
from asrctl.training.run_report import LaterEvaluation, RunReport
from asrctl.training.runs import Run


def collected(workspace: Workspace, run: Run) -> RunReport:
    """Raises BadData."""
    return run_report.report(run, _later(workspace, run.name))


def write(workspace: Workspace, run: Run) -> Path:
    """report.html in the run's folder. Raises BadData, OSError."""
    files.write_text(workspace.own(run.page), run_page.render(collected(workspace, run)))
    return run.page


def write_if_possible(workspace: Workspace, run: Run, emit: Emit) -> None:
    """The run matters more than its page."""
    try:
        write(workspace, run)
    except BadData as error:
        emit(Warned(f"{run.page} was not written: {error.message}"))
    except OSError as error:
        emit(Warned(f"{run.page} could not be written ({error.strerror})"))


def _later(workspace: Workspace, name: str) -> List[LaterEvaluation]:
    found = []
    for artifact in workspace.all("evals"):
        summary = artifact.summary
        if summary.get("run") == name and isinstance(summary.get("wer"), (int, float)):
            bounds = summary.get("wer_interval")
            found.append(
                LaterEvaluation(
                    artifact.id,
                    str(summary.get("split")),
                    str(summary.get("data")),
                    float(summary["wer"]),
                    int(summary.get("utterances") or 0),
                    tuple(bounds) if isinstance(bounds, list) else None,
                )
            )
    return found
