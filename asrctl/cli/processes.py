"""`asrctl train` in several processes: what the one that was typed does, and what those do that torchrun starts."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Optional

from asrctl import errors
from asrctl.cli.progress import Display
from asrctl.cli.report import Report
from asrctl.errors import UsageError
from asrctl.messages import amounts
from asrctl.runtime import failures, launcher, ranks, signals

if TYPE_CHECKING:
    from asrctl.commands.run_training import TrainResult
    from asrctl.commands.train_request import TrainRequest
    from asrctl.storage.workspace import Workspace


class _Silent(Display):
    """Of a process that is not the main one."""

    def show(self, event: object) -> None:
        """Nothing: the main process tells the same."""


def count(asked: Optional[int]) -> int:
    """How many processes train together. asked: by --processes. Raises UsageError."""
    place = ranks.place()
    if place is None or asked in (None, place.size):
        return asked or (1 if place is None else place.size)
    raise UsageError(
        f"torchrun has started {amounts.count(place.size, 'process', 'processes')}, and --processes asks for {asked}",
        fix="leave out --processes",
    )


def train(workspace: "Workspace", request: "TrainRequest", report: Report) -> "TrainResult":
    """Train in one process, or in several. Where the main one is another process, this does not return."""
    from asrctl.commands import train as command

    place = ranks.place()
    if place is not None and place.size > 1:
        return _train_in(place, workspace, request, report)
    if request.processes == 1:
        return command.train(workspace, request, report.emit)
    command.device_of_several(request, request.processes)
    report.display.close()
    launcher.launch(sys.argv[1:], request.processes, "go on with `asrctl train --resume`")
    raise SystemExit(errors.EXIT_OK)  # the main process has shown what came of it


def _train_in(place: ranks.Place, workspace: "Workspace", request: "TrainRequest", report: Report) -> "TrainResult":
    from asrctl.commands import train as command

    known = failures.Failures(place.rank, report.display.error)
    report.elsewhere = known.leave
    launcher.report_in()
    signals.expect_echoes()
    if place.rank:
        report.display = _Silent(report.output.verbose)
        warnings.simplefilter("ignore")
    ranks.use_device(place, command.device_of_several(request, place.local_size))
    group = ranks.join(place, known)
    try:
        if place.rank == 0:
            return command.train(workspace, request, report.emit, group)
        command.help_to_train(workspace, request, group)
    finally:
        group.close()
    raise SystemExit(errors.EXIT_OK)
