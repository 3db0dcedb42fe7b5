"""`asrctl report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import typer

from asrctl.cli import options
from asrctl.cli.report import Output, session
from asrctl.storage import files

if TYPE_CHECKING:
    from asrctl.commands.report import ReportResult

EPILOG = options.examples(
    "asrctl report",
    "asrctl report base-4ipu --output base.html",
    "asrctl report 1f2e3d4c5b6a --output errors.json",
)


def command(
    name: Optional[str] = typer.Argument(
        None, metavar="NAME", help="A run, or an evaluation's ID; default: the latest run."
    ),
    output: Optional[Path] = typer.Option(
        None,
        "--output",
        "-o",
        metavar="FILE",
        parser=files.expanded,
        help="Write it there too: FILE.html, or FILE.json with the numbers.",
    ),
    force: bool = typer.Option(False, "--force", help="Replace an earlier report of that name."),
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Show a run or an evaluation as a page: charts, groups, errors, players.

    Of a run: loss, error rate, learning rate, gradient norm and throughput, from its metrics log. One file, which needs
    nothing from elsewhere.
    """
    with session("report", Output(json, verbose, workspace)) as report:
        from asrctl.commands.report import ReportRequest
        from asrctl.commands.report import report as make
        from asrctl.storage.workspace import Workspace

        result = make(Workspace(workspace), ReportRequest(name, output, force), report.emit)
        report.done(result.as_dict(), result_lines(result))


def result_lines(result: "ReportResult") -> List[str]:
    """Where the page is."""
    what = f"{result.kind} {result.name}"
    return [f"{what}: {path}" for path in (result.page, result.output) if path is not None]
