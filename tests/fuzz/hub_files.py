"""Data sets of the hub as the fuzzers damage them: tables with recordings in their cells, lists, cards and states."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

from asrctl.data.corpora import find
from asrctl.data.corpus import CorpusRequest
from asrctl.data.reading.embedded import CellReader
from asrctl.data.reading.hub import card
from asrctl.data.reading.hub import repository as repositories
from asrctl.data.reading.hub.rows import Rows
from asrctl.data.reading.hub.splits import Part
from asrctl.data.utterance import is_table, split_path
from asrctl.errors import AsrctlError
from asrctl.storage.remote import streaming

Seeds = List[Tuple[str, bytes]]


@functools.lru_cache(maxsize=None)
def _tables() -> Tuple[Any, Any, Any]:
    """Recordings as bytes, as samples, and as paths."""
    import pyarrow as pa

    stored = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    array = pa.struct([("array", pa.list_(pa.float32())), ("sampling_rate", pa.int64())])
    names = {"id": ["a", "b", "c"], "text": ["one", "été", None], "speaker_id": [1, 2, 2], "start": [0.0, 0.5, 1.0]}
    cells = [
        {"bytes": b"fLaC" * 20, "path": "a.flac"},
        {"bytes": b"RIFF" * 9, "path": None},
        {"bytes": b"", "path": ""},
    ]
    heard = [{"array": [0.0, 0.5, -0.5], "sampling_rate": 16000}, *[{"array": [1.0], "sampling_rate": 8000}] * 2]
    return (
        pa.table({"audio": pa.array(cells, type=stored), **names}),
        pa.table({"audio": pa.array(heard, type=array), "text": names["text"]}),
        pa.table({"audio": ["a.wav", "../b.wav", "/c.wav"], "sentence": pa.array(names["text"]).dictionary_encode()}),
    )


def parquet_seeds() -> Seeds:
    import pyarrow.parquet as pq

    found = []
    for table in _tables():
        for compression in ("snappy", "none"):
            stream = io.BytesIO()
            pq.write_table(table, stream, row_group_size=2, compression=compression)
            found.append(("a.parquet", stream.getvalue()))
    return found


def arrow_seeds() -> Seeds:
    import pyarrow as pa

    found = []
    for table in _tables():
        for kind in (pa.ipc.new_stream, pa.ipc.new_file):
            stream = io.BytesIO()
            with kind(stream, table.schema) as writer:
                writer.write_table(table)
            found.append(("a.arrow", stream.getvalue()))
    return found


LISTS: Seeds = [
    ("metadata.csv", b'file_name,transcription\na.wav,"hello, world"\nb.wav,two\n'),
    ("metadata.jsonl", b'{"file_name": "a.wav", "transcription": "hello"}\n{"file_name": "b.wav"}\n'),
]


def tables(place: Path) -> None:
    """The rows of a table, and the recordings in its cells."""
    for path in sorted(place.iterdir()):
        made = repositories.Repository("set", None, {"train": [path.name]}, get=lambda name: place / name)
        request = CorpusRequest(source=place, options={})
        reader = None
        refused = None
        for utterance in Rows(made, request).utterances({"train": [Part("train")]}):
            utterance.id.encode("utf-8", "surrogatepass")
            table, cell = split_path(utterance.audio)
            if cell is not None and is_table(table):
                reader = reader or CellReader(Path(table))
                try:
                    reader.read(cell)
                except AsrctlError as error:  # that of one row
                    refused = error
        if refused is not None:
            raise refused


_STATE = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train", "_fingerprint": "x"}
REPOSITORY: Dict[str, bytes] = {
    "data/train-00000-of-00001.parquet": b"PAR1",
    "train.csv": b"path,text\n",
    "train/state.json": json.dumps(_STATE).encode(),
}
CARDS: Seeds = [
    (
        "README.md",
        b"---\nconfigs:\n- config_name: de\n  default: true\n  data_files:\n  - split: train\n    path: data/train-*\n"
        b"- config_name: fr\n  data_dir: fr\ndataset_info:\n  features:\n  - name: audio\n    dtype: audio\n---\n# A\n",
    ),
    ("dataset_dict.json", b'{"splits": ["train"]}'),
    ("state.json", json.dumps(_STATE).encode()),
    ("train/state.json", json.dumps(_STATE).encode()),
]


def repository(place: Path) -> None:
    """What a folder says of its configurations; the datasets library itself takes too long for each."""
    found = card.configurations(place)
    card.default(place, found)
    repositories.has_card(place)
    find("hub").recognizes(place)
    if not repositories.is_saved(place):
        (place / "dataset_dict.json").write_bytes(b'{"splits": ["train"]}')
    made = repositories.find(CorpusRequest(source=place, options={}))
    for split in made.files:
        made.check_whole(split)


STAND = json.dumps({"asrctl-stream": 1, "address": "s3://bucket/a.parquet", "size": 100, "version": "x 100"}).encode()


def stand(place: Path) -> None:
    """What says where the real file is; nothing is asked of anybody."""
    for path in sorted(place.iterdir()):
        found = streaming.stand(path)
        if found is not None:
            streaming.RangedFile(found).seek(0, 2)
        streaming.size_of(path)
