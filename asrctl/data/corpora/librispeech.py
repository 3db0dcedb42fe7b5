"""LibriSpeech (Panayotov et al. 2015): the folder layout, or OpenSLR's archives as they are.

SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac, and SPEAKER-CHAPTER.trans.txt with a line "ID TRANSCRIPT" for each.
Other corpora come in this layout too, with tabs, other kinds of audio, or names in capitals.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from asrctl.data.corpus import Corpus, CorpusRequest, Match
from asrctl.data.reading import archives, download
from asrctl.data.reading.encodings import OtherEncoding, decode
from asrctl.data.reading.file_names import is_audio, is_hidden, preference
from asrctl.data.reading.walk import is_workspace
from asrctl.data.utterance import ARCHIVE_SEPARATOR, ARCHIVE_SUFFIXES, Utterance
from asrctl.errors import BadData, UsageError
from asrctl.storage import files

_NAMES: Mapping[str, str] = {
    "train.100": "train-clean-100",
    "train.clean.100": "train-clean-100",
    "train.360": "train-clean-360",
    "train.clean.360": "train-clean-360",
    "train.500": "train-other-500",
    "train.other.500": "train-other-500",
    "validation": "dev-clean",
    "validation.clean": "dev-clean",
    "dev.clean": "dev-clean",
    "validation.other": "dev-other",
    "dev.other": "dev-other",
    "test": "test-clean",
    "test.clean": "test-clean",
    "test.other": "test-other",
}

_URL_VARIABLE = "ASRCTL_OPENSLR_URL"
_OPENSLR_12 = "https://www.openslr.org/resources/12"
# Bytes, and the MD5 of https://www.openslr.org/resources/12/md5sum.txt.
_ARCHIVES: Mapping[str, Tuple[int, str]] = {
    "train-clean-100": (6387309499, "2a93770f6d5c6c964bc36631d331a522"),
    "train-clean-360": (23049477885, "c0e676e450a7ff2f54aeade5171606fa"),
    "train-other-500": (30593501606, "d1a0fd59409feb2c614ce4d30c387708"),
    "dev-clean": (337926286, "42e2234ba48799c1f50f24a7926300a1"),
    "dev-other": (314305928, "c8d0bcc9cca99d4f8b62fcc847357931"),
    "test-clean": (346663984, "32fa31d27d2e1cad72775fee3f4849a9"),
    "test-other": (328757843, "fb5a50374b501bb3bac4815ee91d3135"),
}
SPLITS = tuple(_ARCHIVES)

_TRANSCRIPTS = ".trans.txt"


class _Place(NamedTuple):
    """Where a split lies: a folder SPLIT, or an archive that holds it."""

    path: Path
    is_archive: bool


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """The utterances of the wanted splits. Raises BadData, MissingArtifact."""
    request.hint("no-transcript", "give each recording a line `ID TRANSCRIPT` in the .trans.txt beside it")
    request.hint("no-audio", "put the recordings that a .trans.txt names beside it, or fetch the corpus again")
    places = _locate(request) if request.source is not None else _fetch(request)
    for split, place in places.items():
        empty = True
        for utterance in _read(place, split, request):
            empty = False
            yield utterance
        if empty and split in request.splits:
            others = _splits_of_archive(place.path) if place.is_archive else []
            has = f"it has {', '.join(others)}" if others else "no .flac file and no .trans.txt is there"
            fix = f"use `--train {others[0]}`" if others else "check that the corpus is whole"
            raise BadData(f"{place.path} holds no utterance of {split} ({has})", fix=fix)


def _read(place: _Place, split: str, request: CorpusRequest) -> Iterator[Utterance]:
    return _read_archive(place.path, split) if place.is_archive else _read_folder(place.path, split, request)


def _locate(request: CorpusRequest) -> Dict[str, _Place]:
    """{split: where it lies} in what the user points at; optional splits that are not there are left out."""
    source = request.source or Path()
    if not source.exists():
        raise BadData(f"there is no {source}", fix="give the folder LibriSpeech, or the folder that holds the archives")
    places = {split: _find(source, split) for split in request.splits + request.optional_splits}
    missing = [split for split in request.splits if places[split] is None]
    if missing:
        known = [name for name in _folders_and_archives(source) if _find(source, name) is not None]
        has = f"it has {', '.join(known)}" if known else "it has no folder and no archive named like one"
        fix = f"choose the splits, such as `--train {known[0]}`" if known else "give the folder LibriSpeech"
        raise BadData(f"{source} has no split {', '.join(missing)} ({has})", fix=fix)
    return {split: place for split, place in places.items() if place is not None}


def _find(source: Path, split: str) -> Optional[_Place]:
    """The split in the corpus folder, in one around it, in its own, or in archives."""
    if source.is_file():
        return _Place(source, True)
    for folder in (source / split, source / "LibriSpeech" / split):
        if folder.is_dir():
            return _Place(folder, False)
    for suffix in ARCHIVE_SUFFIXES:
        if (source / (split + suffix)).is_file():
            return _Place(source / (split + suffix), True)
    return _Place(source, False) if source.resolve().name == split else None


def _folders_and_archives(source: Path) -> List[str]:
    """Names of splits that may lie in a folder: LibriSpeech's own first."""
    inner = source / "LibriSpeech" if (source / "LibriSpeech").is_dir() else source
    names = [path.name for path in _visible(inner) if path.is_dir() and not is_workspace(path)]
    return list(SPLITS) + [name for name in names if name not in SPLITS]


def _fetch(request: CorpusRequest) -> Dict[str, _Place]:
    unknown = [split for split in request.splits if split not in SPLITS]
    if unknown:
        raise UsageError(
            f"LibriSpeech has no split {', '.join(unknown)}", fix=f"use {', '.join(SPLITS)}, or say where the corpus is"
        )
    splits = [split for split in request.splits + request.optional_splits if split in SPLITS]
    found = download.fetched(_remote(splits), request, CORPUS.name)
    return {split: _Place(path, True) for split, path in zip(splits, found)}


def _remote(splits: Sequence[str]) -> List[download.RemoteFile]:
    base = os.environ.get(_URL_VARIABLE, _OPENSLR_12).rstrip("/")
    names = [(f"{split}.tar.gz", *_ARCHIVES[split]) for split in splits]
    return [download.RemoteFile(f"{base}/{name}", name, size, md5) for name, size, md5 in names]


# -- folders ----------------------------------------------------------------------------------------------------------


def _visible(folder: Path) -> List[Path]:
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))


def _read_folder(folder: Path, split: str, request: CorpusRequest) -> Iterator[Utterance]:
    for speaker in (path for path in _visible(folder) if path.is_dir()):
        for chapter in (path for path in _visible(speaker) if path.is_dir()):
            yield from _read_chapter(chapter, split, speaker.name, request)


def _read_chapter(chapter: Path, split: str, speaker: str, request: CorpusRequest) -> Iterator[Utterance]:
    texts: Dict[str, str] = {}
    audio: Dict[str, Path] = {}
    for path in _visible(chapter):
        if path.name.lower().endswith(_TRANSCRIPTS):
            request.before_reading(str(path))
            data = files.read_bytes(path, fix="fetch the corpus again", most=archives.MAX_TEXT_BYTES)
            texts.update(_transcripts(data, str(path)))
        elif is_audio(path.name):
            known = audio.setdefault(path.stem, path)
            if preference(path.name) < preference(known.name):
                audio[path.stem] = path
    for name in sorted(set(texts) | set(audio)):
        path = audio.get(name, chapter / f"{name}.flac")
        yield Utterance(name, str(path), texts.get(name, ""), split, speaker=speaker)


def _transcripts(data: bytes, where: str) -> Iterator[Tuple[str, str]]:
    try:
        lines = decode(data).splitlines()
    except OtherEncoding as other:
        fix = "fetch the corpus again, or save the file as UTF-8"
        raise BadData(f"{where} is not UTF-8 but {other.likely}", fix=fix) from None
    for line in lines:
        name, text = (line.split(maxsplit=1) + ["", ""])[:2]
        # The id is a file's name; one that leads elsewhere, or that no file can have, is nobody's.
        if name and "/" not in name and "\0" not in name and name not in (".", ".."):
            yield name, text.strip()


# -- archives ---------------------------------------------------------------------------------------------------------


def _read_archive(path: Path, split: str) -> Iterator[Utterance]:
    """Audio and transcripts come in any order: both go to a scratch database, and out in the order of the audio."""
    # Without a name, SQLite makes a file of its own that no killed program leaves behind.
    with closing(sqlite3.connect("", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("CREATE TABLE audio (id TEXT PRIMARY KEY, position INTEGER, member TEXT, speaker TEXT)")
        database.execute("CREATE TABLE text (id TEXT PRIMARY KEY, text TEXT, folder TEXT, speaker TEXT)")
        _index(path, split, database)
        yield from _joined(path, split, database)


def _index(path: Path, split: str, database: sqlite3.Connection) -> None:
    for position, member in enumerate(archives.members(path)):
        parts = _parts(member.name)
        if parts is None or parts[-4] != split:
            continue
        if member.name.lower().endswith(_TRANSCRIPTS):
            where, folder = f"{path}{ARCHIVE_SEPARATOR}{member.name}", str(PurePosixPath(member.name).parent)
            for name, text in _transcripts(member.read(archives.MAX_TEXT_BYTES), where):
                database.execute("INSERT OR REPLACE INTO text VALUES (?, ?, ?, ?)", (name, text, folder, parts[-3]))
        else:
            _add_audio(database, path, position, member.name, parts[-3])


def _add_audio(database: sqlite3.Connection, path: Path, position: int, member: str, speaker: str) -> None:
    """Raises BadData where the same file comes twice."""
    name = PurePosixPath(member).stem
    known = database.execute("SELECT member FROM audio WHERE id = ?", (name,)).fetchone()
    if known is not None:
        if preference(member) == preference(known[0]):
            raise BadData(f"{path} holds the utterance {name} twice", fix="fetch the archive again")
        if preference(member) > preference(known[0]):
            return
    database.execute("INSERT OR REPLACE INTO audio VALUES (?, ?, ?, ?)", (name, position, member, speaker))


def _parts(member: str) -> Optional[Tuple[str, ...]]:
    """(..., SPLIT, SPEAKER, CHAPTER, FILE) of a member that is audio or transcripts, else None."""
    path = PurePosixPath(member)
    wanted = is_audio(path.name) or path.name.lower().endswith(_TRANSCRIPTS)
    # Of the folders above the split only a Mac's own holds nothing of the corpus.
    hidden = "__MACOSX" in path.parts or any(is_hidden(part) for part in path.parts[-4:])
    return path.parts if wanted and len(path.parts) >= 4 and not hidden else None


def _splits_of_archive(path: Path) -> List[str]:
    found = (_parts(member.name) for member in archives.members(path))
    return sorted({parts[-4] for parts in found if parts is not None})


def _joined(path: Path, split: str, database: sqlite3.Connection) -> Iterator[Utterance]:
    found = database.execute(
        "SELECT audio.id, member, coalesce(text, ''), audio.speaker"
        " FROM audio LEFT JOIN text USING (id) ORDER BY position"
    )
    for name, member, text, speaker in found:
        yield Utterance(name, f"{path}{ARCHIVE_SEPARATOR}{member}", text, split, speaker=speaker)
    silent = database.execute(
        "SELECT id, text, folder, speaker FROM text WHERE id NOT IN (SELECT id FROM audio) ORDER BY id"
    )
    for name, text, folder, speaker in silent:
        # A path that can not exist, where the member should be: the utterance is rejected for want of audio.
        yield Utterance(name, f"{path}/{folder}/{name}.flac", text, split, speaker=speaker)


# -- what asrctl knows of it ------------------------------------------------------------------------------------------


def _recognizes(path: Path) -> Match:
    """Certain where there are splits called as in LibriSpeech, with transcripts of chapters in them, or archives."""
    if path.is_file():
        return Match.POSSIBLE if path.name.endswith(ARCHIVE_SUFFIXES) and not is_audio(path.name) else Match.NO
    for place in (path, path / "LibriSpeech"):
        for split in SPLITS:
            if any((place / (split + suffix)).is_file() for suffix in ARCHIVE_SUFFIXES):
                return Match.CERTAIN
            if next((place / split).glob("*/*/*.trans.txt"), None) is not None:
                return Match.CERTAIN
    return Match.NO


def _downloads(request: CorpusRequest) -> Mapping[str, int]:
    if request.source is not None or request.downloads is None:
        return {}
    splits = [split for split in request.splits + request.optional_splits if split in SPLITS]
    return download.missing_bytes(_remote(splits), request.downloads)


CORPUS = Corpus(
    name="librispeech",
    help="LibriSpeech, unpacked or in its archives; without FOLDER it is downloaded.",
    read=utterances,
    source="[FOLDER]",
    examples=("", "LibriSpeech --train train-clean-100 --eval dev-clean --test test-clean"),
    splits={"train": ("train-clean-100",), "eval": ("dev-clean",)},
    split_names=_NAMES,
    recognizes=_recognizes,
    downloads=_downloads,
)
