"""Ctrl-C, SIGTERM and SIGHUP: a checkpoint within the step, exit 130, and the command that resumes exactly."""

from __future__ import annotations

import json
import random
import shlex
import signal
from pathlib import Path
from typing import Tuple

import pytest

from asrctl.training import checkpoints

from ..fault_table import Faults
from .job import RESUME, Job, leftovers
from .processes import Nursery, Started

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def in_training(job: Job, nursery: Nursery, place: Path, **more: object) -> Tuple[Path, Started]:
    """A training that stands still after its first steps, and its workspace."""
    workspace = job.start_from("train", place)
    return workspace, nursery.stopped(job.words("train"), workspace, stop_on="/checkpoints/.step-00000002", **more)


def stopped_and_resumed(job: Job, nursery: Nursery, place: Path, number: int, seed: int) -> None:
    workspace, started = in_training(job, nursery, place)
    started.goes_on().for_s(random.Random(seed).random() * 0.2)
    started.signal(number)
    ended = started.ended()
    if ended.status == 0:  # it came to its end first
        return
    ended.refused(130)
    error, run = ended.document["error"], workspace / "runs" / "r"
    assert error["kind"] == "interrupted"
    info = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert info["state"] == "interrupted"
    assert checkpoints.latest_valid(run / "checkpoints").checkpoint.step == info["steps"] > 0
    assert leftovers(workspace) == []
    words = shlex.split(error["fix"].split("`")[1])
    assert words[:4] == ["asrctl", "train", "--resume", "--run"]
    nursery.run(words[1:], workspace).succeeded()
    job.check("train", workspace, but=("checkpoints",))
    last = checkpoints.latest_valid(run / "checkpoints")
    assert (last.checkpoint.step, last.damaged) == (8, [])


@pytest.mark.parametrize("tries", [1, pytest.param(6, marks=pytest.mark.faults_full)])
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_training_is_stopped(
    job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, number: signal.Signals, tries: int
) -> None:
    for seed in range(tries):
        with faults.survives(f"{number.name} in training"):
            stopped_and_resumed(job, nursery, tmp_path / str(seed), number, seed)


def test_the_second_signal_ends_the_process_at_once(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    with faults.survives("a second signal in training"):
        workspace, started = in_training(job, nursery, tmp_path / "workspace")
        for number in SIGNALS:  # different ones: equal ones may become one on their way
            started.signal(number)
        ended = started.goes_on().ended()
        assert (ended.status, ended.stdout) == (130, "")
        assert json.loads((workspace / "runs" / "r" / "run.json").read_text(encoding="utf-8"))["state"] == "running"
        job.go_on("train", workspace).succeeded()
        job.check("train", workspace)


@pytest.mark.parametrize("stage", ["prepare", "eval", "export"])
def test_other_stages_are_stopped(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, stage: str) -> None:
    with faults.survives(f"SIGTERM in {stage}"):
        workspace = job.start_from(stage, tmp_path / "workspace")
        started = nursery.start(job.words(stage), workspace)
        started.for_s(0.6 * job.seconds[stage])
        started.signal(signal.SIGTERM)
        ended = started.ended()
        assert ended.status in (0, 130, -signal.SIGTERM), ended.told
        assert "Traceback" not in ended.stderr
        assert leftovers(workspace, allowed=(".tmp/prepared-",)) == []
        job.go_on(stage, workspace).succeeded()
        job.check(stage, workspace)


def test_resuming_lists_what_has_changed(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    workspace = job.start_from("train", tmp_path / "workspace")
    nursery.run((*job.words("train"), "--max-minutes", "0"), workspace).succeeded()
    preset = workspace / "presets" / "faulty.yaml"
    kept = preset.read_text(encoding="utf-8")
    with faults.survives("--resume with another preset"):
        preset.write_text(kept.replace("layerdrop: 0.2", "layerdrop: 0.1"), encoding="utf-8")
        told = nursery.run((*RESUME, "--preset", "faulty"), workspace).refused(3)
        assert "model.layerdrop: was 0.2, is 0.1" in told
        preset.write_text(kept, encoding="utf-8")
    with faults.survives("--resume with other data"):
        other = ("--name", "other", "--max-s", "1.2", "--max-rejects", "0.9", "--preset", "faulty")
        nursery.run((*job.words("prepare")[:3], *other), workspace).succeeded()
        assert "data: was " in nursery.run((*RESUME, "--data", "other"), workspace).refused(3)
    with faults.survives("--resume with another vocabulary"):
        nursery.run((*job.words("prepare"), "--name", "upper", "--case", "upper"), workspace).succeeded()
        told = nursery.run((*RESUME, "--data", "upper"), workspace).refused(3)
        assert "vocabulary: " in told
        assert "data: was " in told
    with faults.survives("--resume with what it was started with"):
        nursery.run((*RESUME, "--preset", "faulty", "--data", "tones"), workspace).succeeded()
        job.check_run(workspace)
