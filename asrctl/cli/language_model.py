"""`asrctl lm`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import typer

from asrctl.cli import numbers, options
from asrctl.cli.report import Output, session, table
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.commands.language_model import LanguageModelResult
    from asrctl.storage.workspace import Workspace

EPILOG = options.examples(
    "asrctl lm librispeech",
    "asrctl lm librispeech books.txt.gz --name books --order 4 --prune 0,0,1",
    "asrctl lm books.txt --output books.arpa",
)
_ORDER = numbers.option(
    "--order",
    "a whole number",
    example="3",
    metavar="N",
    low=1,
    high=6,
    default=3,
    whole=True,
    help="Longest n-grams, in words.",
)


def command(
    sources: List[str] = typer.Argument(
        ...,
        metavar="SOURCE",
        help="Names of prepared data, and text files with a sentence a line (.txt, .gz).",
    ),
    name: Optional[str] = typer.Option(None, "--name", help="What to call it; default: as the first source."),
    order: int = _ORDER,
    prune: Optional[str] = typer.Option(
        None,
        "--prune",
        metavar="COUNTS",
        help="Leave out n-grams seen no more often than this, by order: 0,0,1 drops 3-grams seen once.",
    ),
    data: Optional[str] = typer.Option(
        None, "--data", help="Prepared data whose text rules hold; default: the first source, or the latest."
    ),
    output: Optional[str] = typer.Option(None, "--output", metavar="FILE", help="Write an ARPA file (.arpa, .gz) too."),
    force: bool = options.FORCE,
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Estimate an n-gram language model from transcripts and texts, for eval --lm."""
    with session("lm", Output(json, verbose, workspace)) as report:
        from asrctl.commands.language_model import LanguageModelRequest, default_name, language_model
        from asrctl.storage.workspace import Workspace

        place = Workspace(workspace)
        request = LanguageModelRequest(
            tuple(sources), name or default_name(sources[0]), order, _counts(prune), data, _path(output), force
        )
        result = language_model(place, request, report.emit)
        report.done(result.as_dict(), result_lines(result, place))


def _path(output: Optional[str]) -> Optional[Path]:
    from asrctl.storage import files

    return None if output is None else files.expanded(output)


def _counts(prune: Optional[str]) -> "tuple[int, ...]":
    """0,0,1 -> (0, 0, 1). Raises UsageError."""
    from asrctl.errors import UsageError

    try:
        found = tuple(int(part) for part in (prune or "").replace(" ", ",").split(",") if part)
    except ValueError:
        found = (-1,)
    if any(count < 0 for count in found):
        raise UsageError(f"--prune {prune!r} is no list of counts", fix="write it like this: --prune 0,0,1")
    return found


def result_lines(result: "LanguageModelResult", place: "Workspace") -> List[str]:
    """What it holds, how well it knows the eval split, and what to type next."""
    found = result.summary
    rows = [[f"{order}-grams", f"{count:,}"] for order, count in enumerate(found.ngrams, 1)]
    lines = [
        f"{amounts.count(found.sentences, 'sentence')}, {found.tokens - found.sentences:,} words, "
        f"{found.words:,} of them different",
        *table(rows, header=("", "kept")),
    ]
    measured = found.measured
    if measured is not None:
        rate = 100 * measured.unknown / max(1, measured.words)
        surprise = "-" if measured.perplexity is None else f"{measured.perplexity:,.1f}"
        lines.append(
            f"on the eval split: perplexity {surprise}; it does not know {measured.unknown:,} of "
            f"{amounts.count(measured.words, 'word')} ({rate:.1f} %)"
        )
    if result.output is not None:
        lines.append(f"ARPA file: {result.output}")
    verb = "is made" if result.new else "was there already"
    lines.append(f"language model {result.name} {verb}: {result.path}")
    return [*lines, f"next: {place.command('eval', '--lm', result.name)}"]
