"""Events on stderr: a bar with time left on a terminal, plain periodic lines elsewhere."""

from __future__ import annotations

import sys
import time
import traceback
from typing import Any, Dict, Optional

from asrctl import errors, events

PLAIN_INTERVAL_S = 15.0


def make_display(*, verbose: bool) -> "Display":
    return TerminalDisplay(verbose) if sys.stderr.isatty() else Display(verbose)


def describe(values: Any) -> str:
    """{"loss": 1.23456} -> "loss 1.235"."""
    parts = []
    for name, value in values.items():
        parts.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
    return "  ".join(parts)


class Display:
    """Plain lines, for pipes and logs."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self._last: Dict[str, float] = {}

    def show(self, event: events.Event) -> None:
        if isinstance(event, events.Note):
            self.line(event.message)
        elif isinstance(event, events.Warned):
            self.line(f"warning: {event.message}")
        elif isinstance(event, events.Progress):
            self.progress(event)
        elif isinstance(event, events.StepDone):
            self.step(event)
        elif isinstance(event, events.Evaluated):
            best = "  (best so far)" if event.best else ""
            self.line(f"step {event.step}: evaluation  {describe(event.values)}{best}")
        elif isinstance(event, events.CheckpointSaved) and self.verbose:
            self.line(f"step {event.step}: checkpoint {event.path}")

    def progress(self, event: events.Progress) -> None:
        finished = event.total is not None and event.done >= event.total
        if self._due(event.task, finished):
            total = f" of {event.total:g}" if event.total is not None else ""
            self.line(f"{event.task}: {event.done:g}{total} {event.unit} {event.detail}".rstrip())

    def step(self, event: events.StepDone) -> None:
        if self._due("train", event.step >= event.total):
            self.line(f"step {event.step} of {event.total}  {describe(event.values)}")

    def line(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def error(self, error: errors.AsrctlError) -> None:
        self.line(f"error: {error.message}")
        for problem in error.problems:
            self.line(f"  - {problem}")
        self.line(f"fix: {error.fix}")

    def traceback(self) -> None:
        self.line(traceback.format_exc())

    def close(self) -> None:
        """Take down what is drawn."""

    def _due(self, task: str, finished: bool) -> bool:
        now = time.monotonic()
        if not finished and now - self._last.get(task, now - PLAIN_INTERVAL_S - 1) < PLAIN_INTERVAL_S:
            return False
        self._last[task] = now
        return True


class TerminalDisplay(Display):
    """A bar per task, with time left; lines scroll above it."""

    def __init__(self, verbose: bool) -> None:
        super().__init__(verbose)
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self._bars: Optional[Any] = None
        self._tasks: Dict[str, Any] = {}

    def progress(self, event: events.Progress) -> None:
        detail = f"{event.unit} {event.detail}".strip()
        self._update(event.task, event.done, event.total, detail)

    def step(self, event: events.StepDone) -> None:
        self._update("train", event.step, event.total, describe(event.values))

    def line(self, text: str) -> None:
        style = "yellow" if text.startswith("warning:") else "bold red" if text.startswith("error:") else None
        self.console.print(text, style=style, markup=False, soft_wrap=True)

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _update(self, task: str, done: float, total: Optional[float], detail: str) -> None:
        if self._bars is None:
            self._bars = self._start()
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(task, total=total, detail=detail)
        self._bars.update(self._tasks[task], completed=done, total=total, detail=detail)

    def _start(self) -> Any:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        bars = Progress(*columns, console=self.console)
        bars.start()
        return bars
