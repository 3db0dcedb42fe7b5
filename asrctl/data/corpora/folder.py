"""A folder of audio: a `.txt` of the same stem beside each file, or a `metadata.csv` that names files and transcripts.

Folders may lie in each other, or be links. Those that are called train, dev, test or a synonym are the splits.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path
from typing import Iterator, List, Optional, Set, Tuple

from asrctl.data.corpora import kind_of, manifest
from asrctl.data.corpus import Corpus, CorpusRequest, Match, named_as_folder
from asrctl.data.reading import channels
from asrctl.data.reading.encodings import OtherEncoding, decode
from asrctl.data.reading.file_names import is_audio, stem_of, suffix_of
from asrctl.data.reading.pairing import TRANSCRIPT, pair
from asrctl.data.reading.recording_paths import Places
from asrctl.data.reading.split_names import SplitFolders
from asrctl.data.reading.tally import Tally
from asrctl.data.reading.walk import Walk
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData
from asrctl.events import Note, Warned
from asrctl.messages import amounts
from asrctl.runtime.os_errors import fault_of_file
from asrctl.storage import files

METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
_MAX_TEXT_BYTES = 1 << 20
_TABLES = (".csv", ".tsv", ".jsonl", ".json", ".xlsx", ".ods", ".parquet")
# Lone texts that are about the corpus, not in it.
_ABOUT = frozenset(("readme", "license", "license", "copying", "copyright", "authors", "source", "notes", "changelog"))


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """Every utterance under the folder, by path. Raises BadData."""
    source = CORPUS.needed(request)
    if not source.is_dir():
        what = "a file, not a folder" if source.exists() else "not there"
        kind = kind_of(source)
        other = f", or use asrctl prepare {kind} {shlex.quote(str(source))}" if kind is not None else ""
        raise BadData(f"{source} is {what}", fix=f"give the folder that holds the recordings{other}")
    reader = _Reader(source, request)
    found = False
    for utterance in channels.chosen(request, reader.read()):
        found = True
        yield utterance
    reader.tell()
    if not found:
        raise BadData(
            f"{source} holds no audio with transcripts",
            fix="put a .txt of the same name beside each audio file, or a metadata.csv with file_name,transcription",
        )


class _Reader:
    """Reads a corpus folder, and keeps account of what people may want to know of it."""

    def __init__(self, source: Path, request: CorpusRequest) -> None:
        self._source = source
        self._request = request
        self._walk = Walk(source, request.root)
        self._splits = SplitFolders(source)
        self._lists = manifest.Account(self._splits, Places(remote=request.remote))
        self._copies, self._renamed, self._foreign = Tally(), Tally(), Tally()
        self._spoken, self._mute, self._lone, self._tables = Tally(), Tally(), Tally(), Tally()
        self._encoding: Optional[Tuple[OtherEncoding, Path]] = None  # of the first transcript that is not Unicode

    def read(self) -> Iterator[Utterance]:
        """Raises BadData, OSError."""
        for folder, names in self._walk.below(self._source, last=_has_metadata):
            listed = next((name for name in METADATA if name in names), None)
            if listed is not None:
                yield from self._listed(Path(folder), listed)
            else:
                yield from self._paired(Path(folder), names)

    def tell(self) -> None:
        """What was left out, paired by other than the name, or can not be used, and why. Raises BadData."""
        kind = kind_of(self._source) if self._mute and not self._spoken else None
        if kind is not None and kind != CORPUS.name:
            command = f"asrctl prepare {kind} {shlex.quote(str(self._source))}"
            raise BadData(f"{self._source} is in the layout of the corpus {kind}", fix=f"use {command}")
        emit = self._request.emit
        self._walk.tell(emit)
        self._lists.tell(self._request)
        if self._copies:
            why = "as another of their name has the same transcript"
            emit(
                Warned(
                    f"{amounts.count(self._copies.count, 'recording is', 'recordings are')} left out, {why}, such as "
                    f"{self._copies.first}"
                )
            )
        if self._renamed:
            told = amounts.count(self._renamed.count, "recording and transcript", "recordings and transcripts")
            why = "whose names differ in case or Unicode form are taken together"
            emit(Note(f"{told} {why}, such as {self._renamed.first}"))
        if self._foreign:
            one, many = "transcript is not UTF-8, and so counts", "transcripts are not UTF-8, and so count"
            told = amounts.count(self._foreign.count, one, many)
            emit(Warned(f"{told} as missing, such as {self._foreign.first}"))
        if self._lone:
            self._request.hint("no-audio", f"put the recordings beside their transcripts: {self._lone.first} has none")
        if self._encoding is not None and self._foreign.count >= self._mute.count:
            other, path = self._encoding
            self._request.hint("no-transcript", other.converted(path, count=self._foreign.count))
        elif self._mute:
            table = self._tables.first
            in_table = f"; if {table} holds them, asrctl prepare manifest {shlex.quote(table)}" if table else ""
            beside = f"put a .txt of the same name beside each recording: {self._mute.first} has none"
            self._request.hint("no-transcript", beside + in_table)

    def _paired(self, folder: Path, names: List[str]) -> Iterator[Utterance]:
        """Audio with the transcripts beside it; then the transcripts that nobody speaks."""
        found = pair(names)
        for name, text in found.spoken:
            if text is None:
                self._mute.add(str(folder / name))
            else:
                self._spoken.add(str(folder / name))
            yield self._utterance(folder / name, self._transcript(folder / text) if text is not None else "")
        for text in found.silent:
            stem = text[: -len(TRANSCRIPT)]
            if stem.lower() not in _ABOUT:
                self._lone.add(str(folder / text))
                yield self._utterance(folder / stem, self._transcript(folder / text))
        for name, taken in found.copies:
            self._copies.add(f"{folder / name} ({taken} is read)")
        for name, text in found.renamed:
            self._renamed.add(f"{folder / name} and {text}")
        for name in names:
            if suffix_of(name).lower() in _TABLES:
                self._tables.add(str(folder / name))

    def _listed(self, folder: Path, listed: str) -> Iterator[Utterance]:
        """What the metadata names, then the audio under the folder that it does not name."""
        self._request.before_reading(str(folder / listed))
        seen: Set[bytes] = set()
        inside = folder.relative_to(self._source).as_posix()
        for utterance in manifest.read(folder / listed, root=self._request.root, inside=inside, account=self._lists):
            seen.add(_fingerprint(utterance.audio))
            yield utterance
        for inner, names in self._walk.below(folder):
            unnamed = [name for name in names if is_audio(name)]
            named = {name for name in unnamed if _fingerprint(os.path.join(inner, name)) in seen}
            stems = {stem_of(name): name for name in named}
            for name in unnamed:
                twin = stems.get(stem_of(name))
                if twin is None:
                    yield self._utterance(Path(inner) / name, "")
                elif name not in named:
                    self._copies.add(f"{Path(inner) / name} ({twin} is read)")

    def _utterance(self, audio: Path, text: str) -> Utterance:
        name = audio.relative_to(self._source).as_posix()
        identity = os.fsencode(name).decode("utf-8", "backslashreplace")
        return Utterance(identity, str(audio), text, self._splits.of(name))

    def _transcript(self, path: Path) -> str:
        """The text in a file; "" where it is not readable as Unicode of bounded length. Raises BadData (--root)."""
        self._request.before_reading(str(path))
        try:
            return decode(files.read_bytes(path, fix="", most=_MAX_TEXT_BYTES)).replace("\0", "")
        except OtherEncoding as other:
            self._foreign.add(f"{path} ({other.likely})")
            self._encoding = self._encoding or (other, path)
            return ""
        except BadData:
            return ""
        except OSError as error:
            if fault_of_file(error) is None:
                raise
            return ""


def _has_metadata(names: List[str]) -> bool:
    return any(name in names for name in METADATA)


def _fingerprint(path: str) -> bytes:
    """A few bytes that stand for a path, so that a long list fits into memory."""
    return hashlib.blake2b(os.fsencode(os.path.normpath(path)), digest_size=8).digest()


def _recognizes(path: Path) -> Match:
    return Match.POSSIBLE if path.is_dir() else Match.NO


CORPUS = Corpus(
    name="folder",
    help="Recordings, each with a .txt of the same name beside it, or a metadata.csv that names them.",
    read=utterances,
    source="FOLDER",
    examples=("my-recordings", "my-recordings --name mine --max-s 15 --max-rejects 0.1"),
    options=(channels.OPTION,),
    recognizes=_recognizes,
    default_name=named_as_folder,
)
