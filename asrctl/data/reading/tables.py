"""The rows of a CSV or TSV file, or of JSON lines: {column: value} each, however it was written."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Callable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from asrctl.data.reading import encodings, non_text
from asrctl.data.reading.cells import Cells
from asrctl.data.reading.columns import FIELD_NAMES
from asrctl.errors import BadData
from asrctl.messages import amounts
from asrctl.storage import files

# {column as it is written: value}, or what is wrong with the row.
Row = Union[Mapping[str, Any], str]

_MAX_LINE = 1 << 20
_DELIMITERS = ",\t;|"
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_MAX_INNER = 20
_LINE_END = re.compile(r"\r\n?|\n")
# One document -> a line for each of its objects; the key of an object is its id.
_TO_LINES = (
    "import sys, json; d = json.load(open(sys.argv[1], encoding='utf-8-sig')); "
    "d = d if isinstance(d, list) else [dict(v, id=k) for k, v in d.items()]; [print(json.dumps(v)) for v in d]"
)


def rows(path: Path, check: Callable[[Sequence[str]], None]) -> Iterator[Tuple[int, Row]]:
    """(line number, row) of a list. check: is shown the columns of a table before its rows. Raises BadData."""
    return json_rows(path) if path.suffix.lower() in _JSON_SUFFIXES else _table_rows(path, check)


def rows_of(
    raw: IO[bytes], path: Path, check: Callable[[Sequence[str]], None], delimiter: Optional[str] = None
) -> Iterator[Tuple[int, Row]]:
    """The same of a table that is open, and stays so. path: what it is called; delimiter: where it is known."""
    with _decoded(raw, path, newline="") as stream:
        yield from _rows_of_table(path, stream, check, delimiter)


def lines(path: Path, *, keep_empty: bool = False) -> Iterator[Tuple[int, str]]:
    """(line number, line without its end) of a text, but for empty ones. Raises BadData."""
    with _text_stream(path) as stream:
        found = _Lines(path, stream)
        for line in found:
            text = line.strip("\r\n\ufeff")
            if keep_empty or text.strip():
                yield found.number, text


@contextmanager
def _text_stream(path: Path, newline: Optional[str] = None) -> Iterator[IO[str]]:
    """A text in whatever Unicode form. Raises BadData."""
    with files.open_regular(path, fix="check that this is a manifest") as raw:
        with _decoded(raw, path, newline) as stream:
            yield stream


@contextmanager
def _decoded(raw: IO[bytes], path: Path, newline: Optional[str] = None) -> Iterator[IO[str]]:
    raw.seek(0)
    head = raw.read(encodings.HEAD_BYTES)
    raw.seek(0)
    non_text.refuse_other(path, head)
    stream = io.TextIOWrapper(raw, encoding=encodings.encoding_of(head), newline=newline)  # type: ignore[arg-type]
    try:
        yield stream
    finally:
        stream.detach()  # what was open stays so


class _Lines:
    """Lines of bounded length. number: of the one that came last."""

    def __init__(self, path: Path, stream: IO[str]) -> None:
        self.path = path
        self._stream = stream
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        """Raises BadData where one is longer, or the file is no text."""
        try:
            for line in iter(lambda: self._stream.readline(_MAX_LINE), ""):
                self.number += 1
                if len(line) >= _MAX_LINE:
                    where = f"{self.path}, line {self.number}"
                    raise BadData(f"{where} is longer than a row can be", fix="check that this is a manifest")
                yield line
        except UnicodeDecodeError as error:
            other = encodings.likely_encoding(bytes(error.object))
            # What is read at once holds many lines; of those before the fault none has been given yet.
            before = bytes(error.object[: error.start]).decode(error.encoding, "replace")
            at = self.number + 1 + len(_LINE_END.findall(before))
            message = f"{self.path} is not UTF-8 but {other.likely} (line {at})"
            raise BadData(message, fix=other.copied(self.path)) from None


# -- tables -----------------------------------------------------------------------------------------------------------


def _table_rows(path: Path, check: Callable[[Sequence[str]], None]) -> Iterator[Tuple[int, Row]]:
    with _text_stream(path, newline="") as stream:
        yield from _rows_of_table(path, stream, check)


def _rows_of_table(
    path: Path, stream: IO[str], check: Callable[[Sequence[str]], None], known: Optional[str] = None
) -> Iterator[Tuple[int, Row]]:
    """known: the delimiter, where it needs no guess."""
    lines = _Lines(path, stream)
    header, delimiter = _header(path, lines)
    delimiter = known or delimiter
    spaced = delimiter != "\t" and delimiter + " " in header
    row = _taken_apart(lines, Cells(delimiter, 0, plain=False, spaced=spaced), header)
    if isinstance(row, str):
        raise BadData(f"{path}, line {lines.number}: {row}", fix="correct that line")
    names = [name.strip().strip("\ufeff") for name in row]
    check(names)
    first = {name: names.index(name) for name in names}
    cells = Cells(delimiter, len(names), plain=delimiter == "\t" and '"' not in header, spaced=spaced)
    for line in lines:
        row = _taken_apart(lines, cells, line)
        if isinstance(row, list) and len(row) > len(names):
            row = f"{amounts.count(len(row), 'column')} where the first line names {len(names)}"
        if isinstance(row, str):
            yield lines.number, row
        elif row:
            yield lines.number, {name: row[at] if at < len(row) else "" for name, at in first.items()}


def _header(path: Path, lines: _Lines) -> Tuple[str, str]:
    """The line that names the columns, and the delimiter: that which it uses, or which a line sep=; before it names."""
    told = ""
    for line in lines:
        text = line.strip("\r\n\ufeff ")
        if text[:4].lower() == "sep=" and len(text) == 5 and not told:
            told = text[4]
        elif text.strip():
            used = "\t" if path.suffix.lower() == ".tsv" and "\t" in line else max(_DELIMITERS, key=line.count)
            return line, told or used
    return "", told or ","


def _taken_apart(lines: _Lines, cells: Cells, line: str) -> Union[List[str], str]:
    """Raises BadData."""
    try:
        return cells(line)
    except csv.Error as error:
        raise BadData(f"{lines.path}, line {lines.number}: {error}", fix="correct that line") from None


# -- JSON lines -------------------------------------------------------------------------------------------------------


def json_rows(path: Path) -> Iterator[Tuple[int, Row]]:
    """(line number, row) of a list in JSON lines, whatever it is called. Raises BadData."""
    with _text_stream(path) as stream:
        lines = _Lines(path, stream)
        is_first = True
        for line in lines:
            if line.strip():
                row = _json_row(line)
                if is_first:
                    _refuse_document(path, line, row)
                    is_first = False
                yield lines.number, row


def _json_row(line: str) -> Row:
    try:
        values = json.loads(line, parse_constant=_constant)
    except (ValueError, RecursionError):
        return "not a JSON object on a line of its own"
    if not isinstance(values, dict):
        return "not a JSON object"
    return dict(_flat(values))


def _constant(name: str) -> Optional[float]:
    """NaN is what pandas and NumPy have where there is no value."""
    return None if name == "NaN" else float(name)


def _flat(values: Mapping[str, Any]) -> Iterator[Tuple[str, Any]]:
    """Values within an object of its own, such as {"segment": {"start": 1}}, are columns called "segment.start"."""
    for name, value in values.items():
        if isinstance(value, dict) and len(value) <= _MAX_INNER and name.strip().lower() not in FIELD_NAMES:
            yield from ((f"{name.strip()}.{inner.strip()}", part) for inner, part in value.items())
        else:
            yield name.strip(), value


def _refuse_document(path: Path, line: str, row: Row) -> None:
    """Raises BadData where a file is one JSON document rather than a line for each row. line: the first."""
    text = line.strip()
    is_table = isinstance(row, dict) and bool(row) and not row.keys() & FIELD_NAMES
    if text[:1] == "[" or (text[:1] == "{" and isinstance(row, str) and not text.endswith(("}", "},"))):
        what = "one JSON document, where a list has a JSON object on each line"
    elif is_table and all(isinstance(value, (dict, list)) for value in json.loads(line).values()):
        what = "one JSON object, where a list has one for each recording"
    else:
        return
    made = path.with_suffix(".jsonl") if path.suffix != ".jsonl" else path.with_name(f"{path.stem}-lines.jsonl")
    program = f"{shlex.quote(sys.executable)} -c {shlex.quote(_TO_LINES)}"
    fix = f"write a line for each with {program} {shlex.quote(str(path))} > {shlex.quote(str(made))} and give that"
    raise BadData(f"{path} is {what}", fix=fix)
