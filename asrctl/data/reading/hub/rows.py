"""The rows of a data set's Parquet and Arrow files as utterances."""

from __future__ import annotations

from array import array
from itertools import repeat
from pathlib import PurePosixPath
from typing import Any, Dict, Iterable, Iterator, Mapping, NamedTuple, Optional, Sequence

from asrctl.data.corpus import CorpusRequest
from asrctl.data.reading.columnar import LIST_SUFFIXES, ColumnarFile
from asrctl.data.reading.columns import ColumnPlan, Columns
from asrctl.data.reading.file_names import is_audio
from asrctl.data.reading.hub import columns as hub_columns
from asrctl.data.reading.hub.places import Places
from asrctl.data.reading.hub.repository import Repository
from asrctl.data.reading.hub.splits import Part
from asrctl.data.reading.hub.times import Sides, Times, first_recordings
from asrctl.data.utterance import TABLE_SUFFIXES, Utterance
from asrctl.errors import BadData
from asrctl.events import Note, Warned
from asrctl.messages import amounts

# How the list of an audiofolder is called.
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_ADVICE = {
    "stretch": "if they say which part of a recording is meant, make a table with start and end, in seconds",
    "split": "if it says what a row is for, make splits of it",
}


class _Piece(NamedTuple):
    """Rows of one file. first: the number of its first row in the split."""

    file: ColumnarFile
    name: str
    split: str
    first: int
    start: int
    stop: int


class _Found(NamedTuple):
    """The columns of a data set: which is which, those that are read, and those that other fields lie in."""

    chosen: hub_columns.Chosen
    plan: ColumnPlan
    read: Sequence[str]
    schema: Any


class Rows:
    """Reads splits, and keeps account of what was not used."""

    def __init__(self, repository: Repository, request: CorpusRequest) -> None:
        self._repository = repository
        self._request = request
        self._open: Dict[str, ColumnarFile] = {}
        self._places = Places(repository, request.remote)
        self._columns = Columns(("id", "speaker", "start", "end", "duration", "channel"))

    def count(self, split: str) -> int:
        """Rows of a split: as the repository says, else as its files do. Raises BadData."""
        told = self._repository.rows.get(split)
        return told if told is not None else sum(self._file(name).num_rows for name in self._tables(split))

    def utterances(self, plan: Mapping[str, Sequence[Part]]) -> Iterator[Utterance]:
        """Raises BadData, MissingArtifact, UsageError."""
        for split in dict.fromkeys(part.split for parts in plan.values() for part in parts):
            self._repository.check_whole(split)
            self._tables(split)
        pieces = {typed: [piece for part in parts for piece in self._pieces(part)] for typed, parts in plan.items()}
        everything = [piece for found in pieces.values() for piece in found]
        first = next((piece for piece in everything if piece.start < piece.stop), None)
        if first is None:
            return
        found = self._find_columns(first)
        is_measured = not found.plan.fields.keys().isdisjoint(("start", "end", "channel"))
        addresses = self._places.addresses(first.file, first.name, found.chosen)
        measured = first_recordings(first.file, addresses) if is_measured else []
        times = Times(first.file.schema, found.chosen, found.plan, measured)
        sides = Sides(found.plan, measured)
        has_ids = self._has_ids(everything, found)
        for typed, several in pieces.items():
            for piece in several:
                yield from self._read(piece, typed, found, times, sides, has_ids)
        times.tell(self._request.emit)
        sides.tell(self._request.emit)
        self._tell(plan, found)

    def _tables(self, split: str) -> Sequence[str]:
        """The files of a split that have its rows: all, or the list beside its recordings. Raises BadData."""
        names = self._repository.files[split]
        lists = [name for name in names if PurePosixPath(name).name in METADATA]
        if lists and all(name in lists or is_audio(name) for name in names):
            self._refuse_shared(split, lists)
            return lists
        other = next((name for name in names if not name.lower().endswith(TABLE_SUFFIXES + LIST_SUFFIXES)), None)
        if other is not None:
            raise BadData(
                f"the split {split} of {self._repository.label} lies in files that are not read, such as {other}",
                fix="give the corpus by its own kind (`asrctl prepare --help` lists them), or save it by save_to_disk",
            )

        return names

    def _refuse_shared(self, split: str, lists: Sequence[str]) -> None:
        """Raises BadData where a list is of several splits, as then the folders tell which row is for what."""
        others = [name for other, names in self._repository.files.items() if other != split for name in names]
        shared = next((name for name in lists if name in others), None)
        if shared is not None:
            raise BadData(
                f"{shared} of {self._repository.label} is the list of several splits",
                fix="put a list into the folder of each split, or use `asrctl prepare folder`",
            )

    def _file(self, name: str) -> ColumnarFile:
        if name not in self._open:
            path = self._repository.get(name)
            self._request.before_reading(str(path))
            self._open[name] = ColumnarFile(path)
        return self._open[name]

    def _pieces(self, part: Part) -> Iterator[_Piece]:
        """The rows of a part, file by file; files beyond them are neither fetched nor opened."""
        first = 0
        for name in self._tables(part.split):
            if part.stop is not None and first >= part.stop:
                return
            file = self._file(name)
            rows = file.num_rows
            start = min(rows, max(0, part.start - first))
            stop = rows if part.stop is None else min(rows, part.stop - first)
            if start < stop:
                yield _Piece(file, name, part.split, first, start, stop)
            first += rows

    def _find_columns(self, piece: _Piece) -> _Found:
        """Raises BadData, UsageError."""
        options, schema = self._request.options, piece.file.schema
        light = hub_columns.light(schema)
        _, batch = next(iter(piece.file.batches(light, piece.start, piece.start + 1))) if light else (0, None)
        sample = {name: batch.column(at)[0].as_py() for at, name in enumerate(light)} if batch is not None else {}
        features = hub_columns.features_of(schema, self._repository.features)
        table = hub_columns.Table(self._repository.label, schema, features, sample)
        chosen = hub_columns.choose(table, options.get("audio_column"), options.get("text_column"))
        others = [name for name in schema.names if name not in (chosen.audio, chosen.text, chosen.rate_column)]
        plan = self._columns.plan(others)
        return _Found(chosen, plan, list(dict.fromkeys([chosen.text, *light])), schema)

    def _has_ids(self, pieces: Sequence[_Piece], found: _Found) -> bool:
        """Whether the column of ids has another one in each row."""
        column = found.plan.fields.get("id")
        if column is None or column.name not in found.read:
            return False
        seen = array("q")
        for piece in pieces:
            self._check_columns(piece, found)
            for _, batch in piece.file.batches([column.name], piece.start, piece.stop):
                values = batch.column(0)
                if values.null_count:
                    return self._no_ids(column.name, "is empty in some rows")
                seen.extend(hash(str(value)) for value in values.to_pylist())
        import numpy as np

        numbers = np.sort(np.frombuffer(seen, dtype=np.int64))
        if (numbers[1:] == numbers[:-1]).any():
            return self._no_ids(column.name, "is the same in several rows")
        return True

    def _no_ids(self, name: str, why: str) -> bool:
        self._request.emit(Note(f"the column {name} {why}, so utterances are called after their split and row"))
        return False

    def _check_columns(self, piece: _Piece, found: _Found) -> None:
        """Raises BadData where a file has other columns than the first one."""
        schema = piece.file.schema
        for name in dict.fromkeys([found.chosen.audio, *found.read]):
            there = schema.field(name).type if name in schema.names else None
            # A column without a value in a whole file is written without a type.
            if there is None or (there != found.schema.field(name).type and str(there) != "null"):
                what = "no column" if there is None else f"{there} in the column"
                raise BadData(
                    f"{piece.file.path} has {what} {name}, unlike the first file of {self._repository.label}",
                    fix="fetch that file again, or read the splits one by one",
                )

    # -- rows ---------------------------------------------------------------------------------------------------------

    def _read(
        self, piece: _Piece, typed: str, found: _Found, times: Times, sides: Sides, has_ids: bool
    ) -> Iterator[Utterance]:
        self._check_columns(piece, found)
        chosen, fields = found.chosen, found.plan.fields
        addresses = self._places.addresses(piece.file, piece.name, chosen)
        for first, batch in piece.file.batches([*found.read, *addresses.columns], piece.start, piece.stop):
            rows = batch.to_pydict()
            self._look_at(found.plan, rows)
            numbers = range(first, first + batch.num_rows)
            if has_ids:
                ids: Iterable[str] = map(str, rows[fields["id"].name])
            else:
                ids = (f"{piece.split}/{piece.first + row}" for row in numbers)
            texts = (_text(value, chosen) for value in rows[chosen.text])
            speaker = fields["speaker"].name if "speaker" in fields else ""
            speakers = map(_word, rows[speaker]) if speaker in rows else repeat(None)
            starts, ends = zip(*(times.of_row(rows, at) for at in range(batch.num_rows)))
            audio = addresses.of(rows, numbers)
            channels, digests = sides.of(rows, batch.num_rows), repeat(None)
            yield from map(Utterance, ids, audio, texts, repeat(typed), speakers, starts, ends, digests, channels)

    @staticmethod
    def _look_at(plan: ColumnPlan, rows: Mapping[str, Sequence[Any]]) -> None:
        for seen in plan.others:
            for value in rows.get(seen.name, ()):
                if not seen.is_open and seen.is_filled:
                    break
                seen.look_at(value)

    def _tell(self, plan: Mapping[str, Sequence[Part]], found: _Found) -> None:
        emit, label = self._request.emit, self._repository.label
        self._columns.tell(emit, "data set", _ADVICE)
        self._places.tell(self._request)
        heavy = [field.name for field in found.schema if field.name not in (*found.read, found.chosen.audio)]
        if heavy:
            emit(Note(f"columns of the data set that are not used: {', '.join(heavy)}"))
        self._request.hint("no-transcript", f"fill the column {found.chosen.text} of these rows, or leave them out")
        for split in dict.fromkeys(part.split for parts in plan.values() for part in parts):
            told, names = self._repository.rows.get(split), self._tables(split)
            if told is not None and all(name in self._open for name in names):
                there = sum(self._open[name].num_rows for name in names)
                if there != told:
                    whole = f"{amounts.count(there, 'row')} of the {told} that its README.md tells of"
                    emit(Warned(f"the split {split} of {label} has {whole}"))


def _text(value: Any, chosen: hub_columns.Chosen) -> str:
    """A transcript, or the word that a number of a class stands for."""
    if isinstance(value, int) and chosen.words:
        return chosen.words[value] if 0 <= value < len(chosen.words) else ""
    return value.strip() if isinstance(value, str) else ""


def _word(value: Any) -> Optional[str]:
    return None if value is None or value == "" else str(value)
