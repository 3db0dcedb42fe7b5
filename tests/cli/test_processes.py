"""`asrctl train` in several processes. Kills, four processes and torchrun itself are in tests/faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..helpers.processes import TRAIN, learned, prepare, start
from ..helpers.program import copy_workspace, run_here


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("processes"))


def test_two_processes_learn_bit_for_bit_what_one_learns(workspace: Path, tmp_path: Path) -> None:
    alone = copy_workspace(workspace, tmp_path / "alone")
    run_here(*TRAIN, "--workspace", alone).succeeded()
    two = copy_workspace(workspace, tmp_path / "two")
    done = start(two, 2, *TRAIN, "--json").ended()
    assert done.status == 0, done
    (document,) = done.stdout.splitlines()
    assert json.loads(document)["result"]["processes"] == 2
    assert done.stderr.count("device: cpu") == 1
    assert learned(two) == learned(alone)
    infos = [json.loads((place / "runs/r/run.json").read_text(encoding="utf-8")) for place in (alone, two)]
    assert [info.get("processes") for info in infos] == [None, 2]
    assert infos[0]["inputs"] == infos[1]["inputs"]
    assert "--processes" not in infos[0]["command"]


def test_a_dry_run_says_how_many(workspace: Path) -> None:
    words = (*TRAIN, "--workspace", workspace, "--processes", 2, "--dry-run")
    assert "2 processes" in run_here(*words).succeeded().stdout
    assert run_here(*words, "--json").result["processes"] == 2


@pytest.mark.parametrize(
    "words, code, told",
    [
        (("--processes", "0"), 2, "the least is 1"),
        (("--processes", "2", "--device", "ipu-emulated"), 6, "leave out --processes"),
        (("--processes", "2", "--device", "cuda"), 6, "CUDA"),
    ],
)
def test_what_several_processes_can_not_do(workspace: Path, words: tuple, code: int, told: str) -> None:
    import torch

    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    for more in ((), ("--dry-run",)):
        refused = run_here("train", "--preset", "faulty", "--workspace", workspace, *words, *more)
        assert refused.exit_code == code, refused
        assert told in refused.stderr
    assert not (workspace / "runs").exists()


def test_torchrun_and_processes_have_to_agree(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "a", "MASTER_PORT": 1}
    for name, value in started.items():
        monkeypatch.setenv(name, str(value))
    refused = run_here(*TRAIN, "--workspace", workspace, "--processes", 3)
    assert refused.exit_code == 2
    assert "torchrun has started 2 processes" in refused.stderr
