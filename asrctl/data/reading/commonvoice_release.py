"""Where the tables and clips of a release of Common Voice lie: in a folder for each language, or in an archive."""

from __future__ import annotations

import shlex
import sqlite3
import tempfile
from collections import defaultdict
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, Union

from asrctl.data.corpus import CorpusRequest
from asrctl.data.reading import archives
from asrctl.data.reading.file_names import is_audio, is_hidden
from asrctl.data.reading.recording_paths import Places
from asrctl.data.utterance import ARCHIVE_SEPARATOR, ARCHIVE_SUFFIXES
from asrctl.errors import BadData, UsageError
from asrctl.messages import amounts
from asrctl.storage import files

SPLITS = ("train", "dev", "test", "validated", "other", "invalidated")
CLIPS = "clips"
_SPOOL = 1 << 20


class Clip(NamedTuple):
    """A row of a table. file: in clips/; id: the clip's name without its ending."""

    id: str
    file: str
    text: str
    client: str


class Release:
    """The tables and clips of one locale, in a folder."""

    def __init__(self, folder: Path, request: CorpusRequest) -> None:
        self.name = str(folder)
        self._folder = folder
        self._request = request
        self._places = Places()

    @property
    def splits(self) -> List[str]:
        return [split for split in SPLITS if self._table(split).is_file()]

    def _table(self, split: str) -> Path:
        return self._folder / f"{split}.tsv"

    @contextmanager
    def table(self, split: str) -> Iterator[Tuple[IO[bytes], Path]]:
        """An open table, and what it is called. Raises BadData."""
        path = self._table(split)
        self._request.before_reading(str(path))
        with files.open_regular(path, fix="fetch the release again") as stream:
            yield stream, path

    def in_order(self, clips: Iterator[Clip]) -> Iterator[Tuple[Clip, str]]:
        """Clips with their paths, in the order in which they are best read."""
        for clip in clips:
            yield clip, self._places.find(str(self._folder / CLIPS), clip.file)

    def tell(self) -> None:
        self._places.tell(self._request.emit, lambda reason, cure: None)
        where = self._folder / CLIPS
        cure = f"fetch the release again: {where} lacks clips that its tables name"
        self._request.hint("no-audio", cure if where.is_dir() else f"unpack the clips too: {where} is not there")


class Archive:
    """The same within a .tar.gz, which is read through once; the clips come in its order."""

    def __init__(self, path: Path, found: "_Contents", folder: str, request: CorpusRequest) -> None:
        self.name = str(path)
        self._found = found
        self._inside = folder
        self._request = request

    @property
    def splits(self) -> List[str]:
        return [split for split in SPLITS if (self._inside, split) in self._found.tables]

    @contextmanager
    def table(self, split: str) -> Iterator[Tuple[IO[bytes], Path]]:
        member = str(PurePosixPath(self._inside) / f"{split}.tsv")
        yield self._found.tables[self._inside, split], Path(f"{self.name}{ARCHIVE_SEPARATOR}{member}")

    def in_order(self, clips: Iterator[Clip]) -> Iterator[Tuple[Clip, str]]:
        database = self._found.database
        database.execute("DELETE FROM wanted")
        rows = ((*clip, str(PurePosixPath(self._inside) / CLIPS / clip.file)) for clip in clips)
        database.executemany("INSERT INTO wanted VALUES (?, ?, ?, ?, ?)", rows)
        joined = database.execute(
            "SELECT id, file, text, client, wanted.member, position FROM wanted LEFT JOIN clips USING (member)"
            " ORDER BY position IS NULL, position"
        )
        for *values, member, position in joined:
            # What the archive lacks has a path that can not exist: the utterance is rejected for want of audio.
            between = ARCHIVE_SEPARATOR if position is not None else "/"
            yield Clip(*values), f"{self.name}{between}{member}"

    def tell(self) -> None:
        self._request.hint("no-audio", f"fetch the release again: {self.name} lacks clips that its tables name")


class _Contents:
    """What one pass through an archive has found. tables: {(folder, split): a copy that goes when it is closed}."""

    def __init__(self, stack: ExitStack) -> None:
        self.tables: Dict[Tuple[str, str], IO[bytes]] = {}
        # Without a name, SQLite makes a file of its own that no killed program leaves behind.
        self.database = stack.enter_context(closing(sqlite3.connect("", isolation_level=None)))
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE clips (member TEXT PRIMARY KEY, position INTEGER)",
            "CREATE TABLE wanted (id TEXT, file TEXT, text TEXT, client TEXT, member TEXT)",
        ):
            self.database.execute(statement)
        self._stack = stack

    def read(self, path: Path) -> None:
        """Raises BadData, OSError."""
        for position, member in enumerate(archives.members(path)):
            inside = PurePosixPath(member.name)
            if any(is_hidden(part) for part in inside.parts):
                continue
            if inside.suffix == ".tsv" and inside.stem in SPLITS:
                self.tables[str(inside.parent), inside.stem] = self._copied(member)
            elif inside.parent.name == CLIPS and is_audio(inside.name):
                self.database.execute("INSERT OR IGNORE INTO clips VALUES (?, ?)", (member.name, position))

    def _copied(self, member: archives.Member) -> IO[bytes]:
        stream = self._stack.enter_context(closing(tempfile.TemporaryFile()))  # noqa: SIM115 - the stack closes it
        for data in iter(lambda: member.read(_SPOOL), b""):
            stream.write(data)
        return stream


Place = Union[Release, Archive]


# -- which release ----------------------------------------------------------------------------------------------------


@contextmanager
def opened(source: Path, request: CorpusRequest) -> Iterator[Place]:
    """The locale that is meant. Raises BadData, UsageError."""
    if source.is_dir():
        yield Release(Path(_chosen(source, folders(source), request)), request)
        return
    if not source.is_file():
        raise BadData(f"there is no {source}", fix="give the folder of the release, or its .tar.gz")
    if not source.name.endswith(ARCHIVE_SUFFIXES):
        command = f"asrctl prepare manifest {shlex.quote(str(source))}"
        fix = f"give the folder of the release, or its .tar.gz; a table alone is read by {command}"
        raise BadData(f"{source} is no release of Common Voice", fix=fix)
    with ExitStack() as stack:
        request.before_reading(str(source))
        found = _Contents(stack)
        found.read(source)
        locales: Dict[str, List[str]] = defaultdict(list)
        for folder in sorted({folder for folder, _ in found.tables}):
            locales[PurePosixPath(folder).name].append(folder)
        yield Archive(source, found, _chosen(source, locales, request), request)


def folders(source: Path) -> Mapping[str, List[str]]:
    """{locale: folders with its tables}: the source itself, those in it, or those in the releases in it."""
    if _has_tables(source):
        return {source.resolve().name: [str(source)]}
    inner = _visible(source)
    for level in (inner, [deep for folder in inner for deep in _visible(folder)]):
        found: Dict[str, List[str]] = defaultdict(list)
        for folder in level:
            if _has_tables(folder):
                found[folder.name].append(str(folder))
        if found:
            return found
    return {}


def _visible(folder: Path) -> List[Path]:
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_dir())


def _has_tables(folder: Path) -> bool:
    return any((folder / f"{split}.tsv").is_file() for split in SPLITS)


def _chosen(source: Path, found: Mapping[str, Sequence[str]], request: CorpusRequest) -> str:
    """The folder of the locale that is meant, of {locale: folders}. Raises BadData, UsageError."""
    if not found:
        packed = next((path for path in _files(source) if path.name.endswith(ARCHIVE_SUFFIXES)), None)
        fix = "give the folder of the release, which holds a folder for each language, or its .tar.gz"
        raise BadData(
            f"{source} holds no table of Common Voice (train.tsv, validated.tsv ...)",
            fix=f"give the archive: asrctl prepare commonvoice {shlex.quote(str(packed))}" if packed else fix,
        )
    locale = request.options.get("locale")
    if locale is None and len(found) > 1:
        raise UsageError(
            f"{source} holds {amounts.count(len(found), 'language')}: {', '.join(sorted(found))}",
            fix=f"choose one, such as --locale {sorted(found)[0]}",
        )
    # Where the tables lie in the source itself, or on top of an archive, its name need not be the language's.
    is_only = len(found) == 1 and list(found.values())[0] in ([str(source)], ["."])
    locale = locale if locale in found or not is_only else next(iter(found))
    if locale is not None and locale not in found:
        raise UsageError(f"{source} holds no {locale} (it has {', '.join(sorted(found))})", fix="correct --locale")
    folders = found[locale if locale is not None else next(iter(found))]
    if len(folders) > 1:
        raise BadData(
            f"{source} holds {amounts.count(len(folders), 'release')} of {Path(folders[0]).name}",
            fix=f"give one of them: {', '.join(folders)}",
        )
    return folders[0]


def _files(source: Path) -> List[Path]:
    return sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else []
