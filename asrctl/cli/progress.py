"""Events on stderr: a bar with time left on a terminal, plain periodic lines elsewhere."""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from typing import Any, Dict, Mapping, Optional, TextIO, Tuple

from asrctl import errors, events
from asrctl.storage.redact import redact

PLAIN_INTERVAL_S = 15.0


def make_display(*, verbose: bool, plain: bool) -> "Display":
    """Bars where stderr is a terminal, unless `plain`."""
    return TerminalDisplay(verbose) if sys.stderr.isatty() and not plain else Display(verbose)


def silence(stream: TextIO) -> None:
    """Send what is still written to `stream`, and what its buffer holds, to /dev/null."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def describe(values: Mapping[str, Any]) -> str:
    """{"loss": 1.23456} -> "loss 1.235"."""
    parts = []
    for name, value in values.items():
        parts.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
    return "  ".join(parts)


def _shown(event: events.StepDone) -> Mapping[str, Any]:
    """The values of a step; warm-up begins at a learning rate of 0, which looks like a mistake."""
    is_start = event.step == 1 and event.values.get("lr") == 0
    return dict(event.values, lr="0 (warm-up)") if is_start else event.values


def amount(done: float, total: Optional[float], unit: str) -> str:
    """(120, 500, "utterances") -> "120 of 500 utterances"."""
    text = _number(done) if total is None else f"{_number(done)} of {_number(total)}"
    if (done if total is None else total) == 1 and len(unit) > 1:
        unit = unit[: -len("s")] if unit.endswith("s") else unit
    return f"{text} {unit}".rstrip()


def _share(done: float, total: Optional[float]) -> str:
    return _number(done) if total is None else f"{_number(done)}/{_number(total)}"


def clock(seconds: float) -> str:
    """3725 -> "1:02:05"; 65 -> "1:05"."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.1f}"


# Characters that move the cursor, change a terminal's settings or turn the direction of writing.
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """`text` with control characters spelled out: names and transcripts come from strangers."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


class Display:
    """Plain lines, for pipes and logs: the first and the last of a task, and one every 15 seconds between."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self._shown_at: Dict[str, float] = {}
        self._began: Dict[str, Tuple[float, float]] = {}
        self._finished: Dict[str, bool] = {}

    def show(self, event: events.Event) -> None:
        if isinstance(event, events.Note):
            self.line(event.message)
        elif isinstance(event, events.Warned):
            self.line(f"warning: {event.message}")
        elif isinstance(event, events.Progress):
            self.progress(event.task, event.done, event.total, event.unit, event.detail)
        elif isinstance(event, events.StepDone):
            self.progress("train", event.step, event.total, "steps", describe(_shown(event)))
        elif isinstance(event, events.Evaluated):
            best = "  (best so far)" if event.best else ""
            self.line(f"step {event.step}: evaluation  {describe(event.values)}{best}")
        elif isinstance(event, events.CheckpointSaved) and self.verbose:
            self.line(f"step {event.step}: checkpoint {event.path}")

    def progress(self, task: str, done: float, total: Optional[float], unit: str, detail: str) -> None:
        now = time.monotonic()
        began_s, began_at = self._began.setdefault(task, (now, done))
        finished = total is not None and done >= total
        if finished:
            self._began.pop(task)  # evaluations of a training begin again and again
        if self._is_due(task, now, finished):
            left = self._time_left(now - began_s, done - began_at, total - done) if total and not finished else ""
            self.line("  ".join(part for part in (f"{task}: {amount(done, total, unit)}", detail, left) if part))

    def line(self, text: str) -> None:
        try:
            sys.stderr.write(visible(redact(text)) + "\n")
            sys.stderr.flush()
        except OSError:
            # Whoever read along has gone (`2>&1 | head`), or the log's disk is full. The work goes on: nobody is to
            # lose a night's training so.
            silence(sys.stderr)

    def error(self, error: errors.AsrctlError) -> None:
        # At once: memory may be so short that there is none for a second line.
        self.line(
            "\n".join([f"error: {error.message}", *(f"  - {line}" for line in error.problems), f"fix: {error.fix}"])
        )

    def traceback(self) -> None:
        self.line(traceback.format_exc())

    def close(self) -> None:
        """Remove the progress bars from the terminal."""

    def _is_due(self, task: str, now: float, finished: bool) -> bool:
        if finished:
            due = not self._finished.get(task, False)
        else:
            due = now - self._shown_at.get(task, now - PLAIN_INTERVAL_S) >= PLAIN_INTERVAL_S
        if due:
            self._shown_at[task], self._finished[task] = now, finished
        return due

    @staticmethod
    def _time_left(elapsed_s: float, done: float, left: float) -> str:
        return f"{clock(elapsed_s * left / done)} left" if done > 0 and elapsed_s > 1 else ""


class TerminalDisplay(Display):
    """A bar per task, with time left; lines scroll above it."""

    def __init__(self, verbose: bool) -> None:
        super().__init__(verbose)
        self._console: Optional[Any] = None
        self._bars: Optional[Any] = None
        self._tasks: Dict[str, Any] = {}

    def progress(self, task: str, done: float, total: Optional[float], unit: str, detail: str) -> None:
        if self._bars is None:
            self._bars, self._tasks = self._start(), {}
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(task, total=total, amount="", detail="")
        # Without the unit: in 80 columns it would squeeze the details out.
        self._bars.update(self._tasks[task], completed=done, total=total, amount=_share(done, total), detail=detail)

    def line(self, text: str) -> None:
        if self._bars is None and not text.startswith(("warning:", "error:")):
            super().line(text)
            return
        style = "yellow" if text.startswith("warning:") else "bold red" if text.startswith("error:") else None
        first, *rest = visible(redact(text)).splitlines() or [""]
        for shown, how in ((first, style), *((other, None) for other in rest)):
            self._open_console().print(shown, style=how, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _open_console(self) -> Any:
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
        return self._console

    def _start(self) -> Any:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[amount]}", markup=False, table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True),
            TextColumn(
                "{task.fields[detail]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
            ),
        )
        bars = Progress(*columns, console=self._open_console(), expand=True)
        bars.start()
        return bars
