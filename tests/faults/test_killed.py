"""SIGKILL at random moments and before every change of a file: the next command ends with the same bytes."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any, List, Tuple

import pytest

from asrctl.storage import files
from asrctl.training import checkpoints

from ..fault_table import Faults
from .job import RESUME, Job, visible_halves
from .processes import Nursery, changes

FEW, MANY = 1, 14
# In the suite of every change, one change of a file in so many is tried; in the full session each, in so many tests.
STRIDE, PARTS = 61, 4


def places(stride: int) -> List[Any]:
    """(first, step) of the changes that a test tries; together those of the full session try all."""
    full = [pytest.param((part + 1, PARTS), marks=pytest.mark.faults_full, id=f"part{part}") for part in range(PARTS)]
    return [pytest.param((1 + stride // 2, stride), id="few"), *full]


def kill_at_random(job: Job, stage: str, place: Path, seed: int, nursery: Nursery) -> int:
    """Start `stage` again and again, and kill it at random moments, up to three times: how often it was killed."""
    chance = random.Random(seed)
    workspace = job.start_from(stage, place)
    killed = 0
    for _ in range(chance.choice((1, 1, 2, 3))):
        words = job.next_words(stage, workspace)
        started = nursery.start(words, workspace)
        started.for_s(chance.random() * job.seconds[stage])
        killed += started.killed().status == -signal.SIGKILL
        assert visible_halves(workspace) == []
    job.go_on(stage, workspace).succeeded()
    job.check(stage, workspace)
    return killed


def try_random_kills(job: Job, stage: str, tries: int, folder: Path, nursery: Nursery, faults: Faults) -> None:
    seed, killed, fault = 0, 0, f"SIGKILL at a random moment of {stage}"
    # On a machine that has become quicker than it was when the job was timed, many come to their end first.
    while killed < tries and seed < 20 * tries:
        with faults.survives(fault) as more:
            count = kill_at_random(job, stage, folder / f"{stage}-{seed}", seed, nursery)
            more.extend([fault] * (count - 1))
            killed += count
        files.remove_tree(folder / f"{stage}-{seed}")
        seed += 1
    assert killed >= tries


@pytest.mark.parametrize("stage", ["prepare", "train", "eval", "export"])
def test_killed_at_random(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, stage: str) -> None:
    try_random_kills(job, stage, FEW, tmp_path, nursery, faults)


@pytest.mark.faults_full
@pytest.mark.parametrize("stage", ["train", "eval", "export"])
def test_killed_at_random_often(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, stage: str) -> None:
    try_random_kills(job, stage, 2 * MANY if stage == "train" else MANY, tmp_path, nursery, faults)


@pytest.mark.faults_full
def test_killed_between_shards(many_shards: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    try_random_kills(many_shards, "prepare", MANY, tmp_path, nursery, faults)


@pytest.mark.faults_full
def test_prepare_goes_on_at_its_shard(many_shards: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    """What was whole when the process was killed is not made again."""
    workspace = many_shards.start_from("prepare", tmp_path / "workspace")
    with faults.survives("SIGKILL after a shard of prepare"):
        nursery.stopped(many_shards.words("prepare"), workspace, stop_on="/train/.part-00002.json").killed()
        made = {path.name: path.stat().st_mtime_ns for path in workspace.glob(".tmp/prepared-*/train/shard-*.arrow")}
        many_shards.go_on("prepare", workspace).succeeded()
        many_shards.check("prepare", workspace)
        kept = {path.name: path.stat().st_mtime_ns for path in workspace.glob("prepared/*/train/shard-*.arrow")}
        assert [kept[name] for name in ("shard-00000.arrow", "shard-00001.arrow")] == [
            made[name] for name in ("shard-00000.arrow", "shard-00001.arrow")
        ]


def kill_in_checkpoint(job: Job, place: Path, seed: int, nursery: Nursery) -> None:
    """Kill while a checkpoint is written, in the middle of an epoch."""
    chance = random.Random(seed)
    workspace = job.start_from("train", place)
    folder = workspace / "runs" / "r" / "checkpoints"
    step = chance.choice((2, 4, 8))
    started = nursery.stopped(job.words("train"), workspace, stop_on=f"/checkpoints/.step-{step:08d}.tmp")
    started.goes_on().for_s(chance.random() * 0.02)
    started.killed()
    whole = checkpoints.latest_valid(folder)
    assert whole.damaged == []
    assert step == 2 or whole.checkpoint is not None
    job.go_on("train", workspace).succeeded()
    job.check("train", workspace)


@pytest.mark.parametrize("tries", [FEW, pytest.param(MANY, marks=pytest.mark.faults_full)])
def test_killed_while_a_checkpoint_is_written(
    job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, tries: int
) -> None:
    for seed in range(tries):
        with faults.survives("SIGKILL while a checkpoint is written"):
            kill_in_checkpoint(job, tmp_path / str(seed), seed, nursery)


# -- before every change ----------------------------------------------------------------------------------------------


def count_changes(job: Job, stage: str, place: Path, nursery: Nursery, words: Any = None) -> List[str]:
    """What a stage changes on the disk, in order."""
    workspace = job.start_from(stage, place / "counted")
    counted = place / "changes"
    order = {"roots": [str(place / "counted")], "counted": str(counted)}
    nursery.run(words or job.words(stage), workspace, **order).succeeded()
    return changes(counted)


def kill_before(job: Job, stage: str, place: Path, number: int, nursery: Nursery) -> None:
    workspace = job.start_from(stage, place)
    killed = nursery.run(job.words(stage), workspace, roots=[str(workspace)], die_at=number)
    assert killed.status == -signal.SIGKILL, killed.told
    assert visible_halves(workspace) == []
    job.go_on(stage, workspace).succeeded()
    job.check(stage, workspace)


def try_changes(job: Job, stage: str, which: Tuple[int, int], folder: Path, nursery: Nursery, faults: Faults) -> None:
    total = len(count_changes(job, stage, folder, nursery))
    for number in range(which[0], total + 1, which[1]):
        with faults.survives(f"SIGKILL before a change of a file in {stage}"):
            kill_before(job, stage, folder / "workspace", number, nursery)
        files.remove_tree(folder / "workspace")


@pytest.mark.parametrize("which", places(STRIDE))
@pytest.mark.parametrize("stage", ["prepare", "train", "eval", "export"])
def test_killed_before_a_change(
    job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, stage: str, which: Tuple[int, int]
) -> None:
    try_changes(job, stage, which, tmp_path, nursery, faults)


def test_killed_before_the_last_word_of_a_run(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults) -> None:
    """All steps are done and kept, and run.json still says that the run goes on."""
    done = count_changes(job, "train", tmp_path, nursery)
    last = max(number for number, change in enumerate(done, 1) if change.startswith("os.rename"))
    with faults.survives("SIGKILL before a change of a file in train"):
        kill_before(job, "train", tmp_path / "workspace", last, nursery)


# -- where something takes another's place ----------------------------------------------------------------------------


@pytest.mark.faults_full
@pytest.mark.parametrize("which", places(STRIDE))
@pytest.mark.parametrize("stage", ["eval", "export"])
def test_killed_while_it_is_done_again(
    job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, stage: str, which: Tuple[int, int]
) -> None:
    """--force: the old result is there, whole, until the new one is."""
    words = (*job.words(stage), "--force")
    again = Job(job.folder, nursery, {stage: words}, before={stage: job.after[stage]}, after={stage: job.after[stage]})
    total = len(count_changes(again, stage, tmp_path, nursery))
    for number in range(which[0], total + 1, which[1]):
        workspace = again.start_from(stage, tmp_path / "workspace")
        with faults.survives(f"SIGKILL before a change of a file in {stage} --force"):
            nursery.run(words, workspace, roots=[str(workspace)], die_at=number)
            there = nursery.run(job.words(stage), workspace).succeeded()
            assert there.result["unchanged"], "the old result was lost"
            nursery.run(words, workspace).succeeded()
            again.check(stage, workspace)
        files.remove_tree(workspace)


@pytest.mark.faults_full
@pytest.mark.parametrize("which", places(STRIDE))
def test_killed_while_a_run_is_replaced(
    job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, which: Tuple[int, int]
) -> None:
    """--overwrite: the old run comes back, or the new one goes on; never neither."""
    words = (*job.words("train"), "--overwrite")
    again = Job(job.folder, nursery, {"train": words}, before={"train": job.after["train"]}, after=job.after)
    numbers = of_a_replacement(count_changes(again, "train", tmp_path, nursery))
    for number in numbers[which[0] - 1 :: which[1]]:
        workspace = again.start_from("train", tmp_path / "workspace")
        with faults.survives("SIGKILL before a change of a file in train --overwrite"):
            nursery.run(words, workspace, roots=[str(workspace)], die_at=number)
            nursery.run(RESUME, workspace).succeeded()
            again.check("train", workspace, but=("info.command",))  # the words typed; one has --overwrite
        files.remove_tree(workspace)


def of_a_replacement(done: List[str]) -> List[int]:
    """Up to the new run's first checkpoint, and from its last word on; between them it is a run like any other."""
    renames = [number for number, change in enumerate(done, 1) if change.startswith("os.rename")]
    first, last = next(number for number in renames if "step-" in done[number - 1]), renames[-1]
    return [number for number in range(1, len(done) + 1) if number <= first + 1 or number >= last]


@pytest.mark.faults_full
@pytest.mark.parametrize("which", places(19))
def test_killed_while_an_export_is_delivered(
    job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, which: Tuple[int, int]
) -> None:
    """--output: the folder is missing or whole, the earlier one stays till then, and nothing is left beside it."""
    output = tmp_path / "shared" / "model"
    words = (*job.words("export"), "--output", output, "--force")
    total = len(delivered_changes(job, nursery, tmp_path, words))
    wanted = files.file_digests(output)
    for number in range(which[0], total + 1, which[1]):
        workspace = job.start_from("export", tmp_path / "workspace")
        with faults.survives("SIGKILL before a change of a file in export --output"):
            nursery.run(words, workspace, roots=[str(output.parent)], die_at=number)
            assert files.file_digests(output) == wanted, "the earlier export was lost"
            nursery.run(words, workspace).succeeded()
            assert files.file_digests(output) == wanted
            assert [path.name for path in output.parent.iterdir()] == ["model"]
        files.remove_tree(workspace)


def delivered_changes(job: Job, nursery: Nursery, folder: Path, words: Any) -> List[str]:
    workspace = job.start_from("export", folder / "counted")
    nursery.run(words, workspace).succeeded()
    order = {"roots": [str(folder / "shared")], "counted": str(folder / "changes")}
    nursery.run(words, workspace, **order).succeeded()
    return changes(folder / "changes")
