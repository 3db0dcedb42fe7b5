"""What a command shows: results on stdout, everything else on stderr, exactly one JSON document with --json.

    with session("prepare", output) as report:
        result = stage(..., emit=report.emit)
        report.done(result.as_dict(), lines=[...])
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence

from asrctl import errors, events
from asrctl.cli.progress import Display, make_display

SCHEMA = 1


@dataclass(frozen=True)
class Output:
    """How a command talks: --json and --verbose."""

    json: bool = False
    verbose: bool = False


@dataclass
class Report:
    """What one command says; `done` is called once."""

    command: str
    output: Output
    display: Display
    result: Optional[Dict[str, Any]] = None
    lines: Sequence[Any] = field(default_factory=tuple)

    def emit(self, event: events.Event) -> None:
        self.display.show(event)

    def note(self, message: str) -> None:
        self.display.show(events.Note(message))

    def done(self, result: Mapping[str, Any], lines: Sequence[Any] = ()) -> None:
        """The result: `result` for --json, `lines` (strings or rich renderables) for people."""
        self.result, self.lines = dict(result), lines


@contextmanager
def session(command: str, output: Output) -> Iterator[Report]:
    """Run a command's body; on the way out print its result or its error, and leave with the right exit code."""
    report = Report(command, output, make_display(verbose=output.verbose))
    try:
        yield report
    except errors.AsrctlError as error:
        report.display.close()
        _fail(report, error)
    except OSError as error:
        report.display.close()
        if isinstance(error, BrokenPipeError):
            _leave_broken_pipe()
        if output.verbose:
            report.display.traceback()
        _fail(report, errors.from_os_error(error))
    except KeyboardInterrupt:
        report.display.close()
        _fail(report, errors.Interrupted("interrupted", fix="run the same command again to go on where it stopped"))
    else:
        report.display.close()
        _succeed(report)


def _succeed(report: Report) -> None:
    if report.output.json:
        _write({"schema": SCHEMA, "command": report.command, "ok": True, "result": report.result or {}})
        return
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    for line in report.lines:
        console.print(line, markup=False) if isinstance(line, str) else console.print(line)


def _fail(report: Report, error: errors.AsrctlError) -> None:
    if report.output.json:
        # A quality gate has a result too: CI wants both the number and the verdict.
        document = {"schema": SCHEMA, "command": report.command, "ok": False, "error": error.as_dict()}
        if report.result is not None:
            document["result"] = report.result
        _write(document)
    elif report.lines and report.result is not None:
        _succeed(report)
    report.display.error(error)
    raise SystemExit(error.exit_code)


def _write(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def _leave_broken_pipe() -> None:
    # Whoever read our output has gone; point stdout elsewhere so that the interpreter's flush at exit stays quiet.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(errors.EXIT_OK)
