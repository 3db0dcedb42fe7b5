"""A list of utterances in CSV, TSV or JSON lines, with paths relative to the list's folder."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from asrctl import files
from asrctl.corpora import SPLIT_DEFAULTS, SPLIT_NAMES, CorpusRequest, lies_under, need_source
from asrctl.corpora.splits import SplitFolders
from asrctl.errors import BadData
from asrctl.utterances import Utterance

NAMES = SPLIT_NAMES
DEFAULTS = SPLIT_DEFAULTS

# Field -> names of its column in the wild, the best known first.
COLUMNS: Mapping[str, Tuple[str, ...]] = {
    "path": ("path", "audio", "audio_path", "audio_filepath", "audio_file", "file", "file_name", "filename", "wav"),
    "text": ("text", "transcript", "transcription", "sentence"),
    "split": ("split", "subset", "partition"),
    "speaker": ("speaker", "speaker_id", "spk", "client_id"),
    "id": ("id", "utterance_id", "utt_id", "utterance", "key"),
    "start": ("start", "start_s", "offset"),
    "end": ("end", "end_s"),
    "duration": ("duration", "duration_s"),
}
REQUIRED = ("path", "text")

_MAX_LINE = 1 << 20
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_MAX_PROBLEMS = 20
_OPEN_QUOTE = "a quote is opened and not closed on the same line"
_DELIMITERS = ",\t;|"
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
# {field: value}, or what is wrong with the row.
Row = Union[Mapping[str, Any], str]


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """The rows of the list. Raises BadData naming every bad row (twenty of them), each with its line."""
    path = need_source(request, "manifest", "utterances.csv")
    if path.is_dir():
        raise BadData(f"{path} is a folder, not a manifest", fix=f"use `asrctl prepare folder {path}`")
    if not path.is_file():
        raise BadData(f"there is no manifest {path}", fix="check the path")
    splits = SplitFolders(path.parent, used=False)
    yield from read(path, root=request.root, splits=splits)
    splits.tell(request.emit)


def read(
    path: Path, *, root: Optional[Path] = None, inside: Optional[str] = None, splits: Optional[SplitFolders] = None
) -> Iterator[Utterance]:
    """The utterances of the list at `path`; audio must lie under `root` where one is given. Raises BadData.

    inside: where the list's folder lies in a corpus folder; ids begin with it. splits: says which split a row is for
    that does not name one.
    """
    rows = _json_rows if path.suffix.lower() in _JSON_SUFFIXES else _table_rows
    problems: List[str] = []
    make = _Rows(path.parent, root, inside, splits or SplitFolders(path.parent, used=inside is not None))
    for line, row in rows(path):
        try:
            utterance = make(row)
        except ValueError as problem:
            problems.append(f"line {line}: {problem}")
            if len(problems) >= _MAX_PROBLEMS:
                break
            continue
        if not problems:
            yield utterance
    if problems:
        count = "a bad row" if len(problems) == 1 else f"{len(problems)} bad rows"
        many = " (and perhaps more)" if len(problems) >= _MAX_PROBLEMS else ""
        fix = "correct the lines named above"
        if any(problem.endswith(_OPEN_QUOTE) for problem in problems):
            fix += '; a line break can be no part of a field, and a quote is written "" within quotes'
        raise BadData(f"{path} has {count}{many}", fix=fix, problems=problems)


class _Rows:
    """A row -> an utterance; ValueError says what is wrong with it."""

    def __init__(self, folder: Path, root: Optional[Path], inside: Optional[str], splits: SplitFolders) -> None:
        self._folder = str(folder)
        self._splits = splits
        self._inside = inside
        self._root = root.resolve() if root is not None else None

    def __call__(self, row: Row) -> Utterance:
        if isinstance(row, str):
            raise ValueError(row)
        written = _text(row, "path")
        if not written:
            raise ValueError("the path is empty")
        audio = os.path.join(self._folder, written)
        if self._root is not None and not lies_under(self._root, audio):
            raise ValueError(f"{written} lies outside {self._root} (--root)")
        start, end = _stretch(row)
        name = written if self._inside is None else (PurePosixPath(self._inside) / written).as_posix()
        return Utterance(
            id=_text(row, "id") or _default_id(name, start, end),
            audio=audio,
            text=_text(row, "text"),
            split=self._split(_text(row, "split"), name),
            speaker=_text(row, "speaker") or None,
            start_s=start,
            end_s=end,
        )

    def _split(self, written: str, name: str) -> str:
        if not written:
            return self._splits.of(name)
        self._splits.names_split()
        return NAMES.get(written.lower(), written)


def _default_id(written: str, start: Optional[float], end: Optional[float]) -> str:
    return written if start is None and end is None else f"{written}#{start or 0:g}-{'' if end is None else f'{end:g}'}"


def _text(row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    if value is None:
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f"{field} must be text")
    if _NOT_TEXT.search(value):
        raise ValueError(f"{field} holds characters that no text has")
    return value.strip()


def _stretch(row: Mapping[str, Any]) -> Tuple[Optional[float], Optional[float]]:
    start, end = _seconds(row, "start"), _seconds(row, "end")
    duration = _seconds(row, "duration")
    if end is None and start is not None and duration is not None:
        end = start + duration  # a duration without a start only says how long the file is
    if end is not None and end <= (start or 0.0):
        raise ValueError(f"end ({end:g}) is not after start ({start or 0:g})")
    return start, end


def _seconds(row: Mapping[str, Any], field: str) -> Optional[float]:
    written = _text(row, field)
    if not written:
        return None
    try:
        value = float(written)
    except ValueError:
        raise ValueError(f"{field} is {written[:40]!r}, not a number of seconds") from None
    if not math.isfinite(value) or value < 0 or value > 1e7:
        raise ValueError(f"{field} is {written[:40]}, not a time in a file")
    return value


# -- lines and columns ------------------------------------------------------------------------------------------------


@contextmanager
def _text_stream(path: Path, newline: Optional[str] = None) -> Iterator[IO[str]]:
    with files.open_regular(path, fix="check that this is a manifest") as raw:
        yield io.TextIOWrapper(raw, encoding="utf-8-sig", newline=newline)  # type: ignore[arg-type]


def _lines(path: Path, stream: IO[str]) -> Iterator[str]:
    """Lines of bounded length. Raises BadData where one is longer, or the file is not UTF-8."""
    number = 0
    try:
        for line in iter(lambda: stream.readline(_MAX_LINE), ""):
            number += 1
            if len(line) >= _MAX_LINE:
                raise BadData(f"{path}, line {number} is longer than a row can be", fix="check that this is a manifest")
            yield line
    except UnicodeDecodeError as error:
        raise BadData(
            f"{path} is not UTF-8 (after line {number}: {error.reason})", fix="save the file as UTF-8 and run again"
        ) from None


def _table_rows(path: Path) -> Iterator[Tuple[int, Row]]:
    """(line number, row) of a CSV or TSV file; the delimiter is the one that its header uses."""
    with _text_stream(path, newline="") as stream:
        lines = _lines(path, stream)
        header = next(lines, "")
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(_DELIMITERS, key=header.count)
        names = _parsed(path, csv.reader([header], delimiter=delimiter)) or []
        columns = _columns(path, names)
        # In a TSV a quote is only a character, unless its writer quotes everything, or the cell for its quotes' sake.
        is_plain = delimiter == "\t" and '"' not in header
        single = _Single(lines)
        reader = csv.reader(single, delimiter=delimiter, quoting=csv.QUOTE_NONE if is_plain else csv.QUOTE_MINIMAL)
        for row in iter(lambda: single.row(path, reader), None):
            if is_plain and isinstance(row, list):
                row = [_unquoted(cell) for cell in row]
            if row:
                yield reader.line_num + 1, row if isinstance(row, str) else _by_field(row, columns, len(names))


def _unquoted(cell: str) -> str:
    """The text of a cell that csv has quoted because there are quotes in it; any other cell as it is."""
    # csv doubles the inner ones. Where none is doubled, csv would not have quoted the cell: "Hello." is a quotation.
    inner = cell[1:-1]
    is_quoted = len(cell) > 2 and cell[0] == cell[-1] == '"'
    return inner.replace('""', '"') if is_quoted and '""' in inner and '"' not in inner.replace('""', "") else cell


class _Single:
    """Lets a csv.reader have one line for each row.

    Otherwise a quote that somebody forgot to close takes all the rows up to the next quote into its own cell.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._taken = False

    def __iter__(self) -> "_Single":
        return self

    def __next__(self) -> str:
        if self._taken:
            raise _OpenQuote
        self._taken = True
        return next(self._lines)

    def row(self, path: Path, reader: Any) -> Union[List[str], str, None]:
        """The cells of the next line, or what is wrong with it; None after the last one. Raises BadData."""
        self._taken = False
        try:
            return _parsed(path, reader)
        except _OpenQuote:
            return _OPEN_QUOTE


class _OpenQuote(Exception):
    """A row that would go on in the next line."""


def _parsed(path: Path, reader: Any) -> Optional[List[str]]:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise BadData(f"{path}, line {reader.line_num + 1}: {error}", fix="correct that line") from None


def _columns(path: Path, names: Sequence[str]) -> Dict[str, int]:
    """{field: column number}. Raises BadData where a required one is missing."""
    known = [name.strip().lower() for name in names]
    found = {
        field: known.index(next(name for name in synonyms if name in known))
        for field, synonyms in COLUMNS.items()
        if any(name in known for name in synonyms)
    }
    missing = [field for field in REQUIRED if field not in found]
    if missing:
        has = ", ".join(names[:20]) or "nothing"
        raise BadData(
            f"{path} has no column {' and no column '.join(missing)} (its first line names: {has})",
            fix="name the columns in the first line: path, text, and optionally split, speaker, id, start, end",
        )
    return found


def _by_field(cells: Sequence[str], columns: Mapping[str, int], width: int) -> Row:
    if len(cells) > width:
        return f"{len(cells)} columns where the first line names {width}"
    return {field: cells[column] for field, column in columns.items() if column < len(cells)}


def _json_rows(path: Path) -> Iterator[Tuple[int, Row]]:
    """(line number, row) of JSON lines."""
    with _text_stream(path) as stream:
        for number, line in enumerate(_lines(path, stream), 1):
            if line.strip():
                yield number, _json_row(line)


def _json_row(line: str) -> Row:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return "not a JSON object on a line of its own"
    if not isinstance(values, dict):
        return "not a JSON object"
    lowered = {name.strip().lower(): value for name, value in values.items()}
    row = {
        field: next(lowered[name] for name in synonyms if name in lowered)
        for field, synonyms in COLUMNS.items()
        if any(name in lowered for name in synonyms)
    }
    missing = [field for field in REQUIRED if field not in row]
    return f"it has no {' and no '.join(missing)}" if missing else row
