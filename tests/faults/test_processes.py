"""A training in several processes: killed, stopped, told to end, resumed in others."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path

import pytest

from asrctl.training import checkpoints

from ..fault_table import Faults
from ..helpers.processes import RESUME, TRAIN, Done, Training, learned, prepare, start
from ..helpers.program import copy_workspace, run_here
from .job import leftovers

pytestmark = [
    pytest.mark.faults_full,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes through /proc"),
]
# Far more than the steps that are made until something happens.
LONG = (*TRAIN, "--max-steps", 5000, "--set", "run.eval_every=4000", "--set", "run.save_every=4000")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def alone(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of it, and nobody disturbs."""
    place = copy_workspace(before, tmp_path_factory.mktemp("alone") / "workspace")
    run_here(*TRAIN, "--workspace", place).succeeded()
    return place


@pytest.fixture(scope="module")
def begun(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a model to start from."""
    place = copy_workspace(before, tmp_path_factory.mktemp("begun") / "workspace")
    run_here(*TRAIN[:-1], "base", "--workspace", place).succeeded()
    return place


def gone_on(training: Training, done: Done) -> None:
    """What the one message says to type works."""
    assert done.stderr.count("error: ") == 1, done
    assert training.left == []
    assert leftovers(training.workspace) == []
    words = shlex.split(done.stderr.split("fix: go on with `")[1].split("`")[0])
    assert words[:2] == ["asrctl", "train"]
    assert words[-2:] == ["--workspace", str(training.workspace)]
    step = training.info["steps"]
    again = [word if word != "5000" else str(step + 1) for word in words[1:-2]]
    place = again.index("--processes")
    del again[place : place + 2]
    run_here(*again, "--workspace", training.workspace).succeeded()
    assert training.info["state"] == "complete"


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_one_process_is_lost_and_all_end(
    before: Path, tmp_path: Path, faults: Faults, rank: int, number: signal.Signals
) -> None:
    with faults.survives(f"{number.name} of one process of two"):
        training = start(copy_workspace(before, tmp_path / "workspace"), 2, *LONG).after_steps(3)
        os.kill(training.ranks[rank], number)
        done = training.ended()
        assert done.status == 6, done
        assert f"process {rank} " in done.stderr
        gone_on(training, done)


def test_one_process_has_no_more_memory(before: Path, tmp_path: Path, faults: Faults) -> None:
    import resource

    with faults.survives("no more memory in one process of two"):
        training = start(copy_workspace(before, tmp_path / "workspace"), 2, *LONG).after_steps(3)
        resource.prlimit(training.ranks[1], resource.RLIMIT_AS, (1 << 20, 1 << 20))
        done = training.ended()
        assert done.status == 6, done
        assert "memory" in done.stderr
        assert done.stderr.count("error: ") == 1, done
        assert training.left == []


@pytest.mark.parametrize("rank", [None, 0, 1])
@pytest.mark.parametrize("torchrun", [False, True])
def test_a_signal_to_any_of_them_leaves_one_checkpoint(
    before: Path, tmp_path: Path, faults: Faults, rank: "int | None", torchrun: bool
) -> None:
    with faults.survives("SIGTERM to one process of two"):
        place = copy_workspace(before, tmp_path / "workspace")
        training = start(place, 2, *LONG, torchrun=torchrun).after_steps(3)
        os.kill(training.process.pid if rank is None else training.ranks[rank], signal.SIGTERM)
        done = training.ended()
        assert torchrun or done.status == 130, done
        info = training.info
        assert info["state"] == "interrupted", done
        assert checkpoints.steps(training.run / "checkpoints") == [info["steps"]]
        assert done.stderr.count("training was stopped after step") == 1
        gone_on(training, done)


def test_who_started_them_is_killed(before: Path, tmp_path: Path, faults: Faults) -> None:
    with faults.survives("SIGKILL of the process that started the others"):
        training = start(copy_workspace(before, tmp_path / "workspace"), 2, *LONG).after_steps(3)
        training.process.kill()
        training.ended()
        from ..helpers.stops import until

        until(lambda: training.left == [])
        assert training.info["state"] == "interrupted"
        assert checkpoints.steps(training.run / "checkpoints") == [training.info["steps"]]


@pytest.mark.parametrize("counts", [(1, 2, 1), (2, 4), (4, 1)])
@pytest.mark.parametrize("torchrun", [False, True])
def test_resumed_in_another_number_of_processes(
    before: Path, alone: Path, tmp_path: Path, faults: Faults, counts: tuple, torchrun: bool
) -> None:
    with faults.survives("resumed in another number of processes"):
        place = copy_workspace(before, tmp_path / "workspace")
        words = TRAIN
        for number, count in enumerate(counts):
            if count == 1:
                run_here(*words, "--workspace", place).succeeded()
            else:
                done = start(place, count, *words, torchrun=torchrun).ended()
                assert done.status == 0, done
            words = RESUME
            assert learned(place) == learned(alone), (counts, number)
            if number + 1 < len(counts):
                for step in (3, 4):
                    shutil.rmtree(str(checkpoints.path_of(place / "runs/r/checkpoints", step)))


@pytest.mark.parametrize(
    "more",
    [
        ("--set", "optim.ema_decay=0.9"),
        ("--set", "optim.head_only_steps=1", "--set", "optim.unfreeze_every=1"),
        ("--set", "cpu.gradient_checkpointing=true"),
        ("--guard", "tones"),
        ("--set", "model.lora.rank=2"),
    ],
    ids=["ema", "unfreezing", "gradient-checkpointing", "guard", "lora"],
)
def test_what_else_learns_is_the_same_too(begun: Path, tmp_path: Path, faults: Faults, more: tuple) -> None:
    if "model.lora.rank=2" in more:
        pytest.importorskip("peft")
    with faults.survives("a training of two processes in one of its ways"):
        found = []
        for count in (1, 2):
            place = copy_workspace(begun, tmp_path / str(count))
            done = start(place, count, *TRAIN, "--from-run", "base", *more).ended()
            assert done.status == 0, done
            found.append(learned(place))
        assert found[1] == found[0]


def test_in_bf16_the_outcome_is_equal_but_for_rounding(before: Path, tmp_path: Path, faults: Faults) -> None:
    from asrctl.runtime import compat

    if not compat.cpu_adds_up_bf16():
        pytest.skip("this torch adds up bf16 products in bf16 on this CPU")
    with faults.survives("bf16 in two processes"):
        losses = []
        for name, count in (("one", 1), ("two", 2)):
            place = copy_workspace(before, tmp_path / name)
            words = (*TRAIN, "--set", "cpu.precision=bf16")
            assert start(place, count, *words).ended().status == 0
            losses.append([entry["loss"] for entry in learned(place)["metrics"] if entry["kind"] == "train"])
        assert losses[1] == pytest.approx(losses[0], rel=1e-2)
        assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-6)


def test_an_error_of_one_process_is_told_once(before: Path, tmp_path: Path, faults: Faults) -> None:
    with faults.survives("an error in all processes"):
        place = copy_workspace(before, tmp_path / "workspace")
        done = start(place, 2, *TRAIN, "--data", "nowhere", "--json").ended()
        assert done.status == 4, done
        assert json.loads(done.stdout)["error"]["kind"] == "missing"
        assert done.stderr.count("error: ") == 1
