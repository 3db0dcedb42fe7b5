"""What does not fit on the disk is read where it lies, and becomes the same data."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

from ..helpers import data_sets
from ..helpers.elsewhere import Buckets, buckets
from ..helpers.program import run_here

SPLITS = ("--train", "train", "--test", "test", "--name", "speech")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buckets]:
    folder = tmp_path_factory.mktemp("set")
    for split, first, count in (("train", 0, 40), ("test", 100, 8)):
        found = data_sets.rows(count, first)
        data_sets.write(folder / "set" / f"{split}-00000-of-00001.parquet", found, group=10)
        (folder / "tars").mkdir(exist_ok=True)
        with tarfile.open(str(folder / "tars" / f"{split}-0.tar"), "w") as archive:
            for row in found:
                for suffix, content in (("flac", row["audio"]["bytes"]), ("txt", row["text"].encode())):
                    path = folder / f"{row['id']}.{suffix}"
                    path.write_bytes(content)
                    archive.add(str(path), path.name)
    with buckets() as served:
        served.put("sets", folder / "set", "set/")
        served.put("sets", folder / "tars", "tars/")
        served.folder = folder
        yield served


@pytest.fixture
def s3(store: Buckets, monkeypatch: pytest.MonkeyPatch, in_folder: Path) -> Buckets:
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    store.proxy.sent = 0
    return store


def shards(done: Dict[str, Any]) -> Dict[str, bytes]:
    folder = Path(done["path"])
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.arrow")}


@pytest.mark.parametrize(("corpus", "where"), [("hub", "set"), ("webdataset", "tars")])
def test_the_same_data_without_a_copy(s3: Buckets, corpus: str, where: str) -> None:
    here = run_here("prepare", corpus, s3.folder / where, *SPLITS, "--workspace", "here", "--json").succeeded().result
    words = ("prepare", corpus, f"s3://sets/{where}", *SPLITS, "--streaming", "--workspace", "w", "--json")
    planned = run_here(*words, "--dry-run").succeeded().result
    assert planned["downloads"] == {} and planned["splits"]["test"]["utterances"] == 8
    assert planned["estimated_bytes"] > 100_000 and not Path("w").exists()
    s3.proxy.breaks = 20_000
    there = run_here(*words).succeeded().result
    assert s3.proxy.breaks is None
    assert there["id"] == here["id"] and shards(there) == shards(here) and len(shards(here)) == 3
    assert sum(path.stat().st_size for path in Path("w/cache/remote").rglob("*") if path.is_file()) < 50_000
    again = run_here(*words).succeeded().result
    assert not again["new"]


def test_what_is_here_needs_no_streaming(s3: Buckets) -> None:
    done = run_here("prepare", "hub", s3.folder / "set", *SPLITS, "--streaming", "--workspace", "w").succeeded()
    assert "the corpus lies on this machine" in done.stderr
