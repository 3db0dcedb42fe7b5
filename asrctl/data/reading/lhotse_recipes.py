"""Corpora that lhotse knows by a recipe: its own function lists recordings and supervisions, as in its manifests."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from asrctl.errors import BadData, MissingDependency, UsageError
from asrctl.messages import reasons, suggestions
from asrctl.messages.command_lines import pip_install
from asrctl.runtime import memory

_PREFIX, _OUTPUT = "prepare_", "output_dir"
_KINDS = ("recordings", "supervisions", "cuts")


class Part(NamedTuple):
    """A part of a corpus. name: its keys in what the recipe gives back, such as "train" or "en/dev".

    manifests: {kind: objects as in a manifest}, where the kinds are recordings and supervisions, or cuts.
    """

    name: str
    manifests: Mapping[str, Iterator[Dict[str, Any]]]


@contextlib.contextmanager
def parts(recipe: str, folder: Path, typed: Sequence[str]) -> Iterator[List[Part]]:
    """What lhotse's recipe makes of a folder, readable within the block. typed: further arguments of it, KEY=VALUE.

    Raises MissingDependency, UsageError, and BadData where the recipe fails.
    """
    prepare = _function(recipe)
    values = _arguments(recipe, prepare, folder, typed)
    with tempfile.TemporaryDirectory(prefix="asrctl-lhotse-") as made:
        if _OUTPUT in inspect.signature(prepare).parameters:  # empty: what was there would be taken as it is
            values[_OUTPUT] = Path(made)
        found = _run(recipe, prepare, values, folder)
        if not found:
            raise BadData(f"lhotse's recipe {recipe} found no speech in {folder}", fix="give the corpus' own folder")
        yield found


def _run(recipe: str, prepare: Callable[..., Any], values: Mapping[str, Any], folder: Path) -> List[Part]:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return list(_parts((), prepare(**values)))
    except Exception as error:
        if memory.ran_out(error):
            raise
        raise BadData(
            f"lhotse's recipe {recipe} can not read {folder} ({type(error).__name__}: {reasons.first_line(error)})",
            fix="give the folder that its documentation asks for, or install a newer lhotse",
        ) from None


def _function(recipe: str) -> Callable[..., Any]:
    try:
        from lhotse import recipes
    except ImportError as error:
        raise MissingDependency(
            f"recipes need lhotse, which can not be imported ({reasons.reason(error)})",
            fix=pip_install("asrctl[lhotse]"),
        ) from None
    names = [name[len(_PREFIX) :] for name in dir(recipes) if name.startswith(_PREFIX)]
    if recipe not in names:
        listing = "`lhotse prepare --help` lists all"
        meant = suggestions.question(recipe, names, str)
        raise UsageError(f"lhotse has no recipe {recipe!r}", fix=f"{meant} {listing}" if meant else listing)
    return getattr(recipes, _PREFIX + recipe)


def _arguments(recipe: str, prepare: Callable[..., Any], folder: Path, typed: Sequence[str]) -> Dict[str, Any]:
    """Arguments by name: the folder is the first that is needed and was not typed. Raises UsageError."""
    taken = inspect.signature(prepare).parameters
    given: Dict[str, Any] = {}
    for word in typed:
        key, is_pair, value = word.partition("=")
        if not is_pair or key not in taken:
            fix = f"write KEY=VALUE, such as {next(iter(taken))}=...; KEY is one of {', '.join(taken)}"
            raise UsageError(f"{word!r} is no argument of lhotse's recipe {recipe}", fix=fix)
        given[key] = _value(value)
    needed = [key for key, one in taken.items() if one.default is one.empty and key not in given and key != _OUTPUT]
    place = needed[0] if needed else next((key for key in taken if key not in given), None)
    if len(needed) > 1:
        words = " ".join(f"--recipe-option {key}=..." for key in needed[1:])
        raise UsageError(f"lhotse's recipe {recipe} needs more than a folder", fix=f"add {words}")
    return {**given, **({place: folder} if place is not None else {})}


def _value(word: str) -> Any:
    """As JSON where it is a number, a truth value or a list, as recipes take them; else the word."""
    try:
        return json.loads(word)
    except ValueError:
        return word


def _parts(keys: Tuple[str, ...], found: Any) -> Iterator[Part]:
    """Recipes give back dictionaries of different depths, whose innermost have the kinds as keys."""
    if not isinstance(found, Mapping):
        return
    manifests = {kind: found[kind].to_dicts() for kind in _KINDS if hasattr(found.get(kind), "to_dicts")}
    if "cuts" in manifests or "supervisions" in manifests:
        yield Part("/".join(keys), manifests)
        return
    for key, inner in found.items():
        yield from _parts((*keys, str(key)), inner)
