"""Lists of fairseq: SPLIT.tsv, which names recordings, and SPLIT.wrd or SPLIT.ltr with what is said on them.

The first line of a .tsv is the folder that the others lead from, and these are PATH<TAB>FRAMES
(examples/wav2vec/wav2vec_manifest.py). Line by line, .wrd has the words and .ltr the letters, with "|" after each word
(examples/wav2vec/libri_labels.py). dict.ltr.txt lists the letters that a model knows.
"""

from __future__ import annotations

import re
import shlex
from itertools import zip_longest
from pathlib import Path
from typing import FrozenSet, Iterator, List, NamedTuple, Optional, Tuple

from asrctl.data.corpus import Corpus, CorpusOption, CorpusRequest, Match, named_as_folder
from asrctl.data.reading import channels, path_map, tables
from asrctl.data.reading.recording_paths import Places
from asrctl.data.reading.split_names import split_of
from asrctl.data.reading.tally import Tally
from asrctl.data.reading.walk import Walk
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData
from asrctl.events import Warned
from asrctl.messages import amounts
from asrctl.storage import files

_LIST = ".tsv"
_WORDS, _LETTERS = "wrd", "ltr"
_BOUNDARY = "|"
# What fairseq's dictionaries begin with, and SentencePiece's sign for the beginning of a word.
_SPECIAL = frozenset(("<s>", "<pad>", "</s>", "<unk>"))
_PIECE = "\u2581"
_IN_ZIP = re.compile(r".+\.zip:\d+:\d+")
_MAX_PROBLEMS = 20
# Recordings whose frames are compared with what their rows say.
_COMPARED = 2000
_ABOVE = 3


class _List(NamedTuple):
    """A .tsv with its labels. kind: the ending of these. name: as --train and others may name it."""

    path: Path
    name: str
    kind: str
    split: str

    @property
    def labels(self) -> Path:
        return self.path.with_suffix(f".{self.kind}")


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """Those of all lists. Raises BadData."""
    reader = _Reader(CORPUS.needed(request), request)
    yield from channels.chosen(request, reader.read())
    reader.tell()


class _Reader:
    """Reads lists, and keeps account of what people may want to know of them."""

    def __init__(self, source: Path, request: CorpusRequest) -> None:
        self._source = source
        self._request = request
        self._walk = Walk(source, request.root)
        self._places = Places(path_map.PathMap(request), request.remote)
        self._other_lengths, self._differing, self._unknown, self._special = Tally(), Tally(), Tally(), Tally()
        self._compared = 0

    def read(self) -> Iterator[Utterance]:
        """Raises BadData, OSError."""
        for one in self._lists():
            for path in (one.path, one.labels):
                self._request.before_reading(str(path))
            yield from self._utterances(one)

    def tell(self) -> None:
        """What was left out, does not fit together, or helps against rejects."""
        emit = self._request.emit
        self._walk.tell(emit)
        self._places.tell(emit, self._request.hint)
        for tally, one, many, why in (
            (
                self._other_lengths,
                "recording has",
                "recordings have",
                "other frames than the list says; is it the audio?",
            ),
            (self._differing, "line has", "lines have", "other words in .wrd than letters in .ltr; .wrd is read"),
            (self._unknown, "line holds", "lines hold", "letters that dict.ltr.txt does not"),
            (self._special, "line holds", "lines hold", "signs of fairseq's own (<unk> ...), which are left out"),
        ):
            if tally:
                emit(Warned(f"{amounts.count(tally.count, one, many)} {why} (such as {tally.first})"))
        self._request.hint("no-transcript", "fill the empty lines of the .wrd or .ltr beside the .tsv")

    # -- which lists --------------------------------------------------------------------------------------------------

    def _lists(self) -> List[_List]:
        """Raises BadData."""
        found = list(self._found())
        with_labels = [one for one in found if one.kind]
        if not with_labels:
            ending = self._request.options.get("labels") or f"{_WORDS} or .{_LETTERS}"
            what = f"no .{ending} beside {found[0].path}" if found else "no list of fairseq (SPLIT.tsv)"
            raise BadData(
                f"{self._source} holds {what}", fix="give the folder with train.tsv and train.ltr, as fairseq reads it"
            )
        if len(with_labels) < len(found):
            first = next(one for one in found if not one.kind)
            count = amounts.count(len(found) - len(with_labels), "list has", "lists have")
            self._request.emit(Warned(f"{count} no labels and is not read, such as {first.path}"))
        if len(with_labels) == 1 and with_labels[0].split not in ("train", "eval", "test"):
            return [with_labels[0]._replace(split="train")] if not self._is_wanted(with_labels[0]) else with_labels
        return with_labels

    def _found(self) -> Iterator[_List]:
        """Every list; kind is "" where it has no labels. Raises BadData."""
        if not self._source.is_dir():
            if not files.is_file(self._source):
                raise BadData(f"there is no {self._source}", fix="give the folder that holds train.tsv")
            if self._source.suffix != _LIST:
                line = f"asrctl prepare manifest {shlex.quote(str(self._source))}"
                raise BadData(f"{self._source} is no .tsv of fairseq", fix=f"give train.tsv, or use {line}")
            yield self._list(self._source, self._source.stem)
            return
        for folder, names in self._walk.below(self._source):
            inside = Path(folder).relative_to(self._source)
            for name in names:
                if name.endswith(_LIST) and _is_list(Path(folder) / name):
                    yield self._list(Path(folder) / name, (inside / name[: -len(_LIST)]).as_posix())

    def _list(self, path: Path, name: str) -> _List:
        chosen = self._request.options.get("labels")
        kinds = (chosen,) if chosen else (_WORDS, _LETTERS)
        kind = next((kind for kind in kinds if files.is_file(path.with_suffix(f".{kind}"))), "")
        names = (name, f"{name}{_LIST}", path.stem, path.name)
        wanted = self._request.splits + self._request.optional_splits
        named = next((one for one in names if one in wanted), None)
        return _List(path, name, kind, named or split_of(name) or path.stem)

    def _is_wanted(self, one: _List) -> bool:
        return one.split in self._request.splits + self._request.optional_splits

    # -- one list -----------------------------------------------------------------------------------------------------

    def _utterances(self, one: _List) -> Iterator[Utterance]:
        _refuse_unequal(one)
        rows = tables.lines(one.path)
        top = self._top(one.path, next(rows)[1].strip())
        letters = one.path.with_suffix(f".{_LETTERS}")
        others = tables.lines(letters, keep_empty=True) if one.kind == _WORDS and files.is_file(letters) else iter(())
        known = _letters(one.path.parent / f"dict.{one.kind}.txt") if one.kind != _WORDS else None
        problems: List[str] = []
        labels = tables.lines(one.labels, keep_empty=True)
        for at, (row, label, other) in enumerate(zip_longest(rows, labels, others)):
            if row is None:
                break
            path, problem = _path(row[1])
            if row[0] != at + 2:  # an empty line before it: what belongs to what?
                problem = "the line before it is empty"
            if problem:
                problems.append(f"line {row[0]}: {problem}")
                if len(problems) >= _MAX_PROBLEMS:
                    break
            if problems:
                continue
            text = label[1] if label is not None else ""
            where = f"{one.labels}, line {row[0] - 1}"
            text = self._joined(text, known, where) if one.kind == _LETTERS else self._plain(text, known, where)
            if other is not None and _joined(other[1].split()) != text:
                self._differing.add(where)
            found = self._places.find(str(one.path.parent), f"{top}/{path}")
            self._compare(found, row[1].split("\t")[1])
            yield Utterance(path, found, text, one.split)
        if problems:
            raise BadData(
                f"{one.path} has {amounts.count(len(problems), 'bad line')}",
                fix="correct the lines named above: PATH, a tab, and the number of frames",
                problems=problems,
            )

    @staticmethod
    def _top(path: Path, written: str) -> str:
        """The folder that a list leads from: as it is written, or where that is here."""
        if Path(written).is_absolute():  # --map is for these
            return written
        bases = [path.parent, *list(path.resolve().parents)[1 : _ABOVE + 1], Path.cwd()]
        return str(next((base / written for base in bases if files.is_folder(base / written)), path.parent / written))

    def _joined(self, line: str, known: Optional[FrozenSet[str]], where: str) -> str:
        return _joined(self._plain(line, known, where).split())

    def _plain(self, line: str, known: Optional[FrozenSet[str]], where: str) -> str:
        """Without what only fairseq understands."""
        symbols = line.split()
        if known is not None and any(one not in known and one not in _SPECIAL for one in symbols):
            self._unknown.add(where)
        plain = [one for one in symbols if one not in _SPECIAL]
        if len(plain) < len(symbols):
            self._special.add(where)
        return " ".join(plain)

    def _compare(self, path: str, frames: str) -> None:
        if self._compared >= _COMPARED:
            return
        from asrctl.data import audio  # brings numpy, which the help must not load

        self._compared += 1
        header = audio.header(path)
        if header is not None and header.frames != int(frames) and header.length_s is not None:
            self._other_lengths.add(f"{path}: {header.frames}, not {frames}")


def _refuse_unequal(one: _List) -> None:
    """Raises BadData where labels can not be those of the list: one line too few, and all after it are others'."""
    rows = sum(1 for _ in tables.lines(one.path)) - 1
    count = last = 0
    for number, text in tables.lines(one.labels, keep_empty=True):
        count, last = number, number if text.strip() else last
    if rows < 1:
        raise BadData(f"{one.path} names no recording", fix="make the list again, with recordings in its folder")
    if count < rows or last > rows:
        raise BadData(
            f"{one.path} names {amounts.count(rows, 'recording')}, and {one.labels} has {amounts.count(count, 'line')}",
            fix="make both again from the same recordings: each line of one belongs to that of the other",
        )


def _joined(letters: List[str]) -> str:
    """H E L L O | Y O U | -> "HELLO YOU"."""
    plain = "".join(" " if one == _BOUNDARY else one for one in letters if one not in _SPECIAL)
    return " ".join(plain.replace(_PIECE, " ").split())


def _path(line: str) -> Tuple[str, Optional[str]]:
    """(the path in a row, what is wrong with it)."""
    cells = line.split("\t")
    if len(cells) != 2 or not cells[1].strip().isascii() or not cells[1].strip().isdigit():
        return "", "it is not PATH, a tab, and a number of frames"
    if _IN_ZIP.fullmatch(cells[0]):
        return "", f"{cells[0]} lies within a zip archive, which is not read: unpack it"
    return cells[0], None if cells[0].strip() else "the path is empty"


def _letters(path: Path) -> Optional[FrozenSet[str]]:
    """The symbols of a dictionary; None where there is none."""
    if not files.is_file(path):
        return None
    return frozenset(line.rsplit(" ", 1)[0] for _, line in tables.lines(path))


def _is_list(path: Path) -> bool:
    """Whether a .tsv begins as fairseq's do: with a folder, and no other column."""
    head = _head(path)
    return bool(head) and "\t" not in head[0] and len(head) > 1 and head[1].count("\t") == 1


def _head(path: Path) -> List[str]:
    try:
        with files.open_regular(path, fix="") as stream:
            return [stream.readline(1 << 16).decode("utf-8", "replace").strip("\r\n") for _ in range(2)]
    except (BadData, OSError):
        return []


def _recognizes(path: Path) -> Match:
    lists = sorted(path.glob(f"*{_LIST}"))[:20] if path.is_dir() else [path] if path.suffix == _LIST else []
    labeled = (one for one in lists if any(files.is_file(one.with_suffix(f".{kind}")) for kind in (_WORDS, _LETTERS)))
    return Match.CERTAIN if any(_is_list(one) for one in labeled) else Match.NO


CORPUS = Corpus(
    name="fairseq",
    help="Lists of fairseq (train.tsv with train.wrd or train.ltr); each is a split by its name.",
    read=utterances,
    source="FOLDER",
    examples=("manifest-100h", "manifest-100h --train train --eval dev_other --map /checkpoint/data=/mnt/data"),
    options=(
        channels.OPTION,
        path_map.OPTION,
        CorpusOption("--labels", "Ending of the labels to read; default: wrd, else ltr.", metavar="wrd|ltr|..."),
    ),
    recognizes=_recognizes,
    default_name=named_as_folder,
)
