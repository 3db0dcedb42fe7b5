"""Files that vanish, are cut short or altered by a bit: noticed and told, and a run goes on from what is still good."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from asrctl.training import checkpoints

from ..fault_table import Faults
from .job import RESUME, Job
from .processes import Nursery


def vanish(path: Path, chance: random.Random) -> None:
    path.unlink()


def cut(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.unlink()  # it may be linked to the original
    path.write_bytes(data[: chance.randrange(len(data))])


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.unlink()
    path.write_bytes(bytes(data))


DAMAGES: Dict[str, Callable[[Path, random.Random], None]] = {"vanished": vanish, "truncated": cut, "bit flipped": flip}


@pytest.fixture(scope="module")
def stopped(job: Job, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose run was stopped in the middle of an epoch with the checkpoints of two steps."""
    workspace = job.start_from("train", tmp_path_factory.mktemp("stopped") / "workspace")
    folder = workspace / "runs" / "r" / "checkpoints"
    nursery.stopped(job.words("train"), workspace, stop_behind=f"os.rename {folder}/.step-00000004.tmp").killed()
    checkpoints.clear_unfinished(folder)
    for step in checkpoints.steps(folder):
        if step not in (2, 4):
            shutil.rmtree(str(checkpoints.path_of(folder, step)))
    return workspace


def checkpoint_files(workspace: Path, step: int) -> List[Path]:
    folder = checkpoints.path_of(workspace / "runs" / "r" / "checkpoints", step)
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("tries", [0, pytest.param(5, marks=pytest.mark.faults_full)])
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_checkpoint(
    job: Job, nursery: Nursery, stopped: Path, tmp_path: Path, faults: Faults, damage: str, tries: int
) -> None:
    """Each file of it: the one before is used, with a warning, and the end is that of the undisturbed run."""
    names = [path.name for path in checkpoint_files(stopped, 4)]
    assert names == ["model.safetensors", "optimizer.safetensors", "state.json"]
    cases = [(seed, number) for seed in range(tries) for number in range(len(names))]
    for seed, number in cases or [(0, list(DAMAGES).index(damage))]:
        with faults.survives(f"a file of the last checkpoint {damage}"):
            workspace = job.copy(stopped, tmp_path / f"{seed}-{number}")
            DAMAGES[damage](checkpoint_files(workspace, 4)[number], random.Random(f"{damage} {seed} {number}"))
            ended = nursery.run(RESUME, workspace).succeeded()
            assert "an earlier checkpoint is used" in ended.stderr
            job.check("train", workspace)


def test_no_checkpoint_is_left_whole(job: Job, nursery: Nursery, stopped: Path, tmp_path: Path, faults: Faults) -> None:
    with faults.survives("all checkpoints damaged"):
        workspace = job.copy(stopped, tmp_path / "workspace")
        for step in (2, 4):
            flip(checkpoint_files(workspace, step)[0], random.Random(step))
        assert "--overwrite" in nursery.run(RESUME, workspace).refused(4)


def is_ours(path: Path, workspace: Path) -> bool:
    return ".tmp" not in path.relative_to(workspace).parts and "cache" not in path.relative_to(workspace).parts


@pytest.mark.parametrize("stride", [61, pytest.param(2, marks=pytest.mark.faults_full)])
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_any_file_of_a_workspace(
    job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, damage: str, stride: int
) -> None:
    """No command breaks on it: it works, or says in a sentence what is wrong."""
    source = job.after["export"]
    names = sorted(
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and is_ours(path, source) and (damage == "vanished" or path.stat().st_size)
    )
    commands = (RESUME, (*job.words("eval"), "--force"), (*job.words("export"), "--force"), ("status",))
    for number in range(random.Random(damage).randrange(stride), len(names), stride):
        workspace = job.copy(source, tmp_path / str(number))
        DAMAGES[damage](workspace / names[number], random.Random(f"{damage} {names[number]}"))
        with faults.survives(f"a file of a workspace {damage}"):
            for words in commands:
                ended = nursery.run(words, workspace)
                if ended.status != 0:
                    ended.refused(2, 3, 4, 5)
        shutil.rmtree(str(workspace))


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_the_model_of_a_run(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, damage: str) -> None:
    """Wrong weights never give a result."""
    with faults.survives(f"the weights of a run's model {damage}"):
        workspace = job.start_from("eval", tmp_path / "workspace")
        DAMAGES[damage](workspace / "runs" / "r" / "model" / "model.safetensors", random.Random(damage))
        for words in (job.words("eval"), job.words("export"), (*job.words("train")[:-1], "second", "--from-run", "r")):
            told = nursery.run(words, workspace).refused(4, 5)
            assert "model" in told
