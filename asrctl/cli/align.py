"""`asrctl align`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import typer

from asrctl.cli import numbers, options
from asrctl.cli.report import Output, session
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.commands.align import AlignResult
    from asrctl.storage.workspace import Workspace

EPILOG = options.examples(
    "asrctl align chapter-1.mp3 chapter-1.txt",
    "asrctl align talk.wav talk.txt --output talk.jsonl --min-score -2",
    "asrctl align talk.wav talk.txt --format textgrid --output talk.TextGrid",
)
_WORST_SHOWN, _UNWRITTEN_SHOWN, _NOT_SAID_SHOWN = 5, 5, 5


def _ways() -> "tuple[str, ...]":
    from asrctl.alignment.sentences import BY

    return BY


def _forms() -> "tuple[str, ...]":
    from asrctl.alignment.files import FORMATS

    return tuple(FORMATS)


_BY = options.one_of("--by", "way", _ways, "Utterances of the text: auto, lines or sentences.", "auto")
_FORMAT = options.one_of(
    "--format", "format", _forms, "text, json, manifest, textgrid or ctm; default: as --output ends, else text."
)
_MIN_SCORE = numbers.option(
    "--min-score",
    "a number",
    example="-2",
    metavar="SCORE",
    low=-1000,
    high=0,
    help="Leave out utterances whose score is below, such as -2.",
)


def command(
    recording: str = typer.Argument(..., metavar="RECORDING", help="Speech, however long."),
    text: str = typer.Argument(..., metavar="TEXT", help="What is said in it, plain; - reads stdin."),
    run: Optional[str] = typer.Option(None, "--run", help="Name of the run; default: the latest with a model."),
    model: Optional[str] = typer.Option(None, "--model", metavar="DIR", help="A Hugging Face folder instead of a run."),
    by: str = _BY,
    min_score: Optional[float] = _MIN_SCORE,
    format: Optional[str] = _FORMAT,
    output: Optional[str] = typer.Option(None, "--output", metavar="FILE", help="Write a file instead of stdout."),
    precision: Optional[str] = options.PRECISION,
    device: str = options.DEVICE,
    force: bool = options.FORCE,
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Find out when each utterance of a text is said in a recording of any length."""
    with session("align", Output(json, verbose, workspace)) as report:
        from asrctl.commands.align import AlignRequest, align
        from asrctl.errors import UsageError
        from asrctl.storage import files
        from asrctl.storage.workspace import Workspace

        if json and format is not None and output is None:
            raise UsageError("--json prints the result itself", fix="add --output FILE for the other format")
        request = AlignRequest(
            recording,
            text,
            run,
            model,
            precision,
            device,
            by,
            format,
            None if output is None else files.expanded(output),
            min_score,
            force,
        )
        place = Workspace(workspace)
        result = align(place, request, report.emit)
        if result.output is None and format is not None:
            report.done(result.as_dict(), result.lines)
        else:
            report.done(
                result.as_dict(), [*(table_lines(result) if output is None else ()), *result_lines(result, place)]
            )


def table_lines(result: "AlignResult") -> List[str]:
    """Times, score and text of each utterance, and what of text and recording is not in the other."""
    from asrctl.alignment.files import rows
    from asrctl.cli.report import table

    width = max(40, shutil.get_terminal_size().columns - 26)
    cells = [[start, end, score, _cut(text, width)] for start, end, score, text in rows(result.found)]
    return [*table(cells, ("start", "end", "score", "text")), ""]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def result_lines(result: "AlignResult", place: "Workspace") -> List[str]:
    """How much was found, what was not, the worst, and what to type next."""
    found = result.found
    said = len(found.utterances) + len(found.low)
    total = said + len(found.not_said)
    speed = found.audio_s / result.seconds if result.seconds else 0.0
    what = f"{said:,} of {amounts.count(total, 'utterance')} found in {found.audio_s / 60:.1f} min"
    lines = [f"{what}, {speed:.0f} times real time"]
    if found.low:
        lines.append(f"left out by --min-score: {len(found.low):,}, the first in line {found.low[0].line}")
    if found.not_said:
        shown = ", ".join(str(sentence.line) for sentence in found.not_said[:_NOT_SAID_SHOWN])
        more = " ..." if len(found.not_said) > _NOT_SAID_SHOWN else ""
        lines.append(f"not said: {len(found.not_said):,} (lines {shown}{more})")
    if found.unwritten:
        seconds = sum(one.end_s - one.start_s for one in found.unwritten)
        stretches = amounts.count(len(found.unwritten), "stretch", "stretches")
        lines.append(f"not in the text: {stretches}, {seconds:.1f} s")
    if result.output is not None:
        worst = sorted(found.utterances, key=lambda one: one.score)[:_WORST_SHOWN]
        lines += ["lowest scores:"] if worst else []
        lines += [f"  {one.score:7.2f}  {one.start_s:.2f} s, line {one.line}: {_cut(one.text, 60)}" for one in worst]
        lines.append(f"written: {result.output}")
        if result.form == "manifest":
            lines.append(f"next: {place.command('prepare', 'manifest', str(result.output))}")
    return lines
