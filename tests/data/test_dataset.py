"""Prepared speech on disk: many shards, few of them mapped at a time."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from asrctl.data import shard_files
from asrctl.data.dataset import PreparedSplit, totals
from asrctl.data.shard_files import PreparedUtterance, write_shard
from asrctl.errors import BadData


def utterance(number: int) -> PreparedUtterance:
    labels = np.arange(1 + number % 5, dtype=np.int32)
    return PreparedUtterance(
        f"u{number}", None, "x" * len(labels), labels, np.full(20 + number, number, dtype=np.int16)
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten shards of three utterances, of which two may be mapped at a time."""
    monkeypatch.setattr(shard_files, "_MAPPED", 2)
    for shard in range(10):
        rows = [utterance(3 * shard + row) for row in range(3)]
        write_shard(tmp_path / f"shard-{shard:05d}.arrow", rows)
    return tmp_path


def test_what_is_not_mapped_is_mapped_again(folder: Path) -> None:
    split = PreparedSplit(folder, name="train", sample_rate=16000)
    assert (len(split), split.largest_label) == (30, 4)
    assert split.num_samples.tolist() == [20 + number for number in range(30)]
    assert totals(folder) == (30, int(split.num_samples.sum()))
    kept = [split[number] for number in (29, 0, 14, 29, 3)]
    assert [item.id for item in kept] == ["u29", "u0", "u14", "u29", "u3"]
    assert all((item.pcm == int(item.id[1:])).all() for item in kept), "samples outlive their shard's turn"
    assert len(split._shards._mapped) == 2


def test_threads_read_side_by_side(folder: Path) -> None:
    split = PreparedSplit(folder, name="train", sample_rate=16000).only(np.arange(29, -1, -1))
    wrong = []

    def read(seed: int) -> None:
        for index in np.random.default_rng(seed).integers(0, 30, 300):
            item = split[int(index)]
            if item.id != f"u{29 - index}" or not (item.pcm == 29 - index).all():
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_shard_that_is_damaged_later_is_told(folder: Path) -> None:
    split = PreparedSplit(folder, name="train", sample_rate=16000)
    damaged = folder / "shard-00003.arrow"
    damaged.with_suffix(".new").write_bytes(damaged.read_bytes()[:-100])
    damaged.with_suffix(".new").replace(damaged)
    with pytest.raises(BadData, match="shard-00003.arrow is damaged"):
        split.text(10)


@pytest.mark.parametrize(("largest", "bytes_each"), [(32767, 2), (32768, 4)])
def test_labels_take_no_more_bytes_than_the_largest_needs(tmp_path: Path, largest: int, bytes_each: int) -> None:
    labels = np.array([0, largest, 7], dtype=np.int32)
    write_shard(tmp_path / "shard-00000.arrow", [PreparedUtterance("u", None, "x", labels, np.zeros(5, np.int16))])
    split = PreparedSplit(tmp_path, name="train", sample_rate=16000)
    assert split.largest_label == largest
    assert split[0].labels.dtype == np.int32
    assert split[0].labels.tolist() == labels.tolist()
    with pa.memory_map(str(tmp_path / "shard-00000.arrow")) as source:
        assert pa.ipc.read_schema(source).field("labels").type.value_type.bit_width == 8 * bytes_each


def test_shards_of_both_widths_are_one_split(folder: Path) -> None:
    """Earlier versions wrote wide labels only."""
    expected = [item.labels.tolist() for item in PreparedSplit(folder, name="train", sample_rate=16000)]
    path = folder / "shard-00004.arrow"
    batch = pa.ipc.open_stream(path.read_bytes()).read_next_batch()
    columns = [batch.column(field.name).cast(field.type) for field in shard_files.WIDE_SCHEMA]
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, shard_files.WIDE_SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=shard_files.WIDE_SCHEMA))
    mixed = PreparedSplit(folder, name="train", sample_rate=16000)
    assert [item.labels.tolist() for item in mixed] == expected


def test_reading_loads_no_pandas(folder: Path) -> None:
    """Which takes longer than all of the reading, and pyarrow's own way to numpy imports it."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom asrctl.data.dataset import PreparedSplit\n"
        f"split = PreparedSplit(Path({str(folder)!r}), name='train', sample_rate=16000)\n"
        "assert len(split[0].pcm) and split.count(0) and split[29].labels.dtype == 'int32'\n"
        "sys.exit('pandas' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
