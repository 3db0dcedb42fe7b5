"""The `asrctl` program: every command, and what happens when the command line makes no sense.

Commands are loaded when they are named. `asrctl --help` loads none, so that it answers like a shell tool.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Iterator, List, Optional, Sequence

import typer

from asrctl import __version__, errors
from asrctl.cli import apart
from asrctl.cli.encoding import begin_well
from asrctl.cli.progress import Display
from asrctl.cli.report import Output, Report, guard
from asrctl.cli.signals import interruptible
from asrctl.cli.usage import COMPLAINT, HELP_NAMES, Group, build, ordered, usage_error
from asrctl.runtime import telemetry, threads

# name -> (module under asrctl.cli, the first sentence of its help); in the order in which people need them.
COMMANDS = {
    "demo": ("demo", "Make a small spoken corpus and run every stage on it, in minutes."),
    "vocab": ("vocab", "Build the character vocabulary of a corpus, or check that of a checkpoint against it."),
    "prepare": ("prepare", "Turn a corpus into data that training reads: decoded, checked, in shards."),
    "audit": ("audit", "Look for what is in two splits, and for utterances unlike the others."),
    "plan": ("plan", "Show what an IPU would do with a preset: placement, pipeline, memory, padding."),
    "train": ("train", "Fine-tune a model on prepared data, or train a small one from scratch."),
    "compile": ("compile", "Compile a preset for the IPU ahead of training, on a machine without one."),
    "eval": ("evaluate", "Transcribe a split and count the errors."),
    "align": ("align", "Find out when each utterance of a text is said in a recording of any length."),
    "transcribe": ("transcribe", "Write down what is said in recordings of any length."),
    "compare": ("compare", "Compare two evaluations of the same utterances: which differ, and whether that is chance."),
    "report": ("pages", "Show a run or an evaluation as a page: charts, groups, errors, players."),
    "lm": ("language_model", "Estimate an n-gram language model from transcripts and texts, for eval --lm."),
    "export": ("export", "Write a trained model for use elsewhere, verified on real utterances."),
    "slurm": (
        "slurm",
        "Print a job script for Slurm: train or prepare, stopped in time, queued again and gone on with.",
    ),
    "presets": ("presets", "List, show, check, copy, suggest and import presets."),
    "support": (
        "support",
        "Show which models go through which stages, engines, exports and devices, as the tests found it.",
    ),
    "status": ("status", "Show what is done, what is stale, and what to type next."),
    "clean": ("clean", "Show what can be deleted, and delete it with --yes."),
    "doctor": ("doctor", "Check this machine: Python, libraries, devices, codecs, disk."),
}
# Those that are followed by the name of another one.
GROUPS = ("presets",)


def load(name: str) -> Any:
    """The Click command called `name`; its module is imported now.

    A module has the function `command` and its examples; or `app` with several of them; or `build`, which puts one
    together.
    """
    module = importlib.import_module(f"asrctl.cli.{COMMANDS[name][0]}")
    if hasattr(module, "build"):
        command = module.build(name)
    elif hasattr(module, "app"):
        command = typer.main.get_command(module.app)
    else:
        command = build(name, module.command, module.EPILOG)
    command.name = name
    return command


def _all_commands() -> Iterator[Any]:
    """Every command that takes options, named as it is typed."""
    for name in COMMANDS:
        command = load(name)
        if name not in GROUPS:
            yield command
            continue
        for inner in command.commands.values():
            inner.name = f"{name} {inner.name}"
            yield inner


class Commands(Group):
    """The group of all commands, each loaded when it is asked for."""

    def list_commands(self, ctx: Any) -> List[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Optional[Any]:
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Without loading any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])


app = typer.Typer(
    name="asrctl",
    cls=Commands,
    help="Fine-tune CTC speech recognizers from the command line: vocab, prepare, train, eval, export.",
    epilog="`asrctl COMMAND --help` explains a command and ends with examples. --workspace, --json and --verbose may "
    "stand before or after its name. New here? Type `asrctl demo`.",
    context_settings=HELP_NAMES,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"asrctl {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the program. Raises SystemExit with an exit code of errors.py."""
    if arguments is None:
        begin_well()
    _open_missing_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    output = Output("--json" in words, "--verbose" in words)
    command = next((word for word in words if word in COMMANDS), None)
    threads.set_environment()
    telemetry.switch_off()
    report = Report(command, output, sys.stdout, Display(output.verbose))
    with guard(report):
        ending = apart.begin(words) if arguments is None else apart.Ending()
    try:
        with interruptible(), guard(report):
            raise SystemExit(_run(words or ["--help"]))
    except SystemExit as leaving:
        ending.tell(leaving.code if isinstance(leaving.code, int) else 1)
        raise
    except MemoryError:  # not even for the sentence that says so
        ending.leave_to_parent()
        raise


def _open_missing_streams() -> None:
    """Started with stdout or stderr closed (`>&-`), Python has none, and the next file opened would take its number."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends


def _command(words: List[str]) -> Any:
    """What a command gives back. The group is left out where it need not be: its own options load more libraries."""
    if words[0] in COMMANDS:
        return load(words[0]).main(words[1:], prog_name=f"asrctl {words[0]}", standalone_mode=False)
    return typer.main.get_command(app).main(words, prog_name="asrctl", standalone_mode=False)


def _run(typed: Sequence[str]) -> int:
    words = ordered(typed, groups=GROUPS)
    sys.argv[1:] = words  # what records keep, and messages print again
    try:
        code = _command(words)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except COMPLAINT as complaint:
        raise usage_error(complaint, words, list(_all_commands())) from None
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # Click makes an exit code of its own of a reader who left
            raise leaving.__context__ from None
        raise
    if code == errors.EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else errors.EXIT_OK
