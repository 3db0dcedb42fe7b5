"""`asrctl audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import typer

from asrctl.cli import options
from asrctl.cli.report import Output, hanging, session
from asrctl.messages import amounts
from asrctl.storage import files

if TYPE_CHECKING:
    from asrctl.commands.audit import AuditResult
    from asrctl.data.audit.report import AuditReport, KindReport

EPILOG = options.examples(
    "asrctl audit",
    "asrctl audit librispeech --strict",
    "asrctl audit my-recordings --output report.html",
    "asrctl audit my-recordings --run first",
)
_NAME_WIDTH, _DOUBTS_SHOWN = 14, 5


def command(
    data: Optional[str] = typer.Argument(
        None, metavar="DATA", help="Prepared data; default: the run's, or the latest."
    ),
    run: Optional[str] = options.run_name("--run", "Ask the model of this run which texts it does not hear."),
    strict: bool = typer.Option(False, "--strict", help="Exit with 8 where anything is found."),
    output: Optional[Path] = typer.Option(
        None,
        "--output",
        "-o",
        metavar="FILE",
        parser=files.expanded,
        help="Write the report there too: FILE.html with players, or FILE.json.",
    ),
    device: str = options.DEVICE,
    workers: Optional[int] = options.WORKERS,
    force: bool = options.FORCE,
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Look for what is in two splits, and for utterances unlike the others.

    The same sentence, audio or speaker in training and test; too much or too little text, silence, odd levels,
    clipping, narrow bands, letters of another script. Nothing is changed: look, mend the corpus, prepare it again.
    """
    with session("audit", Output(json, verbose, workspace)) as report:
        from asrctl.commands.audit import AuditRequest, audit, check_strict
        from asrctl.storage.workspace import Workspace

        request = AuditRequest(data, run, device, output, workers, force)
        result = audit(Workspace(workspace), request, report.emit)
        report.done(result.as_dict(), result_lines(result))
        if strict:
            check_strict(result)


def result_lines(result: "AuditResult") -> List[str]:
    """Each kind with an example and what to do, then what is no fault, and where all of it stands."""
    found = result.report
    lines: List[str] = []
    for kind in found.kinds:
        lines += kind_lines(kind)
    lines += doubt_lines(found)
    lines += [line for fact in found.facts for line in hanging("also: ", fact)]
    total = sum(split.utterances for split in found.splits.values())
    count = amounts.count(found.findings, "finding") if found.findings else "nothing odd"
    lines.append(f"{count} in {amounts.count(total, 'utterance')} of {found.data}")
    return [*lines, f"report: {result.output or result.page}"]


def kind_lines(kind: "KindReport") -> List[str]:
    where = ", ".join(f"{name} {count}" for name, count in kind.splits.items())
    first = kind.findings[0]
    lead = " " * (_NAME_WIDTH + 2)
    return [
        f"{kind.kind.ljust(_NAME_WIDTH)}  {kind.count} ({where})",
        *hanging(lead, f"such as {first['id']}: {first['detail']}"),
        *hanging(lead, kind.advice),
    ]


def doubt_lines(found: "AuditReport") -> List[str]:
    """What the model doubts most, with what it heard."""
    if not found.ranking:
        return []
    lines = [f"most in doubt by run {found.run}, in nats per character:"]
    for one in found.ranking[:_DOUBTS_SHOWN]:
        lead = f"  {one['score']:6.2f}  "
        lines.append(f"{lead}{one['id']} ({one['split']})")
        lines += hanging(" " * len(lead) + "text   ", one["text"])
        lines += hanging(" " * len(lead) + "heard  ", one["heard"] or "(nothing)")
    return lines
