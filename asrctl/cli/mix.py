"""`asrctl prepare mix`: several prepared data under one name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Tuple

import typer

from asrctl.cli import options, usage
from asrctl.cli.report import Output, session, table
from asrctl.errors import UsageError

if TYPE_CHECKING:
    from asrctl.commands.mixture import MixResult
    from asrctl.storage.workspace import Workspace

WORD = "mix"
HELP = f"Prepared data as one, each part drawn as often as its weight says; `asrctl prepare {WORD} --help` tells more."
_EPILOG = options.examples(
    "asrctl prepare mix first=2 second=1 --name both",
    "asrctl prepare mix de fr ro --temperature 2 --name three",
    "asrctl prepare mix first second --dry-run",
)

_PARTS = typer.Argument(
    ..., metavar="NAME[=WEIGHT]...", help="Names of prepared data. Without weights each is drawn as its size says."
)
_NAME = typer.Option(WORD, "--name", help="Name of the mixture.")


def command(
    parts: List[str] = _PARTS,
    temperature: Optional[float] = options.TEMPERATURE,
    name: str = _NAME,
    dry_run: bool = options.DRY_RUN,
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Let several prepared data be one, to train on all of them. An epoch has as many utterances as they have together.

    Nothing is copied: the mixture names its parts. Its eval and test splits have every utterance of theirs once.
    """
    with session("prepare", Output(json, verbose, workspace)) as report:
        from asrctl.commands import mixture
        from asrctl.storage.workspace import Workspace

        place = Workspace(workspace)
        names, weights = _weighted(parts)
        wanted = mixture.request(names, weights, temperature)
        if dry_run:
            result = mixture.plan(place, wanted, name)
            report.done(result.as_dict(), lines(result))
            return
        result = mixture.mix(place, wanted, name, place.named(("asrctl", *sys.argv[1:])), report.emit)
        report.done(result.as_dict(), [*lines(result), f"next: {_next(place, result)}"])


def build(name: str) -> Any:
    """The Click command."""
    return usage.build(name, command, _EPILOG)


def words(args: Sequence[str], params: Sequence[Any]) -> Optional[List[str]]:
    """The words of `prepare` without `mix`, where that is what is prepared; None where it is a corpus.

    params: of `prepare`: which of its options take a value. A folder of that name, alone, is still a corpus.
    """
    valued = {name for param in params if not getattr(param, "is_flag", True) for name in param.opts}
    positional: List[int] = []
    place = 0
    while place < len(args):
        if args[place][:1] != "-":
            positional.append(place)
        place += 2 if args[place] in valued else 1
    if not positional or args[positional[0]] != WORD:
        return None
    if len(positional) == 1 and Path(WORD).exists() and not set(args) & set(usage.HELP_NAMES["help_option_names"]):
        return None
    return [*args[: positional[0]], *args[positional[0] + 1 :]]


def _weighted(parts: Sequence[str]) -> Tuple[List[str], Optional[List[str]]]:
    """["A=2", "B=1"] -> names and weights. Raises UsageError where only some have one."""
    split = [part.partition("=") for part in parts]
    names = [name for name, _, _ in split]
    bare = [name for name, equals, _ in split if not equals]
    if len(bare) == len(parts):
        return names, None
    if bare:
        raise UsageError(f"{', '.join(bare)} has no weight", fix=f"write {bare[0]}=1, or give no part a weight")
    return names, [weight for _, _, weight in split]


def _next(place: "Workspace", result: "MixResult") -> str:
    from asrctl.commands.status import after_preparing

    return after_preparing(place, result.data)


def lines(result: "MixResult") -> List[str]:
    """The parts with what is drawn of each, and the splits."""
    rows = [
        [part.name, part.utterances, f"{100 * part.share:.3g} %", f"{part.per_epoch} ({part.times:.3g} times each)"]
        for part in result.parts
    ]
    splits = [[role, split.utterances, f"{split.seconds / 3600:.2f} h"] for role, split in result.splits.items()]
    return [
        *table(rows, header=["part", "utterances", "drawn", "in an epoch"]),
        *table(splits, header=["split", "utterances", "speech"]),
        f"{result.name}: {result.id}, {result.vocabulary['size']} tokens",
    ]
