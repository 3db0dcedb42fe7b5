"""AN4 (Acero 1990), also called the census database: etc/an4_train.transcription and recordings below wav/.

A line is "<s> WORDS </s> (ID)", in the test set without the marks; an4_train.fileids has the path of each recording
below wav/, without its ending. Whoever speaks is the middle part of the ID. Recordings are NIST SPHERE (.sph), or
samples without any header (.raw), which nothing can tell the rate or byte order of.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Dict, Iterator, Optional

from asrctl.data.corpus import Corpus, CorpusRequest, Match
from asrctl.data.reading import tables
from asrctl.data.reading.file_names import is_audio, is_hidden, stem_of
from asrctl.data.reading.places import Endings, corpus_folder, inner
from asrctl.data.reading.tally import Tally
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData
from asrctl.events import Warned
from asrctl.messages import amounts
from asrctl.storage import files

_SPLITS = ("train", "test")
_LINE = re.compile(r"(?P<text>.*)\((?P<id>[^()\s]+)\)\s*")
_MARKS = re.compile(r"(^|\s)</?s>(?=\s|$)")
_RAW = ".raw"
_CONVERTED = (".wav", ".flac")
_HEADER_BYTES = 1024


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """The utterances of the wanted splits. Raises BadData."""
    has = "etc/an4_train.transcription and wav/"
    folder = corpus_folder(CORPUS.needed(request), _is_corpus, what="AN4", has=has)
    reader = _Reader(folder, request)
    for split in request.splits + request.optional_splits:
        if split in request.splits and not _transcription(folder, split).is_file():
            known = [name for name in _SPLITS if _transcription(folder, name).is_file()]
            fix = f"choose the splits, such as `--train {known[0]}`"
            raise BadData(f"{folder} has no split {split} (it has {', '.join(known)})", fix=fix)
        if _transcription(folder, split).is_file():
            yield from reader.read(split)
    reader.tell()


def _transcription(folder: Path, split: str) -> Path:
    return folder / "etc" / f"an4_{split}.transcription"


class _Reader:
    """Reads transcriptions, and keeps account of what libsndfile will not decode."""

    def __init__(self, folder: Path, request: CorpusRequest) -> None:
        self._folder = folder
        self._request = request
        self._endings = Endings(".wav", ".sph")
        self._below: Optional[Dict[str, Path]] = None
        self._bad, self._raw, self._shortened, self._lost = Tally(), Tally(), Tally(), Tally()

    def read(self, split: str) -> Iterator[Utterance]:
        path = _transcription(self._folder, split)
        self._request.before_reading(str(path))
        listed = self._listed(split)
        for number, line in tables.lines(path):
            found = _LINE.fullmatch(line)
            if found is None:
                self._bad.add(f"{path}, line {number}")
                yield Utterance(f"{split}-line-{number}", str(self._folder / "wav" / f"line {number}"), "", split)
                continue
            name = PurePosixPath(found.group("id")).name
            parts = name.split("-")
            text = " ".join(_MARKS.sub(" ", found.group("text")).split())
            audio = self._audio(listed.get(name), name)
            yield Utterance(name, str(audio), text, split, speaker=parts[1] if len(parts) > 2 else audio.parent.name)

    def _listed(self, split: str) -> Dict[str, Path]:
        """{ID: path below wav/} as the .fileids say, where there are such."""
        path = self._folder / "etc" / f"an4_{split}.fileids"
        if not path.is_file():
            return {}
        self._request.before_reading(str(path))
        inside = (PurePosixPath(line.strip()) for _, line in tables.lines(path))
        return {
            one.name: self._folder / "wav" / one for one in inside if ".." not in one.parts and not one.is_absolute()
        }

    def _audio(self, stem: Optional[Path], name: str) -> Path:
        found = self._endings.find(stem) if stem is not None else None
        raw = stem.with_name(f"{name}{_RAW}") if stem is not None else None
        if found is None and raw is not None and files.is_file(raw):
            found = raw
        found = found or self._elsewhere(name)
        if found is None:
            missing = (stem or self._folder / "wav" / name).with_name(f"{name}.sph")
            self._lost.add(str(missing))
            return missing
        if found.suffix == _RAW:
            self._raw.add(str(found))
        elif found.suffix.lower() == ".sph" and _is_shortened(found):
            unpacked = next((path for path in map(found.with_suffix, _CONVERTED) if path.is_file()), None)
            if unpacked is not None:
                return unpacked
            self._shortened.add(str(found))
        return found

    def _elsewhere(self, name: str) -> Optional[Path]:
        """A recording of this ID anywhere below wav/."""
        if self._below is None:
            files = sorted(path for path in (self._folder / "wav").rglob("*") if not is_hidden(path.name))
            self._below = {}
            for path in files:
                if is_audio(path.name) or path.suffix == _RAW:
                    known = self._below.setdefault(stem_of(path.name), path)
                    if known.suffix == _RAW:
                        self._below[stem_of(path.name)] = path
        return self._below.get(name)

    def tell(self) -> None:
        emit, hint = self._request.emit, self._request.hint
        if self._bad:
            such = f"{self._bad.first} does not end with (ID)"
            emit(Warned(f"{amounts.count(self._bad.count, 'line')} can not be read: {such}"))
        if self._lost:
            hint("no-audio", f"fetch the corpus again: it lacks recordings such as {self._lost.first}")
        if self._shortened:
            count = amounts.count(self._shortened.count, "recording is", "recordings are")
            cure = "convert them with sph2pipe -f wav A.sph A.wav, beside the old ones"
            emit(
                Warned(f"{count} packed by shorten, which nothing here reads, such as {self._shortened.first}; {cure}")
            )
            hint("unreadable", f"{self._shortened.first} is packed by shorten: {cure}")
        elif self._raw:
            cure = "use an4_sphere.tar.gz, or convert them with sox -t raw -r 16000 -e signed -b 16 A.raw A.wav"
            hint("unreadable", f"{self._raw.first} has no header: {cure}, with -B where high bytes come first")


def _is_shortened(path: Path) -> bool:
    with open(path, "rb") as stream:
        return b"shorten" in stream.read(_HEADER_BYTES)


def _is_corpus(folder: Path) -> bool:
    return any(_transcription(folder, split).is_file() for split in _SPLITS)


def _recognizes(path: Path) -> Match:
    is_one = path.is_dir() and (_is_corpus(path) or bool(inner(path, _is_corpus)))
    return Match.CERTAIN if is_one else Match.NO


CORPUS = Corpus(
    name="an4",
    help="AN4 (the census database), as NIST SPHERE or converted.",
    read=utterances,
    source="FOLDER",
    examples=("an4",),
    recognizes=_recognizes,
)
