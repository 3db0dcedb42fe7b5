"""Two processes at the same thing: one works, the other waits or says who is at it; nothing is corrupted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, List, Sequence

import pytest

from asrctl.storage import files
from asrctl.storage.workspace import Workspace

from ..fault_table import Faults
from .job import RESUME, TRAIN, Job, outcome
from .processes import Nursery, Started, changes

_MOST_MOMENTS = 160
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
        started.goes_on().ended().succeeded()
        job.check("train", workspace)


def test_the_same_training_is_not_begun_twice(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    same = (*TRAIN[: TRAIN.index("--run")], "--if-new")
    with faults.survives("--if-new while the same run goes on, when it was killed, and when it is complete"):
        workspace, started = training(job, nursery, tmp_path)
        assert f"process {started.pid}" in nursery.run(same, workspace).refused(7)
        started.killed()
        gone_on, left = (nursery.run(same, workspace).result for _ in range(2))
        assert (gone_on["run"], gone_on["new"]) == ("r", True)
        assert (left["run"], left["new"]) == ("r", False)
        assert [path.name for path in workspace.glob("runs/*")] == ["r"]
        job.check_run(workspace)


def test_two_of_the_same_training(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    with faults.survives("two of train --if-new at once"):
        workspace = job.start_from("train", tmp_path / "workspace")
        both = [nursery.start((*job.words("train"), "--if-new"), workspace) for _ in range(2)]
        ends = sorted((started.ended() for started in both), key=lambda ended: ended.status)
        assert ends[0].status == 0 and ends[1].status in (0, 7), ends[1].told
        assert sorted(end.result["new"] for end in ends if end.status == 0) in ([True], [False, True])
        job.check("train", workspace, but=("info.command",))


def training(job: Job, nursery: Nursery, folder: Path) -> "tuple[Path, Started]":
    """A training that stands still between two of its checkpoints, and its workspace."""
    workspace = job.start_from("train", folder / "workspace")
    return workspace, nursery.stopped(job.words("train"), workspace, stop_on="/checkpoints/.step-00000004")


def test_data_is_deleted_under_a_training(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    """It holds the files open and ends well; whoever resumes it later is told that the data is gone."""
    with faults.survives("data deleted while training reads it"):
        workspace, started = training(job, nursery, tmp_path)
        shutil.rmtree(str(workspace / "prepared"))
        started.goes_on().ended().succeeded()
        shutil.copytree(str(job.after["train"] / "prepared"), str(workspace / "prepared"))
        job.check("train", workspace)
        shutil.rmtree(str(workspace / "prepared"))
        assert "asrctl prepare" in nursery.run((*RESUME, "--max-steps", 9), workspace).refused(4)


def test_clean_while_training(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    with faults.survives("clean --yes while training"):
        workspace, started = training(job, nursery, tmp_path)
        assert nursery.run(("clean", "--yes"), workspace).result["held"] == ["run-r"]
        started.goes_on()
        while nursery.run(("clean", "--yes"), workspace).result["held"]:
            pass
        # The lock is free, so all is done; the process may still be at its last words, and exits when it likes.
        done = outcome(workspace)
        started.ended().succeeded()
        assert outcome(workspace) == done
        job.check("train", workspace, but=("checkpoints",))


def test_prepare_is_forced_under_a_training(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    with faults.survives("prepare --force while training"):
        workspace, started = training(job, nursery, tmp_path)
        nursery.run((*job.words("prepare"), "--force"), workspace).succeeded()
        started.goes_on().ended().succeeded()
        job.check("train", workspace)


# -- clean, at every moment of another command ------------------------------------------------------------------------


def numbers_of(done: Sequence[str], *parts: str) -> List[int]:
    """Of the changes that name one of `parts`."""
    return [number for number, change in enumerate(done, 1) if any(part in change for part in parts)]


def counted(nursery: Nursery, words: Any, workspace: Path, **more: Any) -> List[str]:
    told = workspace.with_name("counted")
    nursery.run(words, workspace, roots=[str(workspace)], counted=str(told), **more).succeeded()
    return changes(told)


def stopped(nursery: Nursery, words: Any, workspace: Path, number: int, **more: Any) -> Started:
    return nursery.stopped(words, workspace, stop_at=number, **more)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.faults_full)])
@pytest.mark.parametrize(
    "stage", ["train", *(pytest.param(name, marks=pytest.mark.faults_full) for name in ("prepare", "eval", "export"))]
)
def test_clean_before_a_change(
    job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, stage: str, every: bool
) -> None:
    """Nothing goes that the command still needs; most of all not where it lets go of one lock and takes the next."""
    done = counted(nursery, job.words(stage), job.start_from(stage, tmp_path / "straight"))
    # Who takes a scratch folder, or gives it back, holds the lock that `clean` waits for.
    begun = max(numbers_of(done, "in-use.lock")[:1], default=0)
    last = len(done) if not begun else numbers_of(done, "/scratch.lock")[1] - 1
    few = [*numbers_of(done, ".lock"), *numbers_of(done, "/refs")[:1], last]
    # A training changes files several hundred times, and each time takes as long as all of it.
    spread = range(begun + 1, last + 1, 1 + (last - begun) // _MOST_MOMENTS)
    for number in sorted({number for number in [*few, *(spread if every else ())] if begun < number <= last}):
        workspace = job.start_from(stage, tmp_path / str(number))
        with faults.survives(f"clean --yes before a change of a file in {stage}"):
            started = stopped(nursery, job.words(stage), workspace, number)
            nursery.run(("clean", "--yes"), workspace).succeeded()
            started.goes_on().ended().succeeded()
            job.check(stage, workspace, but=("checkpoints",))
        files.remove_tree(workspace)


def test_clean_before_a_vocabulary_is_named(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    words = ("vocab", *job.words("prepare")[1:3])
    done = counted(nursery, words, job.start_from("prepare", tmp_path / "straight"))
    for number in (*numbers_of(done, "/vocab-")[:1], numbers_of(done, "/refs")[0]):
        workspace = job.start_from("prepare", tmp_path / str(number))
        with faults.survives("clean --yes before a vocabulary is named"):
            started = stopped(nursery, words, workspace, number)
            nursery.run(("clean", "--yes"), workspace).succeeded()
            assert Path(started.goes_on().ended().result["path"], "vocab.json").exists()


@pytest.mark.faults_full
@pytest.mark.parametrize("every", [False, True])
def test_a_command_begins_while_clean_looks(
    job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, every: bool
) -> None:
    """What was free when `clean` looked at the locks is in use, or gone, when it deletes."""
    done = counted(nursery, job.words("prepare"), with_leftovers(job, tmp_path / "straight"))
    busy = numbers_of(done, "/manifests-")[0]
    clean = ("clean", "--yes")
    looks = counted(nursery, clean, with_leftovers(job, tmp_path / "cleaned"), looks=True)
    last = numbers_of(looks, ".lock", "os.rename")[0]  # from there on, who begins waits for `clean`
    for number in range(1, last + 1) if every else sorted({*numbers_of(looks[:last], "/.tmp"), last}):
        workspace = with_leftovers(job, tmp_path / str(number))
        with faults.survives("prepare begins while clean --yes looks"):
            cleaning = stopped(nursery, clean, workspace, number, looks=True)
            started = stopped(nursery, job.words("prepare"), workspace, busy)
            cleaning.goes_on().ended().succeeded()
            started.goes_on().ended().succeeded()
            job.check("prepare", workspace)


def with_leftovers(job: Job, place: Path) -> Path:
    """A workspace as `prepare` finds it after another one was killed."""
    workspace = job.start_from("prepare", place)
    Workspace(workspace).create()
    for folder in (workspace / ".tmp" / "scratch-dead", workspace / "cache" / "ipu"):
        folder.mkdir(parents=True)
        (folder / "left").write_text("x", encoding="utf-8")
    return workspace
