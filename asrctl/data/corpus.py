"""What a corpus is, to asrctl: what it says of itself, what it is asked for, and the options that are its own.

A module of data/corpora/ holds one `CORPUS`, and so may a module of any other package (docs/corpora.md). Its `read`
yields utterances in an order that is the same each time. What is wrong with single files shows later: an utterance
without transcript has text "", one without audio has the path where it should be.
"""

from __future__ import annotations

import enum
import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Optional, Sequence, Tuple

from asrctl.data.utterance import Utterance, split_path
from asrctl.errors import AsrctlError, BadData, UsageError
from asrctl.events import Emit, ignore
from asrctl.messages import reasons, suggestions
from asrctl.runtime import memory
from asrctl.storage import records

if TYPE_CHECKING:
    from asrctl.storage.remote.mirror import Mirror

ROLES = ("train", "eval", "test")

# The words that people use for the three splits, and ours.
SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("eval", "evaluation", "dev", "development", "valid", "validation", "val", "cv"), "eval"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
SPLIT_DEFAULTS: Mapping[str, Tuple[str, ...]] = {role: (role,) for role in ROLES}

_FLAG = re.compile(r"--[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Match(enum.IntEnum):
    """How much a path looks like a corpus of one kind: a certain one wins over those that are only possible."""

    NO = 0
    POSSIBLE = 1
    CERTAIN = 2


@dataclass(frozen=True)
class CorpusOption:
    """An option of `prepare` and `vocab` that only some corpora know.

    flag: as it is typed, "--audio-column". type: makes a value of what was typed, and raises ValueError where it can
    not; bool: the option takes no value. choices: the only words that may be typed. repeatable: the value is a tuple.
    """

    flag: str
    help: str
    metavar: str = "TEXT"
    type: Callable[[str], Any] = str
    default: Any = None
    choices: Tuple[str, ...] = ()
    repeatable: bool = False

    def __post_init__(self) -> None:
        if not _FLAG.fullmatch(self.flag):
            raise ValueError(f"{self.flag!r} is no name of an option; write it like --audio-column")

    @property
    def key(self) -> str:
        """Of its value in `CorpusRequest.options`: "audio_column"."""
        return self.flag[2:].replace("-", "_")

    @property
    def is_switch(self) -> bool:
        return self.type is bool

    @property
    def unset(self) -> Any:
        """The value of an option that was not typed."""
        return False if self.is_switch else tuple(self.default or ()) if self.repeatable else self.default

    def value(self, typed: Any) -> Any:
        """Of what was typed: a word, words where the option is repeatable, True for a switch. Raises UsageError."""
        if self.is_switch:
            return bool(typed)
        return tuple(map(self._one, typed)) if self.repeatable else self._one(typed)

    def _one(self, word: str) -> Any:
        if self.choices and word not in self.choices:
            raise UsageError(f"{self.flag} can not be {word!r}", fix=suggestions.one_of(word, self.choices))
        try:
            return self.type(word)
        except ValueError as error:
            raise UsageError(
                f"{self.flag} can not be {word!r} ({reasons.reason(error)})",
                fix=f"give {self.metavar} as the help of {self.flag} says: {self.help.rstrip('.')}",
            ) from None


STREAMING = CorpusOption(
    "--streaming", "Read what lies elsewhere where it is: for what does not fit on the disk.", type=bool
)


def _nobody(*_: str) -> None:
    """Who is told where nobody asks."""


def _fresh_salt() -> bytes:
    """The salt of a corpus that is read outside of a workspace."""
    return secrets.token_bytes(32)


def _anywhere(path: Path) -> None:
    """Where a corpus may be made if nothing speaks against it."""


@dataclass(frozen=True)
class CorpusRequest:
    """Where a corpus lies and what of it is wanted.

    source: a path; address: instead of one, a name or URL, where the corpus says that the word is one.
    splits: the corpus splits that must be there; optional_splits: those that are taken where they are. Corpora that
    are read as a whole anyway may yield others too. options: {key: value} of all options of this corpus.
    root: audio must lie under this folder. downloads: where archives go; None forbids downloading. cache: a folder
    that is safe to delete.
    watch: is told the path of every file of transcripts before it is read. hint: is told a reason of audio.REASONS and
    what to do about it, where the reader of this corpus knows more than the reason says. tell_version: is told the
    version of a corpus that has one, such as a commit; it becomes part of the ID of what is made of it. write: whether
    a corpus may be made where it is not there; refuse_output: raises UsageError where it may not be made, given the
    resolved path.
    salt: bytes that are the workspace's own, for names that must mean nothing outside of it.
    remote: fetches files of other machines, such as those that a list names by URL.
    """

    source: Optional[Path] = None
    address: Optional[str] = None
    splits: Tuple[str, ...] = ()
    optional_splits: Tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    root: Optional[Path] = None
    downloads: Optional[Path] = None
    allow_download: bool = True
    cache: Optional[Path] = None
    emit: Emit = ignore
    watch: Callable[[str], None] = _nobody
    hint: Callable[[str, str], None] = _nobody
    tell_version: Callable[[str], None] = _nobody
    write: bool = True
    refuse_output: Callable[[Path], Any] = _anywhere
    salt: Callable[[], bytes] = _fresh_salt
    remote: Optional["Mirror"] = None

    def before_reading(self, path: str) -> None:
        """To be called with every file of transcripts. Raises BadData where it lies outside `root`."""
        refuse_outside(self.root, path)
        self.watch(path)


def _as_typed(split: str) -> str:
    """What IDs call the splits of a corpus whose splits are words."""
    return split


def _never(path: Path) -> Match:
    """Of a corpus that is only read where it is named."""
    return Match.NO


def _is_path(word: str) -> bool:
    """Of a corpus whose sources are paths: no word is an address."""
    return False


def _nothing(request: CorpusRequest) -> Mapping[str, int]:
    """What a corpus fetches that lies on the disk."""
    return {}


@dataclass(frozen=True)
class Corpus:
    """A kind of corpus, and all that asrctl knows of it.

    name: as it is typed, and the name of its module or entry point. help: one sentence. read: every utterance wanted;
    raises BadData, MissingArtifact, UsageError. source: what the help calls its source. examples: what may stand behind
    `asrctl prepare NAME`, the shortest first; that one must do for `asrctl vocab NAME` too.
    splits: {role: corpus splits} where the user names none. split_names: {what users may call a split, in small
    letters: the corpus' name of it}. recognizes: how much what lies at a path looks like this corpus; raises OSError.
    is_address: whether a source is a name or URL, and no path. default_name: of data prepared from a source; where
    there is none, data is called as the corpus. downloads: {file: bytes} that reading would fetch. cache_files: what
    it keeps in `CorpusRequest.cache`, as patterns of paths. fetches: whether it takes URLs of buckets and web servers
    itself. variant: key of the option that NAME stands for in CORPUS:NAME. split_label: what IDs call a split, where
    one may be typed as a path. package: what brings it; None: asrctl itself.
    """

    name: str
    help: str
    read: Callable[[CorpusRequest], Iterator[Utterance]]
    source: str = "SOURCE"
    examples: Sequence[str] = ()
    options: Sequence[CorpusOption] = ()
    splits: Mapping[str, Tuple[str, ...]] = field(default_factory=lambda: SPLIT_DEFAULTS)
    split_names: Mapping[str, str] = field(default_factory=lambda: SPLIT_NAMES)
    recognizes: Callable[[Path], Match] = _never
    is_address: Callable[[str], bool] = _is_path
    default_name: Optional[Callable[[str], str]] = None
    downloads: Callable[[CorpusRequest], Mapping[str, int]] = _nothing
    cache_files: Sequence[str] = ()
    fetches: bool = False
    variant: Optional[str] = None
    split_label: Callable[[str], str] = _as_typed
    package: Optional[str] = None

    def __post_init__(self) -> None:
        """Raises TypeError, ValueError: what is written wrong is told where it stands, not where it is used."""
        several = {"examples": self.examples, "options": self.options, "cache_files": self.cache_files}
        several.update({f"splits of {role}": names for role, names in self.splits.items()})
        for what, words in several.items():
            if isinstance(words, str):
                raise TypeError(f"{what} must be several, as in ({words!r},)")
        unknown = [role for role in self.splits if role not in ROLES]
        if unknown:
            raise ValueError(f"splits are for {', '.join(ROLES)}, not for {unknown[0]}")
        flags = [option.flag for option in self.options]
        if len(set(flags)) < len(flags):
            raise ValueError(f"an option comes twice: {', '.join(flags)}")

    def split_name(self, name: str) -> str:
        """The corpus' own name of a split that a user may call otherwise."""
        return self.split_names.get(name.strip().lower(), name.strip())

    def takes(self, word: str) -> bool:
        """Whether its reader itself finds what lies at a URL; for others it is fetched before they read."""
        return self.fetches or (self.package is not None and self.is_address(word))

    def needed(self, request: CorpusRequest) -> Path:
        """The path of the source, for a corpus that can not do without. Raises UsageError."""
        if request.source is None:
            example = f": `asrctl prepare {self.name} {self.examples[0]}`" if self.examples else ""
            raise UsageError(f"{self.name} needs a source", fix=f"say where it is{example}")
        return request.source

    def utterances(self, request: CorpusRequest) -> Iterator[Utterance]:
        """Every utterance wanted. Raises BadData (audio outside `request.root` too), MissingArtifact, UsageError."""
        found = self.read(request) if self.package is None else self._checked(request)
        return found if request.root is None else _confined(found, request.root)

    def _checked(self, request: CorpusRequest) -> Iterator[Utterance]:
        with self.blamed():
            for utterance in self.read(request):
                if not isinstance(utterance, Utterance):
                    raise TypeError(f"it yields {type(utterance).__name__}, not Utterance")
                problem = records.problem(Utterance, utterance.as_dict())
                if problem is not None:
                    raise TypeError(f"of an utterance that it yields, {problem}")
                yield utterance

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Within the block, which runs this corpus' code, what a plug-in does wrong is told as its fault, not as ours.

        Raises BadData.
        """
        try:
            yield
        except Exception as error:
            if self.package is None or isinstance(error, (AsrctlError, OSError)) or memory.ran_out(error):
                raise
            raise BadData(
                f"the corpus {self.name} of the package {self.package} fails ({told(error)})",
                fix=f"tell whoever made {self.package}, or install another version of it",
            ) from error


def told(error: BaseException) -> str:
    """What went wrong in a plug-in, with the kind of error, as it may be all that its author needs."""
    kind, reason = type(error).__name__, reasons.first_line(error)
    return kind if reason == kind else f"{kind}: {reason}"


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


def named_as_folder(source: str) -> str:
    """The name of data from a folder."""
    return Path(source).resolve().name


def named_as_file(source: str) -> str:
    """The name of data from a file: without its suffix."""
    return Path(source).resolve().stem
