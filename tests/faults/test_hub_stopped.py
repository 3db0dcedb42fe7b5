"""`prepare hub` killed while it fetches and while it prepares, with a branch that moves in between: the same data."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from ..helpers.data_hub import DataHub, asrctl_with, files_in, serving
from ..helpers.data_sets import repository
from ..helpers.stops import stopped

pytestmark = [pytest.mark.faults_full, pytest.mark.fault("killed while it reads a data set of the hub")]

NAME = "somebody/speech"
SPLITS = ("--train", "train", "--eval", "validation", "--json")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Tuple[DataHub, str, str]]:
    """With a branch that has moved: the hub, the commit before and the one after."""
    with serving(tmp_path / "cache") as served:
        old = served.commit(NAME, repository(tmp_path / "old"))
        new = served.commit(NAME, repository(tmp_path / "new", train=9))
        served.repositories[NAME]["main"] = tmp_path / "old"
        yield served, old, new


def killed(words: List[Any], root: Path, text: str, passes: int, environment: Dict[str, str]) -> None:
    process = stopped(words, root, text, passes=passes, env={**os.environ, **environment})
    process.send_signal(signal.SIGKILL)
    process.communicate()


def shards(folder: Path) -> Dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_in(folder) if name != "meta.json"}


@pytest.mark.parametrize("streaming", [False, True])
def test_killed_twice_and_moved(hub: Any, tmp_path: Path, streaming: bool) -> None:
    served, old, new = hub
    more = ["--streaming"] if streaming else []
    work = ["--workspace", str(tmp_path / "work")]
    words = ["prepare", "hub", NAME, *SPLITS, *more, *work]
    if not streaming:
        killed(words, tmp_path / "cache", ".incomplete", 2, served.environment)
    killed(words, tmp_path / "work", "part-00000.json", 1, served.environment)
    served.repositories[NAME]["main"] = tmp_path / "new"
    served.asked.clear()
    with asrctl_with(served.environment, tmp_path) as run:
        moved = run(*words)
        assert moved.result["splits"]["train"]["utterances"] == 9 and new in moved.stderr
        served.asked.clear()
        done = run(*words, "--revision", old)
        fetched = [line for line in served.asked if line.startswith("GET") and "train-" in line]
        straight = run("prepare", "hub", NAME, *SPLITS, "--revision", old, "--workspace", tmp_path / "straight")
    assert done.result["id"] == straight.result["id"] != moved.result["id"]
    assert shards(tmp_path / done.result["path"]) == shards(tmp_path / straight.result["path"])
    assert streaming or not fetched
    assert bool(list((tmp_path / "cache").rglob("*.parquet"))) or streaming
