"""Recordings in the cells of Parquet and Arrow files. The address of one is `FILE.parquet::COLUMN::ROW`.

A cell holds the bytes of an audio file, alone or as {bytes, path}, or samples: a list of numbers, alone or as {array,
sampling_rate}. Samples become a WAV file in memory; ROW@RATE says their rate where the cell does not.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Iterator, Optional, Tuple

from asrctl.data.reading.columnar import ColumnarFile
from asrctl.data.utterance import ARCHIVE_SEPARATOR
from asrctl.errors import BadData

_FIX = "correct that row, or leave it out"
_PCM, _FLOAT = 1, 3
_MOST_WAV_BYTES = (1 << 32) - 64


def address(file: Path, column: str, row: int, rate: Optional[int] = None) -> str:
    """Of a cell. rate: samples per second, where the cell holds samples and does not say it."""
    ending = f"@{rate}" if rate is not None else ""
    return f"{file}{ARCHIVE_SEPARATOR}{column}{ARCHIVE_SEPARATOR}{row}{ending}"


def wav(samples: Any, rate: int) -> bytes:
    """A WAV file of samples, (time,) or (channels, time), floats or int16.

    Written here, as libsndfile puts the time of day into a WAV file of floats. Raises ValueError.
    """
    import numpy as np

    values = np.asarray(samples)
    if values.ndim == 2:
        values = values.T
    if values.ndim not in (1, 2) or values.dtype.kind not in "fi" or not 0 < rate < 1 << 31:
        raise ValueError(f"an array of {values.ndim} dimensions of {values.dtype} at {rate} Hz")
    # Whole numbers beyond 16 bits are told by their size later: as floats, they keep it.
    kind, width = (_PCM, 2) if values.dtype == np.int16 else (_FLOAT, 4)
    data = np.ascontiguousarray(values, dtype="<i2" if kind == _PCM else "<f4").tobytes()
    channels = values.shape[1] if values.ndim == 2 else 1
    if len(data) > _MOST_WAV_BYTES or not 0 < channels < 1 << 10:
        raise ValueError(f"{channels} channels of {len(values)} samples")
    layout = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, 8 * width)
    chunks = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", len(data))
    return b"RIFF" + struct.pack("<I", len(chunks) + len(data)) + chunks + data


class CellReader:
    """Reads recordings out of one file; those asked for in the file's order cost one pass."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Optional[ColumnarFile] = None
        self._column = ""
        self._batches: Iterator[Tuple[int, Any]] = iter(())
        self._first, self._batch = 0, None
        self._broken: Tuple[int, Optional[BadData]] = (-1, None)  # the part where reading failed, and how

    def read(self, member: str) -> bytes:
        """The bytes of a recording. member: COLUMN::ROW. Raises BadData where it is not there or damaged, OSError."""
        column, _, place = member.rpartition(ARCHIVE_SEPARATOR)
        number, _, rate = place.partition("@")
        if not column or not number.isdigit() or not (rate or "1").isdigit():
            raise BadData(f"{self.path} has no cell {member}", fix="prepare the corpus again")
        found = self._cell(column, int(number))
        try:
            return _bytes_of(found, int(rate) if rate else None)
        except ValueError as error:
            raise BadData(f"{self.path}, row {number}: the column {column} holds {error}", fix=_FIX) from None

    def _cell(self, column: str, row: int) -> Any:
        if self._file is None:
            self._file = ColumnarFile(self.path)
        if column not in self._file.schema.names or row >= self._file.num_rows:
            raise BadData(f"{self.path} has no row {row} of a column {column}", fix="prepare the corpus again")
        group = self._file.group_of(row)
        if self._broken[0] == group and self._broken[1] is not None:
            raise self._broken[1].with_traceback(None)
        try:
            self._go_to(self._file, column, row, group)
        except BadData as error:
            self._broken, self._batch = (group, error), None
            raise
        return self._batch.column(0)[row - self._first]  # type: ignore[attr-defined]

    def _go_to(self, file: ColumnarFile, column: str, row: int, group: int) -> None:
        """Raises BadData."""
        if self._batch is not None and column == self._column and self._first <= row:
            while row >= self._first + self._batch.num_rows:
                if group != file.group_of(self._first + self._batch.num_rows):
                    break  # what lies between need not be read
                self._first, self._batch = next(self._batches)
            else:
                return
        self._column, self._batches = column, file.batches([column], row)
        self._first, self._batch = next(self._batches)


def _bytes_of(cell: Any, rate: Optional[int]) -> bytes:
    """Raises ValueError with what is there instead."""
    import pyarrow

    kind = cell.type
    if not cell.is_valid:
        raise ValueError("nothing")
    if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
        return cell.as_py()
    if pyarrow.types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        if "bytes" in names and cell["bytes"].is_valid:
            return cell["bytes"].as_py()
        if "array" in names and cell["array"].is_valid:
            told = cell["sampling_rate"].as_py() if "sampling_rate" in names else None
            return _samples(cell["array"], told or rate)
        raise ValueError("no bytes of a recording")
    return _samples(cell, rate)


def _samples(cell: Any, rate: Optional[int]) -> bytes:
    if rate is None:
        raise ValueError("samples whose rate nothing says")
    import numpy as np
    import pyarrow

    values = cell.values
    if pyarrow.types.is_list(values.type) or pyarrow.types.is_large_list(values.type):
        rows = [np.asarray(row.values) for row in cell.values]
        return wav(np.stack(rows) if len({len(row) for row in rows}) == 1 else np.zeros(0, dtype=object), int(rate))
    return wav(values.to_numpy(zero_copy_only=False), int(rate))
