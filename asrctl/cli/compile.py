"""`asrctl compile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import typer

from asrctl.cli import options
from asrctl.cli.report import Output, session
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.commands.compile import CompileResult

EPILOG = options.examples(
    "asrctl compile --preset base-4ipu",
    "asrctl compile --preset base-4ipu --set ipu.pod=16",
    "asrctl compile --preset base-4ipu --device ipu-emulated",
)


def command(
    preset: Optional[str] = options.PRESET,
    data: Optional[str] = typer.Option(None, "--data", help="Name of the prepared data; default: the latest."),
    device: str = typer.Option("ipu", "--device", help="ipu or ipu-emulated."),
    overrides: List[str] = options.SET,
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Compile a preset for the IPU ahead of training, on a machine without one."""
    with session("compile", Output(json, verbose, workspace)) as report:
        from asrctl.commands.compile import CompileRequest, compile_executables
        from asrctl.storage.workspace import Workspace

        place = Workspace(workspace)
        request = CompileRequest(preset, data, device, tuple(overrides))
        result = compile_executables(place, request, report.emit)
        words = ["--preset", result.typed, "--device", "ipu-emulated" if result.emulated else "ipu"]
        words += ["--data", data] if data is not None else []
        words += [word for override in overrides for word in ("--set", override)]
        report.done(result.as_dict(), result_lines(result, place.command("train", *words)))


def result_lines(result: "CompileResult", following: str) -> List[str]:
    """What was compiled, where it lies, and what to type next."""
    emulated = " (emulated: a record of what would be compiled)" if result.emulated else ""
    count = len(result.executables)
    found = (
        f"{amounts.count(count, 'executable')} compiled{emulated}"
        if count
        else "nothing to compile: all executables are there"
    )
    return [
        f"{found}, in {result.cache}",
        f"next: {following}",
    ]
