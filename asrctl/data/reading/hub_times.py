"""What a start and an end beside a recording mean: the stretch of it that is meant, or where it was cut from.

Many data sets keep both, as the segments of GigaSpeech and AMI on the hub do, whose recordings are cut already. The
lengths of the first recordings tell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from asrctl.data.reading.columnar import ColumnarFile
from asrctl.data.reading.columns import Column, ColumnPlan
from asrctl.data.reading.embedded import CellReader
from asrctl.data.reading.hub_columns import PATH, Chosen, light
from asrctl.data.reading.hub_places import Addresses
from asrctl.data.utterance import split_path
from asrctl.errors import BadData
from asrctl.events import Emit, Note, Warned

_LOOKED_AT = 8
_TOLERANCE_S = 0.25


class _Span(NamedTuple):
    start_s: float
    end_s: Optional[float]


class Times:
    """The stretches of rows, where they are meant."""

    def __init__(self, file: ColumnarFile, chosen: Chosen, plan: ColumnPlan, addresses: Addresses) -> None:
        """file: the first one that is read, some of whose recordings are measured."""
        self._start, self._end = plan.fields.get("start"), plan.fields.get("end")
        self._duration = plan.fields.get("duration")
        given = [self._start, self._end] + ([self._duration] if self._start and not self._end else [])
        self._columns = [column for column in given if column is not None and column.name in light(file.schema)]
        self._meaning = self._measured(file, chosen, addresses) if self._start or self._end else ""

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

    def _measured(self, file: ColumnarFile, chosen: Chosen, addresses: Addresses) -> str:
        """ "stretch", "cut" or "unclear"."""
        if any(column.unit.per_second is None for column in self._columns):
            return "unclear"
        fits: List[str] = []
        reader = CellReader(file.path)
        for first, batch in file.batches([*light(file.schema), *addresses.columns], 0, _LOOKED_AT):
            rows = batch.to_pydict()
            places = list(addresses.of(rows, range(first, first + batch.num_rows)))
            for at, place in enumerate(places):
                span = self._span(rows, at)
                length_s = _length_s(reader, place) if span is not None else None
                if span is not None and length_s is not None:
                    fits.append(_fit(span, length_s))
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


def _length_s(reader: CellReader, place: str) -> Optional[float]:
    from asrctl.data import audio  # brings numpy, which the help must not load

    member = split_path(place)[1]
    if member is None:
        return audio.duration_s(Path(place))
    try:
        return audio.length_s(reader.read(member))
    except BadData:
        return None
