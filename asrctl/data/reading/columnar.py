"""Parquet and Arrow files as the datasets library writes them: chosen columns of chosen rows, in bounded memory.

Lists in CSV and JSON lines can be read in the same way; these lie in memory as a whole.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

from asrctl.errors import BadData
from asrctl.messages import reasons
from asrctl.runtime import memory
from asrctl.storage import files
from asrctl.storage.remote import streaming

if TYPE_CHECKING:
    import pyarrow

_PARQUET = b"PAR1"
_BUFFER_BYTES = 1 << 20
# What is read of the chosen columns at once, and the rows of that.
_BATCH_BYTES = 4 << 20
_MOST_ROWS = 4096
_MOST_COLUMNS = 1000
_FIX = "fetch the file again"


class ColumnarFile:
    """One open file. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        """Raises BadData where the file is missing, cut off, damaged, or of another kind."""
        self.path = path
        with files.open_regular(path, fix=_FIX) as stream:
            head = stream.read(4)
            stream.seek(-min(4, stream.seek(0, 2)), 2)
            tail = stream.read(4)
        meant = streaming.stand(path) if path.suffix.lower() == ".parquet" and head[:1] == b"{" else None
        self._elsewhere = streaming.RangedFile(meant) if meant is not None else None
        if self._elsewhere is not None:
            head = tail = _PARQUET  # pyarrow looks itself
        with self._told("it can not be opened"):
            self._opened: Any = self._open(head, tail)
            _check_names(self._opened.schema)

    def _open(self, head: bytes, tail: bytes) -> Any:
        suffix = self.path.suffix.lower()
        if suffix == ".parquet":
            return self._open_parquet(head, tail)
        return _TableRows(_LISTS[suffix](self.path) if suffix in _LISTS else _mapped(self.path))

    def _open_parquet(self, head: bytes, tail: bytes) -> "_ParquetRows":
        if not head:
            raise BadData(f"{self.path} is empty", fix=_FIX)
        if head != _PARQUET:
            raise BadData(f"{self.path} is no Parquet file", fix="check what the repository holds, or fetch it again")
        if tail != _PARQUET:
            raise BadData(f"{self.path} is cut off: its end is missing", fix=_FIX)
        return _ParquetRows(self.path if self._elsewhere is None else self._elsewhere)

    @property
    def schema(self) -> "pyarrow.Schema":
        return self._opened.schema

    @property
    def num_rows(self) -> int:
        return self._opened.num_rows

    def group_of(self, row: int) -> int:
        """Which of the parts that can only be read as a whole, or from their beginning, holds a row."""
        return bisect_right(self._opened.starts, row) - 1

    def is_empty(self, column: str, inner: str) -> bool:
        """Whether a field of a column of structs surely has no value in any row, as far as is known without reading."""
        return self._opened.is_empty(column, inner)

    def batches(
        self, columns: Sequence[str], start: int = 0, stop: Optional[int] = None
    ) -> "Iterator[Tuple[int, pyarrow.RecordBatch]]":
        """(number of its first row, rows of these columns), from row `start` to before `stop`. Raises BadData.

        columns: "audio.path" is a field of a column of structs; other fields of it may come along.
        """
        last = self.num_rows if stop is None else min(stop, self.num_rows)
        first = start
        found = self._opened.batches(columns, start, self.group_of(start)) if start < last else iter(())
        while first < last:
            with self._told(f"from row {first} on"):
                batch = next(found).slice(0, last - first)
                batch.validate(full=True)  # of text, whether it is UTF-8; of bytes, only where they lie
            yield first, batch
            first += batch.num_rows

    def _told(self, where: str) -> "_Told":
        return _Told(self.path, where)


class _Told:
    """Within the block, what pyarrow says of a damaged file becomes a BadData."""

    def __init__(self, path: Path, where: str) -> None:
        self._path = path
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        import pyarrow

        # pyarrow raises the system's errors and its own findings as OSError; only the former have a number.
        is_system = isinstance(error, OSError) and error.errno is not None
        if is_system or (error is not None and memory.ran_out(error)):
            return
        if isinstance(error, (pyarrow.ArrowException, OSError, StopIteration, UnicodeDecodeError)):
            why = reasons.first_line(error, 100)
            raise BadData(f"{self._path} is damaged, {self._where} ({why})", fix=_FIX) from None


class _ParquetRows:
    def __init__(self, source: Union[Path, streaming.RangedFile]) -> None:
        import pyarrow.parquet

        opened = str(source) if isinstance(source, Path) else pyarrow.PythonFile(source, mode="r")
        self._file = pyarrow.parquet.ParquetFile(opened, memory_map=False, buffer_size=_BUFFER_BYTES)
        self.schema = self._file.schema_arrow
        metadata = self._file.metadata
        self.num_rows: int = metadata.num_rows
        self.starts: List[int] = [0]
        self._bytes: List[int] = []
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            self.starts.append(self.starts[-1] + group.num_rows)
            self._bytes.append(group.total_byte_size)

    def batches(self, columns: Sequence[str], start: int, group: int) -> "Iterator[pyarrow.RecordBatch]":
        for index in range(group, len(self._bytes)):
            before = max(0, start - self.starts[index])  # rows of this group that nobody wants
            rows = self.starts[index + 1] - self.starts[index]
            size = max(1, min(_MOST_ROWS, _BATCH_BYTES * rows // max(1, self._bytes[index])))
            if not self._is_heavy(columns):
                size = _MOST_ROWS
            for batch in self._file.iter_batches(
                batch_size=size, row_groups=[index], columns=list(columns), use_threads=False
            ):
                if before < batch.num_rows:
                    yield batch.slice(before)
                before = max(0, before - batch.num_rows)

    def _is_heavy(self, columns: Sequence[str]) -> bool:
        """Whether a cell of these columns may be long: as long as the average row."""
        return any(name in self.schema.names and is_heavy(self.schema.field(name).type) for name in columns)

    def is_empty(self, column: str, inner: str) -> bool:
        for index in range(self._file.metadata.num_row_groups):
            group = self._file.metadata.row_group(index)
            chunks = (group.column(at) for at in range(group.num_columns))
            chunk = next((one for one in chunks if one.path_in_schema == f"{column}.{inner}"), None)
            known = chunk is not None and chunk.is_stats_set and chunk.statistics.has_null_count
            if not known or chunk.statistics.null_count < group.num_rows:  # type: ignore[union-attr]
                return False
        return self.num_rows > 0


def _mapped(path: Path) -> "pyarrow.Table":
    """A stream or file of Arrow's own form: what is not asked for is not read."""
    import pyarrow

    mapped = pyarrow.memory_map(str(path))
    try:
        table = pyarrow.ipc.open_stream(mapped).read_all()
    except pyarrow.ArrowInvalid:
        table = pyarrow.ipc.open_file(mapped).read_all()
    # Nothing else does: lengths and places that a damaged file makes up lead outside of it, and end the program.
    table.validate(full=True)
    return table


def _csv(path: Path) -> "pyarrow.Table":
    """All of it as text: whether 007 is a number is for others to say."""
    import pyarrow
    from pyarrow import csv

    parse = csv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True)
    with csv.open_csv(str(path), parse_options=parse) as opened:
        names = opened.schema.names
    convert = csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string()))
    return csv.read_csv(str(path), parse_options=parse, convert_options=convert)


def _objects(path: Path) -> Iterator[Tuple[int, Dict[str, Any]]]:
    """(line, object) of JSON lines; NaN is what pandas has where there is no value. Raises BadData."""
    with files.open_regular(path, fix=_FIX) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(files.MAX_LINE_BYTES), b""), 1):
            try:
                text = line.decode("utf-8-sig").strip()
                row = json.loads(text, parse_constant=lambda _: None) if text else {}
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict) or len(line) >= files.MAX_LINE_BYTES:
                raise BadData(f"{path}, line {number} is not a JSON object", fix=_FIX)
            if row:
                yield number, row


def _json_lines(path: Path) -> "pyarrow.Table":
    """By Python: what reads JSON in pyarrow crashes on some that is damaged, and takes words for times."""
    import pyarrow

    columns: Dict[str, List[Any]] = {}
    count = 0
    for line, row in _objects(path):
        for name, value in row.items():
            column = columns.setdefault(name, [])
            column.extend([None] * (count - len(column)))
            column.append(value)
        count += 1
        if len(columns) > _MOST_COLUMNS:
            raise BadData(f"{path}, line {line}: there are more than {_MOST_COLUMNS} columns by now", fix=_FIX)
    try:
        filled = {name: values + [None] * (count - len(values)) for name, values in columns.items()}
        return pyarrow.table({name: pyarrow.array(values) for name, values in filled.items()})
    except (OverflowError, UnicodeEncodeError, TypeError) as error:  # what no column holds
        raise BadData(f"{path} is damaged ({reasons.first_line(error, 100)})", fix=_FIX) from None


_LISTS = {".csv": _csv, ".tsv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json_lines}
LIST_SUFFIXES = tuple(_LISTS)


class _TableRows:
    def __init__(self, table: "pyarrow.Table") -> None:
        self._table = table
        self.schema = self._table.schema
        self.num_rows: int = self._table.num_rows
        self.starts = [0]

    def batches(self, columns: Sequence[str], start: int, group: int) -> "Iterator[pyarrow.RecordBatch]":
        whole = [name if name in self.schema.names else name.partition(".")[0] for name in columns]
        chosen = self._table.select(whole).slice(start)
        yield from chosen.to_batches(max_chunksize=_MOST_ROWS)

    def is_empty(self, column: str, inner: str) -> bool:
        import pyarrow

        kind = self.schema.field(column).type
        if not pyarrow.types.is_struct(kind) or kind.get_field_index(inner) < 0:
            return False
        chunks = self._table.column(column).chunks
        return self.num_rows > 0 and all(chunk.field(inner).null_count == len(chunk) for chunk in chunks)


def _check_names(fields: "Iterable[pyarrow.Field]") -> None:
    """Raises UnicodeDecodeError where the name of a column, or of a field in one, is no text."""
    for field in fields:
        str(field.name)
        kind = field.type
        _check_names(kind.field(index) for index in range(kind.num_fields))


def is_heavy(kind: "pyarrow.DataType") -> bool:
    """Whether a cell of this type may hold a recording, or an array of any length."""
    import pyarrow

    types = pyarrow.types
    if types.is_struct(kind):
        return any(is_heavy(kind.field(index).type) for index in range(kind.num_fields))
    return (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
    )
