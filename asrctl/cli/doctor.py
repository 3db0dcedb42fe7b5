"""`asrctl doctor`: is this machine fit for the work?"""

from __future__ import annotations

from pathlib import Path

from asrctl.cli import options
from asrctl.cli.report import Output, hanging, session

EPILOG = options.examples("asrctl doctor", "asrctl doctor --json")


def command(workspace: Path = options.WORKSPACE, json: bool = options.JSON, verbose: bool = options.VERBOSE) -> None:
    """Check this machine: Python, libraries, devices, codecs, disk.

    Exit code 6 where something that every command needs is missing or broken.
    """
    with session("doctor", Output(json, verbose, workspace)) as report:
        from asrctl.commands.doctor import FAIL, doctor
        from asrctl.errors import DeviceError

        checks = doctor(workspace)
        lines = []
        for check in checks:
            lines.extend(hanging(f"{check.state:<5} {check.name:<13} ", check.found))
            if check.fix:
                lines.extend(hanging(" " * 20, f"fix: {check.fix}"))
        failed = [check for check in checks if check.state == FAIL]
        report.done({"checks": [check.as_dict() for check in checks], "failed": len(failed)}, lines=lines)
        if failed:
            raise DeviceError(
                "this machine is not ready: " + ", ".join(check.name for check in failed),
                fix=failed[0].fix or "see the lines above",
                problems=[f"{check.name}: {check.found}" for check in failed],
            )
