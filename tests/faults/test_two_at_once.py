"""Two processes at the same thing: one works, the other waits or says who is at it; nothing is corrupted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from asrctl import files

from ..fault_table import Faults
from .job import RESUME, Job
from .processes import Nursery, Started

TRIES = [1, pytest.param(4, marks=pytest.mark.faults_full)]


@pytest.mark.parametrize("tries", TRIES)
@pytest.mark.parametrize("stage", ["prepare", "eval", "export"])
def test_two_of_a_stage(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, stage: str, tries: int) -> None:
    for number in range(tries):
        with faults.survives(f"two of {stage} at once"):
            workspace = job.start_from(stage, tmp_path / str(number))
            both = [nursery.start(job.words(stage), workspace) for _ in range(2)]
            for started in both:
                started.ended().succeeded()
            job.check(stage, workspace)


def test_two_exports_to_one_folder(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    with faults.survives("two exports to one folder at once"):
        workspace, output = job.start_from("export", tmp_path / "workspace"), tmp_path / "out" / "model"
        both = [nursery.start((*job.words("export"), "--output", output), workspace) for _ in range(2)]
        for started in both:
            ended = started.ended()
            assert ended.status in (0, 2), ended.told  # the second may find the folder in use
        job.check("export", workspace)
        wanted = next(iter(workspace.glob("exports/*")))
        digests = files.file_digests(wanted)
        del digests["meta.json"]
        assert files.file_digests(output) == digests
        assert [path.name for path in output.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("tries", TRIES)
def test_two_trainings_of_one_run(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, tries: int) -> None:
    for number in range(tries):
        with faults.survives("two trainings of one run at once"):
            workspace = job.start_from("train", tmp_path / str(number))
            both = [nursery.start(job.words("train"), workspace) for _ in range(2)]
            ends = sorted((started.ended() for started in both), key=lambda ended: ended.status)
            ends[0].succeeded()
            if ends[1].status == 7:
                assert f"process {both[0].pid}" in ends[1].stderr or f"process {both[1].pid}" in ends[1].stderr
            else:  # it came when the other had begun, or was done
                assert "already" in ends[1].refused(2)
            job.check("train", workspace)


def test_a_run_that_goes_on_is_not_resumed(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    with faults.survives("--resume of a run that goes on"):
        workspace, started = training(job, nursery, tmp_path)
        told = nursery.run(RESUME, workspace).refused(7)
        assert f"process {started.pid}" in told
        started.ended().succeeded()
        job.check("train", workspace)


def training(job: Job, nursery: Nursery, folder: Path) -> "tuple[Path, Started]":
    workspace = job.start_from("train", folder / "workspace")
    journal = workspace / "runs" / "r" / "metrics.jsonl"
    started = nursery.start(job.words("train"), workspace)
    assert started.until(lambda: journal.exists() and journal.stat().st_size > 0)
    return workspace, started


def test_data_is_deleted_under_a_training(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    """It holds the files open and ends well; whoever resumes it later is told that the data is gone."""
    with faults.survives("data deleted while training reads it"):
        workspace, started = training(job, nursery, tmp_path)
        shutil.rmtree(str(workspace / "prepared"))
        started.ended().succeeded()
        shutil.copytree(str(job.after["train"] / "prepared"), str(workspace / "prepared"))
        job.check("train", workspace)
        shutil.rmtree(str(workspace / "prepared"))
        assert "asrctl prepare" in nursery.run((*RESUME, "--max-steps", 9), workspace).refused(4)


def test_clean_while_training(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    with faults.survives("clean --yes while training"):
        workspace, started = training(job, nursery, tmp_path)
        while not started.is_over:
            cleaned = nursery.run(("clean", "--yes"), workspace).succeeded()
            assert cleaned.result["held"] or started.is_over
        started.ended().succeeded()
        job.check("train", workspace, but=("checkpoints",))


def test_prepare_is_forced_under_a_training(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    with faults.survives("prepare --force while training"):
        workspace, started = training(job, nursery, tmp_path)
        nursery.run((*job.words("prepare"), "--force"), workspace).succeeded()
        started.ended().succeeded()
        job.check("train", workspace)
