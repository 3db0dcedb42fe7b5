"""A shard of prepared speech: the plain Arrow schema it has, how it is written, and how it is mapped and checked."""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional, Sequence

import numpy as np
import pyarrow as pa

from asrctl.errors import BadData
from asrctl.messages import reasons
from asrctl.runtime import memory
from asrctl.storage import files

# Each costs some 100 kB of memory before a sample of it is read, and up to its 16 MB after.
_MAPPED = 512
FIX = "delete that folder and prepare the corpus again"


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
    arrays.append(pcm_array([utterance.pcm for utterance in utterances]))
    with files.atomic_path(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def pcm_array(rows: Sequence[np.ndarray]) -> pa.Array:
    """Samples of several utterances as a column of lists."""
    offsets = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    samples = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int16)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(samples.astype(np.int16, copy=False)))


class Shards:
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
            shard = self._mapped[index] = open_shard(self._paths[index]) if shard is None else shard
            if len(self._mapped) > _MAPPED:
                self._mapped.popitem(last=False)
        return shard


def as_numpy(array: pa.Array) -> np.ndarray:
    """The numbers of an Arrow array without missing values, where they lie.

    pyarrow's own way there imports pandas, which takes longer than opening all shards.
    """
    kind, data = np.dtype(str(array.type)), array.buffers()[-1]
    if data is None or not len(array):
        return np.zeros(0, dtype=kind)
    return np.frombuffer(data, dtype=kind, count=len(array), offset=array.offset * kind.itemsize)


def largest_label(batch: pa.RecordBatch) -> int:
    labels = as_numpy(batch.column("labels").flatten())
    return int(labels.max()) if len(labels) else -1


def open_shard(path: Path) -> pa.RecordBatch:
    """Map a shard, and check all that later reads rely on: whoever goes by a wrong offset reads foreign memory."""
    batch = open_batch(path, (SCHEMA, WIDE_SCHEMA), "a shard of prepared speech", fix=FIX)
    problem = _inconsistency(batch)
    if problem:
        raise BadData(f"{path} is damaged ({problem})", fix=FIX)
    return batch


def open_batch(path: Path, schemas: Sequence[pa.Schema], what: str, *, fix: str) -> pa.RecordBatch:
    """Map a file of one batch that we wrote, which has one of these schemas. Raises BadData."""
    try:
        with files.open_regular(path, fix=fix):
            source = pa.memory_map(str(path), "r")
        schema = pa.ipc.read_schema(source)
        message = pa.ipc.read_message(source) if any(schema.equals(known) for known in schemas) else None
        if message is None or _is_compressed(message):
            raise BadData(f"{path} is not {what}", fix=fix)
        batch = pa.ipc.read_record_batch(message, schema)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, EOFError, StopIteration, ValueError, struct.error) as error:
        memory.raise_shortage(error)
        raise BadData(f"{path} is damaged ({reasons.reason(error)})", fix=fix) from None
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
        lengths = np.diff(as_numpy(batch.column(lists).offsets))
        if not np.array_equal(lengths, as_numpy(batch.column(counts))):
            return f"{counts} is not what {lists} holds"
    labels = batch.column("labels")
    if len(labels.flatten()) and as_numpy(labels.flatten()).min() < 0:
        return "a label is below 0"
    return None
