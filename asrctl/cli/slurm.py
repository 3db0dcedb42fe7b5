"""`asrctl slurm`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional

import typer

from asrctl.cli import numbers, options
from asrctl.cli.report import Output, session
from asrctl.cli.usage import COMPLAINT, usage_error

EPILOG = options.examples(
    "asrctl slurm --preset base-100h --gpus 4 > train.sbatch",
    "asrctl slurm --nodes 2 --gpus 8 --partition gpu -- train --preset base-100h --data librispeech --run first",
    "asrctl slurm --shards 16 --time 4:00:00 -- prepare folder /data/speech --name speech > prepare.sbatch",
)


def _count(option: str, help: str, default: Optional[int], low: int, high: int) -> Any:
    return numbers.option(
        option, "a whole number", example="2", metavar="N", low=low, high=high, whole=True, default=default, help=help
    )


_NODES = _count("--nodes", "Machines that train together.", 1, 1, 1024)
_GPUS = _count("--gpus", "GPUs of each machine; 0: train on its processors; default: 1.", None, 0, 64)
_CPUS = _count("--cpus", "Processor cores of each machine.", 8, 1, 1024)
_SHARDS = _count("--shards", "Jobs that share `prepare`; default: 16.", None, 1, 10_000)


def command(
    words: Optional[List[str]] = typer.Argument(
        None, metavar="-- COMMAND", help="`train ...` or `prepare ...`, as you would type it; default: train."
    ),
    preset: Optional[str] = options.PRESET,
    nodes: int = _NODES,
    gpus: Optional[int] = _GPUS,
    cpus: int = _CPUS,
    mem: Optional[str] = typer.Option(None, "--mem", metavar="SIZE", help="Memory of each machine, such as 64G."),
    time: str = typer.Option(
        "24:00:00", "--time", metavar="TIME", help="How long a job may take before it is requeued."
    ),
    partition: Optional[str] = typer.Option(None, "--partition", metavar="NAME", help="Where it is queued."),
    account: Optional[str] = typer.Option(None, "--account", metavar="NAME", help="Who pays."),
    shards: Optional[int] = _SHARDS,
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Print a job script for Slurm: train or prepare, stopped in time, queued again and gone on with."""
    with session("slurm", Output(json, verbose, workspace)) as report:
        from asrctl.commands.slurm import SlurmRequest, script
        from asrctl.storage.workspace import Workspace

        meant = _command(words or [], preset)
        request = SlurmRequest(tuple(meant), nodes, gpus, cpus, mem, time, partition, account, shards)
        text = script(Workspace(workspace), request)
        report.done({"script": text}, text.rstrip("\n").split("\n"))


def _command(words: List[str], preset: Optional[str]) -> List[str]:
    """The words of a command, tried on its parser. Raises UsageError."""
    from asrctl.cli.app import COMMANDS, load
    from asrctl.errors import UsageError
    from asrctl.messages import suggestions

    words = words[1:] if words[:1] == ["asrctl"] else words
    if preset is not None and words:
        raise UsageError("--preset belongs to the command after --", fix="write it behind -- train")
    if not words and preset is None:
        raise UsageError("there is nothing to do", fix="name a preset with --preset, or a command after --")
    words = words or ["train", "--preset", str(preset)]
    if words[0] not in COMMANDS:
        raise UsageError(f"there is no command {words[0]!r}", fix=suggestions.one_of(words[0], list(COMMANDS)))
    if {"-h", "--help"} & set(words):
        raise UsageError("a job needs no help", fix=f"type `asrctl {words[0]} --help`")
    try:
        load(words[0]).make_context(f"asrctl {words[0]}", words[1:])
    except COMPLAINT as complaint:
        raise usage_error(complaint, ["asrctl", *words]) from None
    return words
