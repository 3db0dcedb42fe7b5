"""What a command shows: results on stdout, everything else on stderr, exactly one JSON document with --json.

with session("prepare", Output(json, verbose, workspace)) as report:
    result = stage(..., emit=report.emit)
    report.done(result.as_dict(), lines=[...])
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NoReturn, Optional, Sequence, TextIO

from asrctl import errors, events
from asrctl.cli.encoding import is_utf8, unknown_letters
from asrctl.cli.progress import Display, make_display, silence, visible
from asrctl.messages import command_lines
from asrctl.runtime import free_memory, memory
from asrctl.storage.redact import redact, redact_values

SCHEMA = 1


@dataclass(frozen=True)
class Output:
    """Output options: --json and --verbose. workspace: the one that printed commands name, if any."""

    json: bool = False
    verbose: bool = False
    workspace: Optional[Path] = None

    def placed(self, text: str) -> str:
        """A message whose commands name the workspace, where it is not the default."""
        return text if self.workspace is None else command_lines.placed(text, self.workspace)


@dataclass
class Report:
    """Collects and prints the output of one command. command: its name; None where the command line has none.

    elsewhere: gets an error, and says whether another process tells it.
    """

    command: Optional[str]
    output: Output
    stdout: TextIO
    display: Display
    result: Optional[Dict[str, Any]] = None
    lines: Sequence[Any] = field(default_factory=tuple)
    elsewhere: Optional[Callable[[errors.AsrctlError], bool]] = None

    def emit(self, event: events.Event) -> None:
        if isinstance(event, (events.Note, events.Warned)):
            event = type(event)(self.output.placed(event.message))
        self.display.show(event)

    def note(self, message: str) -> None:
        self.display.show(events.Note(message))

    def warn(self, message: str) -> None:
        self.display.show(events.Warned(message))

    def say(self, lines: Sequence[str], *, plain: bool) -> None:
        """Part of the result, on stdout at once. plain: text for people, in which control characters are spelled out;
        what programs read is written as it is."""
        encoding = self.stdout.encoding or "ascii"
        text = "".join(f"{visible(line) if plain else line}\n" for line in lines)
        self.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self.stdout.flush()

    def done(self, result: Mapping[str, Any], lines: Sequence[Any] = ()) -> None:
        """The result, once: `result` for --json, `lines` (strings or rich renderables) for people."""
        self.result, self.lines = dict(result), lines


@contextmanager
def session(command: str, output: Output) -> Iterator[Report]:
    """Run a command's body; on the way out print its result or its error, and leave with the right exit code.

    What libraries print while the body runs goes to stderr: stdout belongs to the result.
    """
    report = Report(command, output, sys.stdout, make_display(verbose=output.verbose, plain=output.json))
    with guard(report):
        with redirect_stdout(sys.stderr):
            yield report
        report.display.close()
        _show_result(report)


@contextmanager
def guard(report: Report) -> Iterator[None]:
    """Print any error raised inside as a sentence and a fix (as JSON with --json) and exit with its code."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as problem:
        report.display.close()
        if isinstance(problem, BrokenPipeError):
            _leave_quietly(report)
        if memory.ran_out(problem):
            problem.__traceback__ = None  # what its frames hold may be what is missing to tell it
        error = _as_error(problem)
        if error is None:
            _fail_as_bug(report, problem)
        elif report.output.verbose and not isinstance(problem, errors.AsrctlError):
            report.display.traceback()
        _fail(report, error)


def _as_error(problem: BaseException) -> Optional[errors.AsrctlError]:
    """What went wrong in the user's terms; None where it is a bug of ours."""
    if isinstance(problem, errors.AsrctlError):
        return problem
    if isinstance(problem, KeyboardInterrupt):
        return errors.Interrupted("interrupted", fix="run the same command again to go on where it stopped")
    if memory.ran_out(problem):
        return errors.DeviceError("out of memory", fix=_more_memory())
    # Calls on the system set errno; the few libraries that raise a bare OSError of their own do not.
    if isinstance(problem, OSError) and problem.errno is not None:
        return errors.from_os_error(problem)
    return unknown_letters(problem)


def _more_memory() -> str:
    first = f"raise the limit ({free_memory.limits()})" if free_memory.is_limited() else "close other programs"
    return f"{first}, or lower batch sizes and --workers"


def _show_result(report: Report) -> None:
    if report.output.json:
        _write_document(report, {"ok": True, "result": report.result or {}})
        return
    _write_lines(report)


def _write_lines(report: Report) -> None:
    text: List[str] = []
    for line in report.lines:
        text.append(visible(redact(line)) if isinstance(line, str) else _render(line, report.stdout))
    if text:
        encoding = report.stdout.encoding or "ascii"
        # A terminal of another alphabet shows what it can, as stderr does.
        report.stdout.write("\n".join(text).encode(encoding, "backslashreplace").decode(encoding) + "\n")
        report.stdout.flush()


def _render(renderable: Any, stdout: TextIO) -> str:
    from rich.console import Console

    console = Console(file=stdout, highlight=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().rstrip("\n")


def _fail(report: Report, error: errors.AsrctlError) -> NoReturn:
    """Say what is wrong and leave. What was found before it failed is shown too: a quality gate has a number."""
    if report.elsewhere is not None and report.elsewhere(error):
        raise SystemExit(error.exit_code)
    error.fix = report.output.placed(error.fix)
    error.problems = tuple(report.output.placed(problem) for problem in error.problems)
    try:
        if report.output.json:
            found = {} if report.result is None else {"result": report.result}
            _write_document(report, {"ok": False, "error": redact_values(error.as_dict()), **found})
        else:
            _write_lines(report)
    except OSError as lost:
        # stdout is gone or full; stderr and the exit code still tell.
        silence(report.stdout)
        if not isinstance(lost, BrokenPipeError):
            report.display.line("warning: the result could not be written to stdout")
    report.display.error(error)
    raise SystemExit(error.exit_code)


def _fail_as_bug(report: Report, problem: BaseException) -> NoReturn:
    report.display.traceback()
    sentence = f"a bug in asrctl: {type(problem).__name__}: {problem}"
    fix = "please report it, with the lines above and `asrctl doctor`"
    if report.elsewhere is not None and report.elsewhere(errors.Bug(sentence, fix=fix)):
        raise SystemExit(errors.EXIT_BUG)
    if report.output.json:
        error = redact_values(errors.Bug(sentence, fix=fix).as_dict())
        try:
            _write_document(report, {"ok": False, "error": error})
        except OSError:
            silence(report.stdout)
    report.display.line(f"error: {sentence}")
    report.display.line(f"fix: {fix}")
    raise SystemExit(errors.EXIT_BUG)


def _write_document(report: Report, body: Mapping[str, Any]) -> None:
    document = {"schema": SCHEMA, "command": report.command, **body}
    text = json.dumps(document, ensure_ascii=not is_utf8(report.stdout.encoding), allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # A file name that is no text: the escaped form means the same.
        text = json.dumps(document, ensure_ascii=True, allow_nan=False)
    report.stdout.write(text + "\n")
    report.stdout.flush()


def _leave_quietly(report: Report) -> None:
    # Whoever read our output has gone; point stdout elsewhere so that the interpreter's flush at exit stays quiet.
    silence(report.stdout)
    raise SystemExit(errors.EXIT_OK)


def outlook_lines(planned: Any) -> List[str]:
    """What a command would read and write (an asrctl.commands.dry_run.DryRun)."""
    lines = [f"would read {what}: {path}" for what, path in planned.reads.items()]
    kept = " (is there already; --force makes it again)" if planned.unchanged else ""
    first = next(iter(planned.writes), None)
    return lines + [
        f"would write {what}: {path}{kept if what == first else ''}" for what, path in planned.writes.items()
    ]


def table(rows: Sequence[Sequence[Any]], header: Sequence[str] = ()) -> List[str]:
    """Rows of cells -> lines with aligned columns; numbers to the right. The last column is not padded."""
    cells = [[str(cell) for cell in row] for row in ([header] if header else []) + list(rows)]
    if not cells:
        return []
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    numeric = [all(isinstance(row[column], (int, float)) for row in rows) for column in range(len(widths))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numeric)
        ]
        lines.append("  ".join(parts).rstrip())
    return lines


def hanging(lead: str, text: str) -> List[str]:
    """`lead` and then `text`, wrapped to the terminal's width and indented under its own beginning."""
    width = max(shutil.get_terminal_size().columns, len(lead) + 30)
    wrapper = textwrap.TextWrapper(width, initial_indent=lead, subsequent_indent=" " * len(lead))
    wrapper.break_long_words = wrapper.break_on_hyphens = False
    return wrapper.wrap(text)


def duration(seconds: float) -> str:
    """75 -> "75 s", 720 -> "12 min", 12000 -> "3.3 h"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"
