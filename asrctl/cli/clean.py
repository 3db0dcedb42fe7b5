"""`asrctl clean`: what in the workspace can go."""

from __future__ import annotations

from pathlib import Path
from typing import List, Mapping, Optional

import typer

from asrctl.cli import options
from asrctl.cli.report import Output, session, table
from asrctl.messages import amounts, suggestions

EPILOG = options.examples("asrctl clean", "asrctl clean --yes", "asrctl clean cache checkpoints --yes")


def command(
    what: Optional[List[str]] = typer.Argument(
        None, metavar="WHAT", help="cache, unfinished, unreferenced, checkpoints; default: all of them."
    ),
    yes: bool = typer.Option(False, "--yes", help="Delete it."),
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Show what can be deleted, and delete it with --yes.

    cache: made again when needed. unfinished: what stopped builds left (`prepare` would have continued there).
    unreferenced: data and vocabularies that no name or run uses. checkpoints: of complete runs, all but the last
    one that is whole; the best model is kept elsewhere. Nothing that a running asrctl may be using is touched.
    """
    with session("clean", Output(json, verbose, workspace)) as report:
        from asrctl.commands.clean import WHAT, clean, plan
        from asrctl.errors import UsageError
        from asrctl.storage.workspace import Workspace

        wrong = [name for name in what or () if name not in WHAT]
        if wrong:
            raise UsageError(f"{wrong[0]!r} is nothing that can be cleaned", fix=suggestions.one_of(wrong[0], WHAT))
        place = Workspace(workspace)
        found = plan(place, tuple(what or WHAT))
        if found.held:
            report.note(f"in use by another asrctl, so left alone: {', '.join(found.held)}")
        for folder, strangers in found.kept.items():
            report.warn(f"{folder} stays: asrctl did not write {strangers[0]} in it")
        freed = clean(place, found.removable, report.emit) if yes else 0
        rows = [
            (item.what, amounts.size(item.bytes), item.path.relative_to(workspace), item.reason)
            for item in found.removable
        ]
        by_kind = _by_kind(found.by_kind)
        if yes:
            end = f"freed {amounts.size(freed)}{by_kind if freed == found.bytes else ''}"
        elif rows:
            command = place.command("clean", *(what or ()), "--yes")
            end = f"{amounts.size(found.bytes)} can go{by_kind}; `{command}` deletes it"
        else:
            end = f"nothing to clean in {workspace}"
        result = {
            "removable": [item.as_dict() for item in found.removable],
            "bytes": found.bytes,
            "bytes_by_kind": found.by_kind,
            "deleted": yes,
            "freed_bytes": freed,
            "held": list(found.held),
            "kept": {str(folder): list(strangers) for folder, strangers in found.kept.items()},
        }
        report.done(result, lines=[*table(rows), end])


def _by_kind(sizes: Mapping[str, int]) -> str:
    """ " (checkpoints 1.1 GB, cache 200 MB)", the largest first; nothing where all is of one kind."""
    ordered = sorted(sizes.items(), key=lambda item: -item[1])
    return f" ({', '.join(f'{kind} {amounts.size(count)}' for kind, count in ordered)})" if len(ordered) > 1 else ""
