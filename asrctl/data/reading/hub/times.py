"""What a start, an end and a channel beside a recording mean: the part of it that is meant, or where it was cut from.

Many data sets keep them, as the segments of GigaSpeech and AMI on the hub do, whose recordings are cut already. The
lengths and channels of the first recordings tell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from asrctl.data import audio
from asrctl.data.reading.channels import channel_of
from asrctl.data.reading.columnar import ColumnarFile
from asrctl.data.reading.columns import Column, ColumnPlan
from asrctl.data.reading.embedded import CellReader
from asrctl.data.reading.hub.columns import PATH, Chosen, light
from asrctl.data.reading.hub.places import Addresses
from asrctl.data.utterance import split_path
from asrctl.errors import BadData
from asrctl.events import Emit, Note, Warned
from asrctl.storage import files

_LOOKED_AT = 8
_TOLERANCE_S = 0.25


class First(NamedTuple):
    """One of the first recordings: its row, as number `at` of rows, and what its header says."""

    rows: Mapping[str, Sequence[Any]]
    at: int
    length_s: float
    channels: int


def first_recordings(file: ColumnarFile, addresses: Addresses) -> List[First]:
    """Some of the recordings of a table that can be read."""
    found: List[First] = []
    reader = CellReader(file.path)
    for first, batch in file.batches([*light(file.schema), *addresses.columns], 0, _LOOKED_AT):
        rows = batch.to_pydict()
        for at, place in enumerate(addresses.of(rows, range(first, first + batch.num_rows))):
            shape = _shape(reader, place)
            if shape is not None:
                found.append(First(rows, at, *shape))
    return found


def _shape(reader: CellReader, place: str) -> Optional[Tuple[float, int]]:
    member = split_path(place)[1]
    try:
        content = files.read_bytes(Path(place), fix="", most=1 << 28) if member is None else reader.read(member)
    except (BadData, OSError):
        return None
    return audio.shape(content)


class Sides:
    """The channels of rows, where recordings have several and a column says which one is meant."""

    def __init__(self, plan: ColumnPlan, first: Sequence[First]) -> None:
        column = plan.fields.get("channel")
        self._column = column.name if column is not None else ""
        self._is_used = any(one.channels > 1 for one in first)

    def of(self, rows: Mapping[str, Sequence[Any]], count: int) -> Sequence[Optional[int]]:
        if not self._is_used or self._column not in rows:
            return [None] * count
        return [channel_of(value) for value in rows[self._column]]

    def tell(self, emit: Emit) -> None:
        if self._column and not self._is_used:
            emit(Note(f"{self._column} is not used: the recordings have one channel"))


class _Span(NamedTuple):
    start_s: float
    end_s: Optional[float]


class Times:
    """The stretches of rows, where they are meant."""

    def __init__(self, schema: Any, chosen: Chosen, plan: ColumnPlan, first: Sequence[First]) -> None:
        self._start, self._end = plan.fields.get("start"), plan.fields.get("end")
        self._duration = plan.fields.get("duration")
        given = [self._start, self._end] + ([self._duration] if self._start and not self._end else [])
        self._columns = [column for column in given if column is not None and column.name in light(schema)]
        self._meaning = self._measured(chosen, first) if self._start or self._end else ""

    def of_row(self, rows: Mapping[str, Sequence[Any]], at: int) -> Tuple[Optional[float], Optional[float]]:
        """(start, end) of a row in seconds, None where that of the recording is meant."""
        if self._meaning != "stretch":
            return None, None
        span = self._span(rows, at)
        return (span.start_s or None, span.end_s) if span is not None else (None, None)

    def tell(self, emit: Emit) -> None:
        named = " and ".join(column.name for column in self._columns)
        if self._meaning == "stretch":
            emit(Note(f"{named} say which part of its recording a row is: only that part is read"))
        elif self._meaning == "cut":
            emit(Note(f"{named} are not used: they say where the recordings were cut from"))
        elif self._meaning == "unclear":
            emit(Warned(f"not used of the data set: {named}; they do not fit the lengths of the recordings"))

    def _span(self, rows: Mapping[str, Sequence[Any]], at: int) -> Optional[_Span]:
        start = _seconds(self._start, rows, at)
        end, duration = _seconds(self._end, rows, at), _seconds(self._duration, rows, at)
        if end is None and self._end is None and self._start is not None and duration is not None:
            end = (start or 0.0) + duration
        if (start is None and end is None) or (end is not None and end <= (start or 0.0)):
            return None
        return _Span(start or 0.0, end)

    def _measured(self, chosen: Chosen, first: Sequence[First]) -> str:
        """ "stretch", "cut" or "unclear"."""
        if any(column.unit.per_second is None for column in self._columns):
            return "unclear"
        spans = ((self._span(one.rows, one.at), one.length_s) for one in first)
        fits = [_fit(span, length_s) for span, length_s in spans if span is not None]
        if fits and all(fit == "cut" for fit in fits):
            return "cut"
        # In some rows the stretch may be the whole recording, which says nothing.
        is_stretch = "stretch" in fits and "unclear" not in fits
        return "stretch" if is_stretch or (not fits and chosen.form == PATH) else "unclear"


def _fit(span: _Span, length_s: float) -> str:
    end_s = length_s if span.end_s is None else span.end_s
    if abs(length_s - (end_s - span.start_s)) <= _TOLERANCE_S:
        return "cut"
    return "stretch" if end_s <= length_s + _TOLERANCE_S else "unclear"


def _seconds(column: Optional[Column], rows: Mapping[str, Sequence[Any]], at: int) -> Optional[float]:
    if column is None or column.name not in rows:
        return None
    try:
        value = float(rows[column.name][at])
    except (TypeError, ValueError):
        return None
    return value / (column.unit.per_second or 1) if 0 <= value < 1e12 else None
