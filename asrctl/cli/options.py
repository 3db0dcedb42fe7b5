"""Options that several commands share, so that they are named and explained once."""

from __future__ import annotations

from pathlib import Path

import typer

from asrctl.workspace import DEFAULT_ROOT

WORKSPACE = typer.Option(
    Path(DEFAULT_ROOT), "--workspace", "-w", envvar="ASRCTL_WORKSPACE", help="Folder that keeps every result."
)
JSON = typer.Option(False, "--json", help="Print exactly one JSON document on stdout.")
VERBOSE = typer.Option(False, "--verbose", "-v", help="Say more on stderr.")
DRY_RUN = typer.Option(False, "--dry-run", help="Show what would be done, then stop.")
FORCE = typer.Option(False, "--force", help="Do it again even where the result is there.")
WORKERS = typer.Option(None, "--workers", min=1, help="Threads; default: the number of cores.")
PRESET = typer.Option(None, "--preset", "-p", help="Name of a preset, or a YAML file. See `asrctl presets list`.")
SET = typer.Option([], "--set", metavar="KEY=VALUE", help="Override one key of the preset. Repeatable.")


def examples(*lines: str) -> str:
    """The end of a command's help: runnable examples, one a line."""
    return "\b\nExamples:\n" + "\n".join(f"  $ {line}" for line in lines)
