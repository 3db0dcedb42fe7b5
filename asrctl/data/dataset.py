"""Prepared speech on disk: int16 PCM and label ids in Arrow files, mapped into memory, never copied as a whole.

A split is a folder of `shard-NNNNN.arrow` (Arrow IPC streams of one batch with the plain schema below, no library's
metadata inside) and a `rejects.jsonl`. Every generation of pyarrow and datasets that we support reads them.
"""

from __future__ import annotations

import copy
import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import pyarrow as pa

from asrctl.data.summary import SPLITS, PreparedSummary
from asrctl.data.text import Vocabulary
from asrctl.errors import BadData, MissingArtifact
from asrctl.messages import amounts, reasons
from asrctl.runtime import memory
from asrctl.storage import files, records
from asrctl.storage.hashing import digest
from asrctl.storage.workspace import Artifact

# Each costs some 100 kB of memory before a sample of it is read, and up to its 16 MB after.
_MAPPED = 512
_FIX = "delete that folder and prepare the corpus again"


def _schema(label: pa.DataType) -> pa.Schema:
    return pa.schema(
        [
            ("id", pa.string()),
            ("speaker", pa.string()),
            ("text", pa.string()),
            ("num_samples", pa.int32()),
            ("num_labels", pa.int32()),
            ("num_repeats", pa.int32()),
            ("labels", pa.list_(label)),
            ("pcm", pa.list_(pa.int16())),
        ]
    )


SCHEMA = _schema(pa.int16())
# Where a label needs more than 16 bits, and in all shards that asrctl wrote before it knew the narrow ones.
WIDE_SCHEMA = _schema(pa.int32())


@dataclass(frozen=True)
class PreparedUtterance:
    """One utterance as training sees it.

    pcm: (time,) int16 at the prepared sample rate. labels: (labels,) int32. text: the normalized transcript.
    """

    id: str
    speaker: Optional[str]
    text: str
    labels: np.ndarray
    pcm: np.ndarray


def count_repeats(labels: Sequence[int]) -> int:
    """Equal neighbors among the labels: CTC needs a blank between each such pair, so one frame more."""
    return sum(1 for left, right in zip(labels, labels[1:]) if left == right)


def write_shard(path: Path, utterances: Sequence[PreparedUtterance]) -> None:
    """Write one shard; it appears whole or not at all. Equal utterances give equal bytes."""
    labels = [list(map(int, utterance.labels)) for utterance in utterances]
    columns = {
        "id": [utterance.id for utterance in utterances],
        "speaker": [utterance.speaker for utterance in utterances],
        "text": [utterance.text for utterance in utterances],
        "num_samples": [len(utterance.pcm) for utterance in utterances],
        "num_labels": [len(row) for row in labels],
        "num_repeats": [count_repeats(row) for row in labels],
        "labels": labels,
    }
    largest = max((max(row, default=0) for row in labels), default=0)
    schema = SCHEMA if largest <= np.iinfo(np.int16).max else WIDE_SCHEMA
    arrays = [pa.array(columns[field.name], field.type) for field in list(schema)[:-1]]
    arrays.append(_pcm_array([utterance.pcm for utterance in utterances]))
    with files.atomic_path(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _pcm_array(rows: Sequence[np.ndarray]) -> pa.Array:
    offsets = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    samples = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int16)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(samples.astype(np.int16, copy=False)))


class PreparedSplit:
    """A split, mapped: lengths are arrays, samples are read when an utterance is asked for.

    num_samples, num_labels, num_repeats: (utterances,) int32, in the order of the shards.
    Raises BadData where a shard is damaged.
    """

    def __init__(self, folder: Path, *, name: str, sample_rate: int) -> None:
        self.name = name
        self.folder = folder
        self.sample_rate = sample_rate
        self._shards = _Shards(sorted(folder.glob("shard-*.arrow")))
        lengths = {name: [np.zeros(0, dtype=np.int32)] for name in ("num_samples", "num_labels", "num_repeats")}
        counts, self.largest_label = [], -1
        for shard in self._shards:
            counts.append(len(shard))
            self.largest_label = max(self.largest_label, _largest_label(shard))
            for name, found in lengths.items():
                found.append(np.array(shard.column(name), dtype=np.int32))  # a copy: the map may go
        self._ends = np.cumsum(counts, dtype=np.int64) if counts else np.zeros(0, dtype=np.int64)
        self._rows: Optional[np.ndarray] = None
        self.num_samples, self.num_labels, self.num_repeats = (np.concatenate(found) for found in lengths.values())

    def __len__(self) -> int:
        return len(self.num_samples)

    def __getitem__(self, index: int) -> PreparedUtterance:
        shard, row = self._locate(index)
        column = shard.column("pcm")
        start, end = column.offsets[row].as_py(), column.offsets[row + 1].as_py()
        return PreparedUtterance(
            id=shard.column("id")[row].as_py(),
            speaker=shard.column("speaker")[row].as_py(),
            text=shard.column("text")[row].as_py(),
            labels=np.asarray(shard.column("labels")[row].values, dtype=np.int32),
            pcm=column.values.slice(start, end - start).to_numpy(zero_copy_only=True),
        )

    def __iter__(self) -> Iterator[PreparedUtterance]:
        return (self[index] for index in range(len(self)))

    def only(self, indices: np.ndarray) -> "PreparedSplit":
        """The same split with just these utterances, renumbered from 0."""
        view = copy.copy(self)
        view._rows = np.asarray(indices, dtype=np.int64) if self._rows is None else self._rows[indices]
        for name in ("num_samples", "num_labels", "num_repeats"):
            setattr(view, name, getattr(self, name)[indices])
        return view

    @property
    def rows(self) -> np.ndarray:
        """(utterances,) int64: which rows of the split on disk these are."""
        return np.arange(len(self), dtype=np.int64) if self._rows is None else self._rows

    @property
    def seconds(self) -> float:
        """Seconds of speech in the split."""
        return float(self.num_samples.sum(dtype=np.int64)) / self.sample_rate

    def text(self, index: int) -> str:
        shard, row = self._locate(index)
        return shard.column("text")[row].as_py()

    def id(self, index: int) -> str:
        shard, row = self._locate(index)
        return shard.column("id")[row].as_py()

    def _locate(self, index: int) -> Tuple[Any, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        index = index if self._rows is None else int(self._rows[index])
        shard = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[shard - 1]) if shard else 0
        return self._shards[shard], index - start


class _Shards:
    """The shards of a split, mapped when asked for; no more than _MAPPED stay so, to bound memory. For any thread."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._mapped: "OrderedDict[int, pa.RecordBatch]" = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> pa.RecordBatch:
        """Raises BadData where it is damaged, IndexError."""
        with self._lock:
            shard = self._mapped.pop(index, None)
            shard = self._mapped[index] = _open_shard(self._paths[index]) if shard is None else shard
            if len(self._mapped) > _MAPPED:
                self._mapped.popitem(last=False)
        return shard


def totals(folder: Path) -> Tuple[int, int]:
    """(utterances, samples) of a split on disk: one shard mapped at a time, in flat memory. Raises BadData."""
    utterances = samples = 0
    for path in sorted(folder.glob("shard-*.arrow")):
        counts = _open_shard(path).column("num_samples").to_numpy()
        utterances, samples = utterances + len(counts), samples + int(counts.sum(dtype=np.int64))
    return utterances, samples


def _largest_label(batch: pa.RecordBatch) -> int:
    labels = batch.column("labels").flatten().to_numpy()
    return int(labels.max()) if len(labels) else -1


def _open_shard(path: Path) -> pa.RecordBatch:
    """Map a shard, and check all that later reads rely on: whoever goes by a wrong offset reads foreign memory."""
    try:
        with files.open_regular(path, fix=_FIX):
            source = pa.memory_map(str(path), "r")
        schema = pa.ipc.read_schema(source)
        known = schema.equals(SCHEMA) or schema.equals(WIDE_SCHEMA)
        message = pa.ipc.read_message(source) if known else None
        if message is None or _is_compressed(message):
            raise BadData(f"{path} is not a shard of prepared speech", fix=_FIX)
        batch = pa.ipc.read_record_batch(message, schema)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, EOFError, StopIteration, ValueError, struct.error) as error:
        memory.raise_shortage(error)
        raise BadData(f"{path} is damaged ({reasons.reason(error)})", fix=_FIX) from None
    problem = _inconsistency(batch)
    if problem:
        raise BadData(f"{path} is damaged ({problem})", fix=_FIX)
    return batch


def _is_compressed(message: pa.Message) -> bool:
    """Whether a record batch says that its buffers are compressed: ours never are, and a few bytes can become many.

    The metadata is a flatbuffer: a table points back at its vtable, which holds the places of its fields. In Message
    the batch is field 2, in RecordBatch the compression is field 3 (Arrow's Message.fbs); 0 stands for absent.
    """
    data = message.metadata.to_pybytes()

    def field(table: int, number: int) -> int:
        vtable = table - struct.unpack_from("<i", data, table)[0]
        size = struct.unpack_from("<H", data, vtable)[0]
        place = 4 + 2 * number
        return struct.unpack_from("<H", data, vtable + place)[0] if place < size else 0

    root = struct.unpack_from("<I", data, 0)[0]
    header = field(root, 2)
    batch = root + header + struct.unpack_from("<I", data, root + header)[0]
    return message.type != "record batch" or not header or field(batch, 3) != 0


def _inconsistency(batch: pa.RecordBatch) -> Optional[str]:
    """What in a batch contradicts itself, or None."""
    missing = [name for name in SCHEMA.names if name != "speaker" and batch.column(name).null_count]
    if missing or batch.column("labels").values.null_count or batch.column("pcm").values.null_count:
        return f"{missing or 'labels or samples'}: values are missing"
    for counts, lists in (("num_samples", "pcm"), ("num_labels", "labels")):
        lengths = np.diff(batch.column(lists).offsets.to_numpy())
        if not np.array_equal(lengths, batch.column(counts).to_numpy()):
            return f"{counts} is not what {lists} holds"
    labels = batch.column("labels")
    if len(labels.flatten()) and labels.flatten().to_numpy().min() < 0:
        return "a label is below 0"
    return None


@dataclass(frozen=True)
class PreparedData:
    """A published `prepared` artifact: splits, vocabulary, and the rules it was made by."""

    artifact: Artifact
    summary: PreparedSummary = field(init=False)

    def __post_init__(self) -> None:
        refusal = f"{self.artifact.path} does not say what it holds"
        summary = records.read(PreparedSummary, self.artifact.summary, refusal, fix=_FIX)
        object.__setattr__(self, "summary", summary)

    @property
    def content(self) -> str:
        """A digest of what the data holds; its ID says what it was made from.

        They part where it was made again by another release of a decoder or resampler.
        """
        return digest([self.artifact.id, self.artifact.meta.get("files")])

    @property
    def splits(self) -> List[str]:
        return list(self.summary.splits)

    @property
    def trains(self) -> bool:
        """Whether there is a split for training; else the data is for evaluation only."""
        return "train" in self.splits

    @property
    def usual_split(self) -> str:
        """The split to evaluate where nobody names one: the one that chooses, or all that data without training has."""
        return "eval" if self.trains or "eval" in self.splits else self.splits[0]

    @property
    def sample_rate(self) -> int:
        return self.summary.sample_rate

    def vocabulary(self) -> Vocabulary:
        return Vocabulary.load(self.artifact.path / "vocab")

    def split(self, name: str) -> PreparedSplit:
        """Raises MissingArtifact where the data has no such split, BadData where it is damaged."""
        if name == "train" and not self.trains:
            raise MissingArtifact(
                f"the prepared data {self.summary.name} is for evaluation only (it has {', '.join(self.splits)})",
                fix="name data that has a split for training with --data, or run `asrctl prepare CORPUS` on some",
            )
        if name not in self.splits:
            again = f", or prepare the corpus again with a split for it (--{name})" if name in SPLITS else ""
            there = next(split for split in ("eval", "test", "train") if split in self.splits)
            raise MissingArtifact(
                f"the prepared data has no split {name!r} (it has {', '.join(self.splits)})",
                fix=f"choose one that is there, such as `--split {there}`{again}",
            )
        split = PreparedSplit(self.artifact.path / name, name=name, sample_rate=self.sample_rate)
        if split.largest_label >= len(self.vocabulary()):
            raise BadData(f"{split.folder} has labels beyond its vocabulary", fix=_FIX)
        wanted = self.summary.splits[name].utterances
        if len(split) != wanted:
            raise BadData(
                f"{split.folder} is damaged: it holds {len(split)} of {amounts.count(wanted, 'utterance')}", fix=_FIX
            )
        return split
