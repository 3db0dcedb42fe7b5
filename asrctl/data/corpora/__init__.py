"""One small module per corpus: (source, options) -> utterances.

A module has `NAMES` (synonyms of its splits), `DEFAULTS` ({role: splits} where the user names none), and
`utterances(request)`, which yields in an order that is the same each time. What is wrong with single files shows later:
an utterance without transcript has text "", one without audio has the path where it should be.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Tuple

from asrctl.data.utterance import Utterance, split_path
from asrctl.errors import BadData, UsageError
from asrctl.events import Emit, ignore
from asrctl.messages import suggestions

ROLES = ("train", "eval", "test")
CORPORA = ("librispeech", "manifest", "folder", "demo")

# The words that people use for the three splits, and ours.
SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("eval", "evaluation", "dev", "development", "valid", "validation", "val", "cv"), "eval"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
SPLIT_DEFAULTS: Mapping[str, Tuple[str, ...]] = {role: (role,) for role in ROLES}


def _nobody(*_: str) -> None:
    """Who is told where nobody asks."""


def _anywhere(path: Path) -> None:
    """Where a corpus may be made if nothing speaks against it."""


@dataclass(frozen=True)
class CorpusRequest:
    """Where a corpus lies and what of it is wanted.

    splits: the corpus splits that must be there; optional_splits: those that are taken where they are. Corpora that
    are read as a whole anyway may yield others too. root: audio must lie under this folder. downloads: where archives
    go; None forbids downloading. cache: a folder that is safe to delete.
    watch: is told the path of every file of transcripts before it is read. hint: is told a reason of audio.REASONS and
    what to do about it, where the reader of this corpus knows more than the reason says. write: whether a corpus may
    be made where it is not there; refuse_output: raises UsageError where it may not be made, given the resolved path.
    """

    source: Optional[Path] = None
    splits: Tuple[str, ...] = ()
    optional_splits: Tuple[str, ...] = ()
    root: Optional[Path] = None
    downloads: Optional[Path] = None
    allow_download: bool = True
    cache: Optional[Path] = None
    emit: Emit = ignore
    watch: Callable[[str], None] = _nobody
    hint: Callable[[str, str], None] = _nobody
    write: bool = True
    refuse_output: Callable[[Path], Any] = _anywhere

    def before_reading(self, path: str) -> None:
        """To be called with every file of transcripts. Raises BadData where it lies outside `root`."""
        refuse_outside(self.root, path)
        self.watch(path)


@dataclass(frozen=True)
class Corpus:
    """A kind of corpus: its module and what it says of itself."""

    name: str
    module: ModuleType

    @property
    def defaults(self) -> Dict[str, Tuple[str, ...]]:
        """{role: corpus splits} where the user names none."""
        return dict(self.module.DEFAULTS)

    def split_name(self, name: str) -> str:
        """The corpus' own name of a split that a user may call otherwise."""
        return self.module.NAMES.get(name.strip().lower(), name.strip())

    def utterances(self, request: CorpusRequest) -> Iterator[Utterance]:
        """Every utterance wanted. Raises BadData (audio outside `request.root` too), MissingArtifact, UsageError."""
        found = self.module.utterances(request)
        return found if request.root is None else _confined(found, request.root)


def _confined(found: Iterator[Utterance], root: Path) -> Iterator[Utterance]:
    for utterance in found:
        refuse_outside(root, utterance.audio)
        yield utterance


def refuse_outside(root: Optional[Path], path: str) -> None:
    """Raises BadData where a file (or the archive of a member) lies outside `root`."""
    if root is not None and not lies_under(root.resolve(), path):
        raise BadData(f"{path} lies outside {root} (--root)", fix="remove that file or link, or widen --root")


def lies_under(root: Path, audio: str) -> bool:
    """Whether a file, or the archive that a member is in, is below `root` (resolved) once all links are followed."""
    try:
        return all(root in Path(path).resolve().parents for path in {audio, split_path(audio)[0]})
    except (OSError, RuntimeError, ValueError):  # links in a circle, or a name that no file can have
        return False


def find(name: str) -> Corpus:
    """The corpus called `name`. Raises UsageError."""
    if name not in CORPORA:
        raise UsageError(f"there is no corpus called {name!r}", fix=suggestions.one_of(name, CORPORA))
    return Corpus(name, importlib.import_module(f"asrctl.data.corpora.{name}"))


def need_source(request: CorpusRequest, corpus: str, what: str) -> Path:
    """The source, which this corpus can not do without. Raises UsageError."""
    if request.source is None:
        raise UsageError(f"{corpus} needs a source", fix=f"say where it is: `asrctl prepare {corpus} {what}`")
    return request.source
