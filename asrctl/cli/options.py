"""Options that several commands share, so that they are named and explained once."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Callable, Sequence

import typer

from asrctl.cli import numbers
from asrctl.errors import UsageError
from asrctl.messages import suggestions
from asrctl.messages.command_lines import DEFAULT_ROOT, ROOT_VARIABLE
from asrctl.storage import files
from asrctl.storage.names import valid_name


def _workspace(name: str) -> Path:
    """`~` as the shell would read it: it does not in an environment variable of a CI file."""
    if not str(name):
        raise UsageError(
            "the name of the workspace's folder is empty", fix=f"name one with --workspace, or unset {ROOT_VARIABLE}"
        )
    return files.expanded(str(name))


WORKSPACE = typer.Option(
    Path(DEFAULT_ROOT),
    "--workspace",
    "-w",
    envvar=ROOT_VARIABLE,
    help="Folder that keeps every result.",
    parser=_workspace,
    metavar="FOLDER",
)
JSON = typer.Option(False, "--json", help="Print exactly one JSON document on stdout.")
VERBOSE = typer.Option(False, "--verbose", "-v", help="Say more on stderr.")
DRY_RUN = typer.Option(False, "--dry-run", help="Show what would be done, then stop.")
FORCE = typer.Option(False, "--force", help="Do it again even where the result is there.")
WORKERS = numbers.option(
    "--workers",
    "a whole number",
    example="4",
    metavar="N",
    low=1,
    high=1024,
    whole=True,
    help="Threads; default: the number of cores.",
)

TEMPERATURE = numbers.option(
    "--temperature",
    "a number",
    example="2",
    metavar="T",
    low=0.1,
    high=1000,
    help="Instead of weights: each part of a mixture is drawn as its size to the power of 1/T; 1: as large as it is.",
)


def one_of(option: str, what: str, choices: Callable[[], Sequence[str]], help: str, default: Any = None) -> Any:
    """An option that takes a word of a few: a typing error is told before anything is looked for.

    what: such as "device". choices: called when there is a word to check.
    """

    def known(word: str) -> str:
        if word not in choices():
            raise UsageError(f"there is no {what} {word!r}", fix=suggestions.one_of(word, choices()))
        return word

    return typer.Option(default, option, parser=known, metavar=what.upper(), help=help)


def run_name(option: str, help: str) -> Any:
    """An option that takes the name of a run."""
    return typer.Option(None, option, parser=lambda name: valid_name(name, "run name"), metavar="NAME", help=help)


def _devices() -> Sequence[str]:
    from asrctl.runtime import devices

    return devices.NAMES


def _precisions() -> Sequence[str]:
    from asrctl.runtime import devices

    return devices.PRECISIONS


DEVICE = one_of("--device", "device", _devices, "auto, cpu, cuda, mps, ipu or ipu-emulated.", "auto")


PRECISION = one_of(
    "--precision",
    "precision",
    _precisions,
    "fp32 (default), or bf16 (faster where the chip has it); on an IPU the run's.",
)
PRESET = typer.Option(None, "--preset", "-p", help="Name of a preset, or a YAML file. See `asrctl presets list`.")
SET = typer.Option([], "--set", metavar="KEY=VALUE", help="Override one key of the preset. Repeatable.")


# Help has 80 columns; the indentation and the continuation mark take the rest.
_EXAMPLE_WIDTH = 70


def examples(*lines: str) -> str:
    """The end of a command's help: runnable examples, long ones continued on the next line as a shell reads them."""
    wrapped = (textwrap.wrap(line, _EXAMPLE_WIDTH, break_long_words=False, break_on_hyphens=False) for line in lines)
    return "\b\nExamples:\n" + "\n".join("  $ " + " \\\n      ".join(parts) for parts in wrapped)
