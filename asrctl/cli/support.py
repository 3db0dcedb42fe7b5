"""`asrctl support`: which models go through which stages, as the tests found it."""

from __future__ import annotations

from pathlib import Path

from asrctl.cli import options
from asrctl.cli.report import Output, session, table

EPILOG = options.examples("asrctl support", "asrctl support --json")


def command(workspace: Path = options.WORKSPACE, json: bool = options.JSON, verbose: bool = options.VERBOSE) -> None:
    """Show which models go through which stages, engines, exports and devices, as the tests found it."""
    with session("support", Output(json, verbose, workspace)) as report:
        from asrctl.commands import support
        from asrctl.models import library

        found, installed = support.read(), library.version()
        head, rows = support.rows(found)
        lines = [*table(rows, head), f"installed: transformers {installed}"]
        report.done({**found.as_dict(), "installed": installed}, lines=lines)
