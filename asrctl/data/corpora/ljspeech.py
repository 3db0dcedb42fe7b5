"""LJ Speech (Ito and Johnson 2017), and what is laid out like it: metadata.csv beside wavs/.

Its README: "one record per line, delimited by the pipe character (0x7c)", with the fields ID, Transcription and
Normalized Transcription ("numbers, ordinals, and monetary units expanded into full words"). There is no quoting and no
first line with names, and the recordings are wavs/ID.wav. Other voices have the last field twice, or leave it out.
"""

from __future__ import annotations

import shlex
from pathlib import Path, PurePosixPath
from typing import Iterator, List, Optional

from asrctl.data.corpus import Corpus, CorpusOption, CorpusRequest, Match, named_as_folder
from asrctl.data.reading import tables
from asrctl.data.reading.columns import FIELD_NAMES
from asrctl.data.reading.file_names import is_audio
from asrctl.data.reading.places import Endings, corpus_folder, inner
from asrctl.data.reading.tally import Tally
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData
from asrctl.events import Note, Warned
from asrctl.messages import amounts

_LIST, _BESIDE = "metadata.csv", "wavs"
_FIELDS = 3
_MOST_HEAD = 4096


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """A line of metadata.csv each. Raises BadData."""
    has = f"{_LIST} and {_BESIDE}/"
    folder = corpus_folder(CORPUS.needed(request), _is_corpus, what="LJ Speech", has=has)
    path = folder / _LIST
    request.before_reading(str(path))
    reader = _Reader(folder, request.options.get("transcript") != "raw")
    for line, text in tables.lines(path):
        cells = [cell.strip() for cell in text.split("|")]
        if line == 1:
            _refuse_named(path, cells)
        yield reader.read(path, line, cells)
    reader.tell(request)


def _refuse_named(path: Path, cells: List[str]) -> None:
    """Raises BadData where the first line names columns: then it is a list like any other."""
    if len(cells) > 1 and all(cell.lower() in FIELD_NAMES for cell in cells[:2]):
        command = f"asrctl prepare manifest {shlex.quote(str(path))}"
        raise BadData(f"the first line of {path} names columns, which LJ Speech does not", fix=f"use {command}")


class _Reader:
    def __init__(self, folder: Path, normalized: bool) -> None:
        self._folder = folder / _BESIDE
        self._normalized = normalized
        self._endings = Endings(".wav")
        self._bad, self._plain, self._lost, self._mute = Tally(), Tally(), Tally(), Tally()

    def read(self, path: Path, line: int, cells: List[str]) -> Utterance:
        """A bad line is an utterance that can only be rejected."""
        where = f"{path}, line {line}"
        name = PurePosixPath(cells[0].replace("\\", "/")).name
        if not 2 <= len(cells) <= _FIELDS or not name:
            count = amounts.count(len(cells), "field")
            self._bad.add(f"{where}: {count} between | where id|text|normalized has {_FIELDS}")
            return Utterance(f"line-{line}", str(self._folder / f"line {line} of {_LIST}"), "", "train")
        stem = name.rpartition(".")[0] if is_audio(name) else name
        audio = self._endings.find(self._folder / stem)
        if audio is None:
            self._lost.add(str(self._folder / f"{stem}.wav"))
        text = self._text(where, cells)
        if not text:
            self._mute.add(where)
        return Utterance(stem, str(audio or self._folder / f"{stem}.wav"), text, "train")

    def _text(self, where: str, cells: List[str]) -> str:
        if self._normalized and len(cells) == _FIELDS and cells[2]:
            return cells[2]
        if self._normalized:
            self._plain.add(where)
        return cells[1]

    def tell(self, request: CorpusRequest) -> None:
        if self._bad:
            request.emit(Warned(f"{amounts.count(self._bad.count, 'line')} can not be read: {self._bad.first}"))
        if self._plain:
            told = amounts.count(self._plain.count, "line has", "lines have")
            request.emit(Note(f"{told} no normalized text, and the raw one is taken, such as {self._plain.first}"))
        if self._lost:
            where = f"put the recordings that {_LIST} names into {_BESIDE}/"
            request.hint("no-audio", f"{where}, such as {self._lost.first}")
        if self._mute:
            request.hint("no-transcript", f"fill or leave out the lines without a text, such as {self._mute.first}")


def _is_corpus(folder: Path) -> bool:
    return (folder / _LIST).is_file() and (folder / _BESIDE).is_dir()


def _has_bars(folder: Path) -> bool:
    """Whether the first line is of fields between bars, and does not name columns."""
    with open(folder / _LIST, "rb") as stream:
        cells = stream.read(_MOST_HEAD).partition(b"\n")[0].decode("utf-8", "replace").strip("\r\ufeff").split("|")
    return 2 <= len(cells) <= _FIELDS and not all(cell.strip().lower() in FIELD_NAMES for cell in cells[:2])


def _recognizes(path: Path) -> Match:
    if not path.is_dir():
        return Match.NO
    found: Optional[Path] = path if _is_corpus(path) else next(iter(inner(path, _is_corpus)), None)
    return Match.CERTAIN if found is not None and _has_bars(found) else Match.NO


CORPUS = Corpus(
    name="ljspeech",
    help="LJ Speech, and what is laid out like it: metadata.csv with id|text|normalized text, and wavs/.",
    read=utterances,
    source="FOLDER",
    examples=("LJSpeech-1.1", "LJSpeech-1.1 --transcript raw"),
    options=(
        CorpusOption(
            "--transcript",
            "Which text to take: with numbers written out, or as it was printed.",
            metavar="WHICH",
            default="normalized",
            choices=("normalized", "raw"),
        ),
    ),
    recognizes=_recognizes,
    default_name=named_as_folder,
)
