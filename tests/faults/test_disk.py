"""Full, read-only and forbidden file systems: real ones, small, mounted in a namespace of their own."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple

import pytest

from asrctl.storage import files
from asrctl.training import checkpoints

from ..fault_table import Faults
from .job import EXPORT, RESUME, STAGES, Job, leftovers, outcome
from .processes import Ended, Nursery

ROOMY = 64 << 20
FULL = ("the disk is full", "B free")


class Disk:
    """A tmpfs that only the nursery's processes see mounted; we see it through /proc."""

    def __init__(self, nursery: Nursery, point: Path) -> None:
        self.nursery, self.point = nursery, point
        self.seen = Path(f"/proc/{nursery.pid}/root{point}")

    def mount(self, num_bytes: int) -> Path:
        """A new, empty one with room for so much; its workspace, as we see it."""
        self.nursery.shell("mount", "-t", "tmpfs", "-o", f"size={num_bytes},mode=755", "tmpfs", self.point)
        return self.seen / "workspace"

    @property
    def used_bytes(self) -> int:
        told = os.statvfs(str(self.seen))
        return (told.f_blocks - told.f_bfree) * told.f_frsize

    def remount(self, option: str) -> None:
        self.nursery.shell("mount", "-o", f"remount,{option}", self.point)

    def unmount(self) -> None:
        self.nursery.shell("umount", self.point)

    def run(self, words: Sequence[object], **more: object) -> Ended:
        return self.nursery.run(words, self.point / "workspace", **more)


def unshared() -> List[str]:
    """Words before a program that give it a mount namespace of its own, or none where the kernel forbids it."""
    for words in (["unshare", "-m"], ["unshare", "-U", "-r", "-m"]):
        if (
            shutil.which("unshare")
            and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
        ):
            return words
    return []


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    prefix = unshared()
    if not prefix:
        pytest.skip("NOT TESTED: the kernel gives no mount namespace (unshare), so no file system can be mounted")
    with Nursery(tmp_path_factory.mktemp("disk-nursery"), prefix) as nursery:
        yield Disk(nursery, tmp_path_factory.mktemp("disk"))


@pytest.fixture
def mounted(disk: Disk) -> Iterator[Disk]:
    """The disk; a test mounts what it wants, and finds it gone afterwards."""
    yield disk
    disk.nursery.ask(shell=["umount", str(disk.point)])


def put(job: Job, stage: str, workspace: Path) -> None:
    shutil.copytree(str(job.before[stage]), str(workspace))


def next_words(job: Job, stage: str, workspace: Path) -> Tuple[object, ...]:
    begun = stage == "train" and (workspace / "runs" / "r" / "run.json").exists()
    return RESUME if begun else job.words(stage)


def is_full(ended: Ended) -> bool:
    """Whether a command was refused for want of room, in a sentence. Anything else but success fails."""
    if ended.status == 0:
        return False
    told = ended.refused(5)
    assert any(words in told for words in FULL), ended.told
    return True


def checkpoints_hold(workspace: Path) -> None:
    """What is there of checkpoints is whole, and nothing half is beside them."""
    latest = checkpoints.latest_valid(workspace / "runs" / "r" / "checkpoints")
    assert latest.damaged == []


def fill_up(job: Job, stage: str, disk: Disk, num_bytes: int) -> bool:
    """Run a stage on a disk that has `num_bytes` more than it holds before; whether that was too little."""
    workspace = disk.mount(ROOMY)
    put(job, stage, workspace)
    disk.remount(f"size={disk.used_bytes + num_bytes}")
    ended = disk.run(job.words(stage))
    was_full = is_full(ended)
    if was_full:
        assert leftovers(workspace, allowed=(".tmp/prepared-",)) == []
        checkpoints_hold(workspace)
        disk.remount(f"size={ROOMY}")
        disk.run(next_words(job, stage, workspace)).succeeded()
    job.check(stage, workspace)
    return was_full


@pytest.mark.parametrize("tries", [2, pytest.param(16, marks=pytest.mark.faults_full)])
@pytest.mark.parametrize("stage", list(STAGES))
def test_the_disk_fills_up(job: Job, mounted: Disk, faults: Faults, stage: str, tries: int) -> None:
    """At sizes spread over all that the stage writes: told in a sentence; with room the end is the same."""
    written = files.folder_bytes(job.after[stage]) - files.folder_bytes(job.before[stage])
    full = 0
    for number in range(tries):
        with faults.survives(f"disk full in {stage}"):
            full += fill_up(job, stage, mounted, int(written * number / tries))
        mounted.unmount()
    assert full >= tries // 2


@pytest.mark.parametrize("tries", [1, pytest.param(10, marks=pytest.mark.faults_full)])
@pytest.mark.parametrize("stage", list(STAGES))
def test_no_file_may_grow(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, stage: str, tries: int) -> None:
    """RLIMIT_FSIZE breaks each write in the middle of a file, also those that are made outside of Python."""
    sizes = sorted({path.stat().st_size for path in job.after[stage].rglob("*") if path.is_file()} - {0})
    for number in range(tries):
        limit = sizes[len(sizes) * number // tries] // 2 + 1
        workspace = job.start_from(stage, tmp_path / str(number))
        with faults.survives(f"file size limited in {stage}"):
            ended = nursery.run(job.words(stage), workspace, file_bytes=limit, stdout="/dev/null", stderr="/dev/null")
            assert ended.status in (0, 5), ended.status
            assert leftovers(workspace, allowed=(".tmp/prepared-",)) == []
            checkpoints_hold(workspace)
            job.go_on(stage, workspace).succeeded()
            job.check(stage, workspace)
        shutil.rmtree(str(workspace))


def test_clean_makes_room_on_a_full_disk(job: Job, mounted: Disk, faults: Faults) -> None:
    with faults.survives("clean on a full disk"):
        workspace = mounted.mount(ROOMY)
        put(job, "export", workspace)
        (workspace / "cache" / "ipu").mkdir(parents=True)
        (workspace / "cache" / "ipu" / "blob").write_bytes(bytes(1 << 20))
        mounted.remount(f"size={mounted.used_bytes}")
        assert is_full(mounted.run(EXPORT))
        assert mounted.run(("clean", "--yes")).succeeded().result["freed_bytes"] > 1 << 20
        mounted.run(EXPORT).succeeded()
        job.check("export", workspace, but=("checkpoints",))  # older ones were cleaned away


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_read_only_disk(job: Job, mounted: Disk, faults: Faults, stage: str) -> None:
    with faults.survives(f"read-only disk in {stage}"):
        workspace = mounted.mount(ROOMY)
        put(job, stage, workspace)
        before = files.file_digests(workspace)
        mounted.remount("ro")
        assert "read-only" in mounted.run(job.words(stage)).refused(5)
        mounted.run(("status",)).succeeded()
        mounted.remount("rw")
        assert files.file_digests(workspace) == before
        mounted.run(job.words(stage)).succeeded()
        job.check(stage, workspace)


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_log_on_a_full_disk(job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, stage: str) -> None:
    """What can not be told does not keep the work from being done."""
    with faults.survives(f"stderr on a full disk in {stage}"):
        workspace = job.start_from(stage, tmp_path / "workspace")
        ended = nursery.run(job.words(stage), workspace, stderr="/dev/full")
        assert (ended.status, ended.document["ok"]) == (0, True)
        job.check(stage, workspace)


# -- permissions -------------------------------------------------------------------------------------------------------


class Somebody:
    """Whom permissions hold back. Where the tests run as root, it is root without the power to pass over them."""

    def __init__(self, job: Job, nursery: Nursery, folder: Path) -> None:
        self.job, self.nursery, self.folder = job, nursery, folder

    def workspace(self, stage: str) -> Path:
        return Path(shutil.copytree(str(self.job.before[stage]), str(self.folder / stage)))

    def run(self, words: Sequence[object], workspace: Path) -> Ended:
        return self.nursery.run(words, workspace, powerless=os.geteuid() == 0)


@pytest.fixture
def somebody(job: Job, nursery: Nursery, tmp_path: Path) -> Somebody:
    found = Somebody(job, nursery, tmp_path)
    forbidden = found.workspace("eval") / "runs" / "r" / "run.json"
    forbidden.chmod(0)
    probe = found.run(("eval", "--run", "r"), tmp_path / "eval")
    if probe.status == 0:
        pytest.skip("NOT TESTED: nothing can be forbidden to this user on this system")
    shutil.rmtree(str(tmp_path / "eval"))
    return found


# For each stage, what it may no longer write to, or read.
NOT_TO_WRITE = {
    "prepare": ("", ".tmp"),
    "train": ("",),
    "eval": ("", ".tmp"),
    "export": ("", ".tmp"),
}
NOT_TO_READ = {
    "train": ("prepared/*/train", "prepared/*/train/shard-00000.arrow", "prepared/*/vocab/vocab.json", "refs"),
    "eval": ("runs/r/model", "runs/r/model/model.safetensors", "runs/r/run.json", "prepared/*/eval/*.arrow"),
    "export": ("runs/r/model/config.json", "evals/*/metrics.json", "prepared/*/meta.json"),
}


@pytest.mark.parametrize(
    "stage", [pytest.param(name, marks=[pytest.mark.faults_full] if name != "train" else []) for name in STAGES]
)
def test_permissions_that_are_lost(somebody: Somebody, faults: Faults, stage: str) -> None:
    workspace = somebody.workspace(stage)
    cases = [(name, 0o222) for name in NOT_TO_WRITE[stage]] + [(name, 0o777) for name in NOT_TO_READ.get(stage, ())]
    for name, forbidden in cases:
        for path in workspace.glob(name) if name else [workspace]:
            with faults.survives(f"permission lost in {stage}"):
                mode = stat.S_IMODE(path.stat().st_mode)
                path.chmod(mode & ~forbidden)
                try:
                    ended = somebody.run(somebody.job.words(stage), workspace)
                finally:
                    path.chmod(mode)
                assert "ermi" in ended.refused(5), f"{path}: {ended.told}"
    with faults.survives(f"permission given back in {stage}"):
        somebody.run(somebody.job.words(stage), workspace).succeeded()
        assert outcome(workspace) == outcome(somebody.job.after[stage])


@pytest.mark.parametrize("umask", [0o007])
def test_whatever_is_made_is_as_open_as_the_mask_says(
    job: Job, nursery: Nursery, tmp_path: Path, faults: Faults, umask: int
) -> None:
    """Files of libraries and of ours, the cache of encoder features, and folders that are there for a while only."""
    workspace = tmp_path / "workspace"
    with faults.survives("umask"):
        shutil.copytree(str(job.before["prepare"] / "presets"), str(tmp_path / "presets"))
        preset = ("--preset", tmp_path / "presets" / "faulty.yaml")
        prepare = ("prepare", "manifest", job.words("prepare")[2], *preset)
        nursery.stopped(prepare, workspace, stop_on="in-use.lock", umask=umask).goes_on().ended().succeeded()
        frozen = ("--set", "model.freeze_feature_encoder=true", "--set", "batches.augment={}")
        train = ("train", *preset, "--device", "cpu", "--run", "r", *frozen)
        for words in (prepare, train, job.words("eval"), job.words("export")):
            nursery.run(words, workspace, umask=umask).succeeded()
        assert list(workspace.glob("cache/features/*/frames.bin"))
        for path in [workspace, *workspace.rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~umask, path


def test_a_checkpoint_that_may_not_be_read(somebody: Somebody, faults: Faults) -> None:
    """Not passed over in silence: the run could lose days."""
    workspace = somebody.workspace("train")
    somebody.run((*somebody.job.words("train"), "--max-minutes", "0"), workspace).succeeded()
    folder = workspace / "runs" / "r"
    for path in [*folder.glob("checkpoints/step-*/*"), folder / "recipe.yaml", folder / "start" / "config.json"]:
        with faults.survives("a checkpoint that may not be read"):
            path.chmod(0)
            assert "ermi" in somebody.run(RESUME, workspace).refused(5)
            path.chmod(0o644)
    with faults.survives("a checkpoint that may not be read"):
        somebody.run(RESUME, workspace).succeeded()
        somebody.job.check_run(workspace)
