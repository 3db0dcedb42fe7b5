"""The kinds of corpora: one module each, here or in any installed package that names it in an entry point.

A module here is called as its corpus, and so is an entry point of the group `asrctl.corpora`. Nothing is imported
before it is asked for, and one that can not be imported is told and left out: all others work.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import sys
from dataclasses import replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from asrctl.data.corpus import Corpus, Match, told
from asrctl.errors import AsrctlError, MissingDependency, UsageError
from asrctl.messages import suggestions
from asrctl.runtime import memory
from asrctl.storage.names import is_valid_name

GROUP = "asrctl.corpora"
# Folders of a workspace's cache that are not a corpus', and what `prepare` takes for another thing.
_TAKEN = ("features", "ipu", "remote", "shares", "stat", "mix")


class Offered(NamedTuple):
    """The corpora that can be used, and a sentence on each that can not."""

    corpora: Sequence[Corpus]
    problems: Sequence[str]


class _Plugin(NamedTuple):
    """An entry point, and the package that has it."""

    package: str
    entry: metadata.EntryPoint


def built_in() -> Tuple[str, ...]:
    """Names of asrctl's own corpora: those of the modules beside this one."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"))


def names() -> Tuple[str, ...]:
    """Names of all corpora, asrctl's own first; none is imported."""
    return (*built_in(), *sorted(_plugins()[0]))


def find(name: str) -> Corpus:
    """The corpus called `name`. Raises UsageError, and MissingDependency where there is one that does not work."""
    if name not in built_in() and name not in _plugins()[0]:
        raise UsageError(f"there is no corpus called {name!r}", fix=suggestions.one_of(name, names()))
    loaded = _loaded(name)
    if isinstance(loaded, MissingDependency):
        raise loaded
    return loaded


def offered() -> Offered:
    """All corpora, imported."""
    found, problems = [], list(_plugins()[1])
    for name in names():
        try:
            found.append(find(name))
        except MissingDependency as error:
            problems.append(error.message)
    return Offered(found, problems)


def kind_of(path: Path) -> Optional[str]:
    """The name of the corpus that lies at a path, where somebody has named the path only; None where there is nothing,
    or nothing like a corpus. Raises OSError."""
    matches = [(_match(corpus, path), corpus.name) for corpus in offered().corpora]
    best = max(matches, key=lambda match: match[0], default=(Match.NO, ""))  # the first of those that are equal
    return best[1] if best[0] > Match.NO else None


def _match(corpus: Corpus, path: Path) -> int:
    try:
        with corpus.blamed():
            return int(corpus.recognizes(path) or Match.NO)
    except AsrctlError:
        if corpus.package is None:
            raise
        return Match.NO  # a plug-in's fault is told where it is used, and keeps nobody from using others


def options(corpus: Corpus, typed: Mapping[str, Any]) -> Dict[str, Any]:
    """{key: value} of all options of a corpus. typed: {key: as in CorpusOption.value} of those that were typed.

    Raises UsageError, also for one that is not the corpus' own.
    """
    known = {option.key: option for option in corpus.options}
    for key in typed:
        if key not in known:
            flag = f"--{key.replace('_', '-')}"
            owners = [other.name for other in offered().corpora if key in {option.key for option in other.options}]
            whose = f"belongs to {' and '.join(owners)}" if owners else "is no option"
            raise UsageError(f"{flag} {whose}, and this corpus is of kind {corpus.name}", fix=f"leave {flag} out")
    with corpus.blamed():
        return {key: option.value(typed[key]) if key in typed else option.unset for key, option in known.items()}


# -- plug-ins ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _plugins() -> Tuple[Dict[str, _Plugin], List[str]]:
    """{name: plug-in}, and a sentence on each that can not be one."""
    found: Dict[str, _Plugin] = {}
    entries, problems = _entry_points()
    ours = {word.lower() for word in (*built_in(), *_TAKEN)}
    for plugin in sorted(entries, key=lambda plugin: plugin.package):
        name, package = plugin.entry.name, plugin.package
        if name.lower() in ours:
            problems.append(f"the package {package} calls a corpus {name}, which is asrctl's own word: it is left out")
        elif not is_valid_name(name):
            problems.append(f"the package {package} calls a corpus {name!r}, which is no name: it is left out")
        elif name in found:
            other = found[name].package
            problems.append(f"the packages {other} and {package} both have a corpus {name}: that of {other} is taken")
        else:
            found[name] = plugin
    return found, problems


def _entry_points() -> Tuple[List[_Plugin], List[str]]:
    """Those of our group, and what is wrong with packages that have such. A package that comes twice on the path is the
    first one, as it is for imports.

    Through the packages: the call for all entry points is another one in each Python from 3.8 to 3.12.
    """
    found: Dict[str, List[_Plugin]] = {}
    problems = []
    for package in metadata.distributions():
        name = "that says no name"
        try:
            if GROUP not in (package.read_text("entry_points.txt") or ""):
                continue
            name = package.metadata["Name"] or name
            found.setdefault(name, [_Plugin(name, entry) for entry in package.entry_points if entry.group == GROUP])
        except Exception as error:  # each Python has its own for what it can not read
            problems.append(f"the corpora of a package ({name}) can not be found ({told(error)})")
    return [plugin for entries in found.values() for plugin in entries], problems


@lru_cache(maxsize=None)
def _loaded(name: str) -> Union[Corpus, MissingDependency]:
    """The corpus, or what is wrong with it."""
    plugin = _plugins()[0][name] if name not in built_in() else None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the result
            loaded = importlib.import_module(f"{__name__}.{name}") if plugin is None else plugin.entry.load()
    except (Exception, SystemExit) as error:
        if memory.ran_out(error):
            raise
        return _unusable(name, plugin, told(error))
    corpus = getattr(loaded, "CORPUS", loaded)
    if not isinstance(corpus, Corpus):
        where = f"{name}.py" if plugin is None else plugin.entry.value
        return _unusable(name, plugin, f"{where} holds no CORPUS of asrctl.data.corpus.Corpus")
    if corpus.name != name:
        return _unusable(name, plugin, f"it calls itself {corpus.name}")
    return corpus if plugin is None else replace(corpus, package=plugin.package)


def _unusable(name: str, plugin: Optional[_Plugin], why: str) -> MissingDependency:
    if plugin is None:
        return MissingDependency(
            f"the corpus {name} can not be used ({why})", fix="install what it needs, or another asrctl"
        )
    return MissingDependency(
        f"the corpus {name} of the package {plugin.package} can not be used ({why})",
        fix=f"install what it needs, or another version of {plugin.package}, or uninstall it",
    )
