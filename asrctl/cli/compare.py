"""`asrctl compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import typer

from asrctl.cli import numbers, options
from asrctl.cli.report import Output, session, table
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.commands.compare import Comparison
    from asrctl.evaluation.comparison import Difference

EPILOG = options.examples(
    "asrctl compare base-4ipu base-4ipu-2",
    "asrctl compare base-4ipu base-4ipu-2 --by speaker --md",
    "asrctl compare 1f2e3d4c5b6a 6a5b4c3d2e1f --max-drop 0.5 --strict",
)
_SHOWN = 5
_MAX_DROP = numbers.option(
    "--max-drop",
    "a number of points",
    example="0.5",
    metavar="POINTS",
    low=0,
    high=100,
    help="By how many points of WER the second may be worse: 0.5 is half a percent.",
)


def _groups() -> "tuple[str, ...]":
    from asrctl.commands.compare import GROUPS

    return GROUPS


def command(
    a: str = typer.Argument(..., metavar="A", help="A run, an evaluation's ID, or a hypotheses.jsonl."),
    b: str = typer.Argument(..., metavar="B", help="Another one: the newer."),
    split: Optional[str] = typer.Option(None, "--split", help="Split of the runs' evaluations; default: eval."),
    by: List[str] = typer.Option([], "--by", metavar="GROUP", help="Also by speaker, duration or length. Repeatable."),
    max_drop: Optional[float] = _MAX_DROP,
    strict: bool = typer.Option(False, "--strict", help="Exit with 8 where --max-drop is exceeded beyond chance."),
    md: bool = typer.Option(False, "--md", help="Print Markdown, for a pull request."),
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Compare two evaluations of the same utterances: which differ, and whether that is chance."""
    with session("compare", Output(json, verbose, workspace)) as report:
        from asrctl.commands.compare import CompareRequest, check_gate, compare
        from asrctl.errors import UsageError
        from asrctl.messages import suggestions
        from asrctl.storage.workspace import Workspace

        for group in by:
            if group not in _groups():
                raise UsageError(f"there is no group {group!r}", fix=suggestions.one_of(group, _groups()))
        if strict and max_drop is None:
            raise UsageError("--strict needs a limit", fix="add `--max-drop POINTS`, such as 0.5")
        result = compare(Workspace(workspace), CompareRequest(a, b, split, tuple(by), max_drop), report.emit)
        report.done(result.as_dict(), markdown(result) if md else result_lines(result))
        if strict:
            check_gate(result)


def result_lines(result: "Comparison") -> List[str]:
    """Both rates, the difference with its interval, groups, and the utterances that changed most."""
    found = result.difference
    lines = [
        f"{amounts.count(found.utterances, 'utterance')}, {amounts.count(found.words, 'word')}",
        *table([_row("all", found)], header=_header(result)),
        "",
        verdict(result),
        f"{found.improved:,} better, {found.worsened:,} worse, "
        f"{found.utterances - found.improved - found.worsened:,} as before",
    ]
    for by, groups in result.groups.items():
        lines += ["", *table([_row(value, each) for value, each in groups.items()], header=(by, *_header(result)[1:]))]
    if result.turned:
        lines += ["", "changed most:"]
    for row in result.turned[:_SHOWN]:
        lines += [f"  {row.id}: {row.errors_a} -> {amounts.count(row.errors_b, 'error')}"]
        lines += [f"    ref  {row.reference}", f"    A    {row.a}", f"    B    {row.b}"]
    return lines


def verdict(result: "Comparison") -> str:
    """One sentence."""
    found, name = result.difference, result.b.name
    if found.interval is None or found.p is None:
        return "one utterance tells nothing of chance"
    if not found.is_significant:
        return f"no difference beyond chance (p = {found.p:.3f})"
    better = "better" if found.difference < 0 else "worse"
    return f"{name} is {better}, and that is hardly chance (p = {found.p:.3g})"


def _header(result: "Comparison") -> "tuple[str, ...]":
    return ("", f"A: {result.a.name}", f"B: {result.b.name}", "B - A", "95 % interval", "words")


def _row(name: str, found: "Difference") -> List[str]:
    bounds = "-"
    if found.interval is not None:
        bounds = f"{100 * found.interval[0]:+.2f} to {100 * found.interval[1]:+.2f}"
    rates = [f"{100 * found.wer_a:.2f} %", f"{100 * found.wer_b:.2f} %"]
    return [name, *rates, f"{100 * found.difference:+.2f}", bounds, f"{found.words:,}"]


def markdown(result: "Comparison") -> List[str]:
    """The same as tables that GitHub and GitLab show."""
    found = result.difference
    lines = ["| " + " | ".join(map(_escaped, _header(result))) + " |", "| --- " * 6 + "|"]
    rows = [_row("all", found)]
    for by, groups in result.groups.items():
        rows += [_row(f"{by} {value}", each) for value, each in groups.items()]
    lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in rows]
    lines += ["", f"{verdict(result)[:1].upper()}{verdict(result)[1:]}. {found.improved:,} utterances better, "]
    lines[-1] += f"{found.worsened:,} worse of {found.utterances:,}."
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
