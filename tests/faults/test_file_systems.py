"""Other file systems, real ones: an image of a container (overlay), FUSE (bindfs, ntfs-3g, sshfs), none with locks."""

from __future__ import annotations

import contextlib
import errno
import platform
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence

import pytest

from asrctl.storage import files

from ..fault_table import Faults
from .job import Job, leftovers, outcome
from .nursery import FLOCK
from .processes import Ended, Nursery, changes
from .test_disk import unshared


class Mounted:
    """A file system that only the nursery's processes see, at `point`; we see it through /proc."""

    def __init__(self, nursery: Nursery, point: Path) -> None:
        self.nursery, self.point = nursery, point
        self.seen = Path(f"/proc/{nursery.pid}/root{point}")

    @property
    def workspace(self) -> Path:
        return self.seen / "workspace"

    def run(self, words: Sequence[Any], **more: Any) -> Ended:
        return self.nursery.run(words, self.point / "workspace", **more)

    def mount(self, words: Sequence[Any]) -> "Mounted":
        """Where it is refused, or can not be looked into from here, the test is skipped with what was said."""
        done = self.nursery.ask(shell=[str(word) for word in words])
        if done["status"] != 0:
            pytest.skip(f"NOT TESTED: {words[0]} says: {done['output'].strip()}")
        try:
            (self.seen / "probe").mkdir()
            (self.seen / "probe").rmdir()
        except OSError as error:
            self.unmount()
            pytest.skip(f"NOT TESTED: {words[0]} lets nobody look into {self.point}: {error.strerror}")
        return self

    def unmount(self) -> None:
        self.nursery.ask(shell=["umount", "-l", str(self.point)])


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """A nursery with a mount namespace of its own."""
    prefix = unshared()
    if not prefix:
        pytest.skip("NOT TESTED: the kernel gives no mount namespace (unshare), so no file system can be mounted")
    with Nursery(tmp_path_factory.mktemp("apart"), prefix) as nursery:
        yield nursery


def names(folder: Path) -> List[str]:
    return sorted(path.name for path in folder.iterdir())


def export_digests(workspace: Path) -> Dict[str, str]:
    digests = files.file_digests(next((workspace / "exports").iterdir()))
    del digests["meta.json"]
    return digests


# -- the lower layer of an overlay: what a container's image brings can be changed, but its folders not renamed --------


class Image(Mounted):
    """lower: what the image brings."""

    def __init__(self, nursery: Nursery, folder: Path) -> None:
        super().__init__(nursery, folder / "image")
        self.lower, self._changed = folder / "lower", [folder / "upper", folder / "work"]
        self.point.mkdir()

    def start(self) -> None:
        """A container of this image, in which nothing was changed yet."""
        self.unmount()
        for folder in self._changed:
            shutil.rmtree(str(folder), ignore_errors=True)
            folder.mkdir()
        upper, work = self._changed
        options = f"lowerdir={self.lower},upperdir={upper},workdir={work},redirect_dir=off"
        self.mount(("mount", "-t", "overlay", "overlay", "-o", options, self.point))


@pytest.fixture
def image(apart: Nursery, job: Job, tmp_path: Path) -> Iterator[Image]:
    """A workspace with all that was made, somebody's folder in the run's model, and an export beside the workspace."""
    found = Image(apart, tmp_path)
    workspace = job.copy(job.after["export"], found.lower / "workspace")
    export = next((workspace / "exports").iterdir())
    shutil.copytree(str(export), str(found.lower / "out"), ignore=shutil.ignore_patterns("meta.json"))
    found.start()
    with pytest.raises(OSError, match="Invalid cross-device"):  # or nothing is tested here
        (found.workspace / "prepared").rename(found.workspace / "p")
    yield found
    found.unmount()


def test_what_an_image_brings_is_replaced(job: Job, image: Image, faults: Faults) -> None:
    for stage in ("prepare", "eval", "export"):
        with faults.survives(f"{stage} --force in an image"):
            image.run((*job.words(stage), "--force")).succeeded()
            job.check("export", image.workspace)
    with faults.survives("export --output --force in an image"):
        image.run((*job.words("export"), "--output", image.point / "out", "--force")).succeeded()
        assert names(image.seen) == ["out", "workspace"]
        assert files.file_digests(image.seen / "out") == export_digests(image.workspace)
    with faults.survives("train --overwrite in an image"):
        image.run((*job.words("train"), "--overwrite")).succeeded()
        job.check("export", image.workspace, but=("info.command",))
    with faults.survives("clean in an image"):
        (image.workspace / "refs" / "evals").exists()
        image.run(("clean", "--yes")).succeeded()
        assert leftovers(image.workspace) == []


def test_somebodys_files_in_what_an_image_brings(job: Job, image: Image, faults: Faults) -> None:
    (image.lower / "workspace" / "runs" / "r" / "model" / "notes").mkdir()
    (image.lower / "workspace" / "runs" / "r" / "model" / "notes" / "thesis.txt").write_text("ten years of work")
    image.start()
    with faults.survives("train --resume in an image, over a model with somebody's files"):
        image.run(("train", "--resume", "--run", "r", "--device", "cpu", "--max-steps", 12)).succeeded()
        kept = image.workspace / "runs" / "r" / "model" / "notes" / "thesis.txt"
        assert kept.read_text() == "ten years of work"
    with faults.survives("train --overwrite in an image, over a run with somebody's files"):
        image.run((*job.words("train"), "--overwrite")).refused(2)
        assert kept.read_text() == "ten years of work"


@pytest.mark.faults_full
@pytest.mark.parametrize("every", [7, 1])
@pytest.mark.parametrize("stage", ["eval", "train"])
def test_killed_while_what_an_image_brings_is_replaced(
    job: Job, image: Image, tmp_path: Path, faults: Faults, stage: str, every: int
) -> None:
    """Before a change of a file, from where the new one is whole: the old one or the new one is there in the end."""
    words = (*job.words(stage), "--overwrite" if stage == "train" else "--force")
    counted = {"roots": [str(image.point / "workspace")], "counted": str(tmp_path / "told")}
    image.run(words, **counted).succeeded()
    done = changes(tmp_path / "told")
    whole = ".meta.json.tmp" if stage == "eval" else "/.r.old"
    first = next(number for number, change in enumerate(done, 1) if whole in change)
    for number in range(first, len(done) + 1, every):
        image.start()
        with faults.survives(f"SIGKILL before a change of a file in {words[0]} {words[-1]} in an image"):
            image.run(words, roots=counted["roots"], die_at=number)
            if stage == "train":
                image.run((*words[:-1], "--if-new")).succeeded()
                job.check_run(image.workspace)
            else:
                image.run(job.words(stage)).succeeded()
                job.check("export", image.workspace)


# -- FUSE: a file that is deleted while it is open keeps a hidden name, and with it its folder, as on NFS --------------


def bindfs(folder: Path, point: Path) -> List[List[Any]]:
    return [["bindfs", folder, point]]


def ntfs(folder: Path, point: Path) -> List[List[Any]]:
    with open(folder / "disk", "wb") as stream:
        stream.truncate(64 << 20)
    return [["mkntfs", "-q", "-F", "-f", folder / "disk"], ["ntfs-3g", folder / "disk", point]]


def sshfs(folder: Path, point: Path) -> List[List[Any]]:
    """Without ssh and its keys between them: a program that takes ssh's place and starts the server itself."""
    server = next((path for path in map(Path, _SFTP_SERVERS) if path.exists()), Path(_SFTP_SERVERS[0]))
    (folder / "ssh").write_text(f"#!/bin/sh\nexec {server}\n")
    (folder / "ssh").chmod(0o755)
    (folder / "home").mkdir()
    return [["sshfs", "-o", f"ssh_command={folder / 'ssh'}", f"nobody@nowhere:{folder / 'home'}", point]]


_SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")
FUSE = {"bindfs": bindfs, "ntfs-3g": ntfs, "sshfs": sshfs}


@pytest.fixture(
    params=["bindfs", *(pytest.param(name, marks=pytest.mark.faults_full) for name in ("ntfs-3g", "sshfs"))]
)
def fuse(apart: Nursery, job: Job, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Mounted]:
    """An empty one, of which we are sure that it keeps what is deleted while it is open."""
    if shutil.which(request.param) is None or not Path("/dev/fuse").exists():
        pytest.skip(f"NOT TESTED: {request.param} or /dev/fuse is missing")
    for name in ("below", "fuse"):
        (tmp_path / name).mkdir()
    found = Mounted(apart, tmp_path / "fuse")
    *before, last = FUSE[request.param](tmp_path / "below", found.point)
    for words in before:
        apart.shell(*words)
    found.mount(last)
    with open(found.seen / "probe", "wb"):
        (found.seen / "probe").unlink()
        assert len(names(found.seen)) == 1, "this file system deletes what is open, as a local one does"
    yield found
    found.unmount()


@contextlib.contextmanager
def all_open(folder: Path) -> Iterator[None]:
    """Within the block a reader has every file open."""
    with contextlib.ExitStack() as held:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                held.enter_context(open(path, "rb"))
        yield


def same_files(job: Job, workspace: Path) -> None:
    wanted, found = outcome(job.after["export"]), outcome(workspace)
    for values in (wanted, found):
        del values["runs/r"]["info"]["command"]
    assert found == wanted


@pytest.mark.faults_full
def test_every_stage_on_fuse(job: Job, fuse: Mounted, faults: Faults) -> None:
    with faults.survives("every stage on FUSE"):
        shutil.copytree(str(job.before["prepare"]), str(fuse.workspace))
        fuse.run(("vocab", *job.words("prepare")[1:3])).succeeded()
        for name in ("vocab", "refs"):
            shutil.rmtree(str(fuse.workspace / name))
        for stage in job.stages:
            fuse.run(job.words(stage)).succeeded()
        job.check("export", fuse.workspace)
        fuse.run(("status",)).succeeded()
    with faults.survives("a command that is refused on FUSE"):
        (fuse.seen / "list.csv").write_text("path,text\n", encoding="utf-8")
        words = ("prepare", "manifest", fuse.point / "list.csv")
        fuse.nursery.run(words, fuse.point / "empty" / "deep").refused(5)
        assert names(fuse.seen) == ["list.csv", "workspace"]


@pytest.mark.faults_full
def test_replaced_while_others_read_it_on_fuse(job: Job, fuse: Mounted, faults: Faults) -> None:
    shutil.copytree(str(job.after["export"]), str(fuse.workspace))
    output = ("--output", fuse.point / "out", "--force")
    fuse.run((*job.words("export"), *output)).succeeded()
    with all_open(fuse.seen), faults.survives("replaced on FUSE while others read it"):
        # Once more, when what is left of the first one lies where the second one would.
        for _ in range(2):
            fuse.run((*job.words("eval"), "--force")).succeeded()
        for _ in range(2):
            fuse.run((*job.words("export"), *output)).succeeded()
            assert files.file_digests(fuse.seen / "out") == export_digests(fuse.workspace)
        for _ in range(2):
            fuse.run((*job.words("train"), "--overwrite")).succeeded()
        fuse.run(("clean", "unfinished", "--yes")).succeeded()
        same_files(job, fuse.workspace)
        status = fuse.run(("status",)).succeeded().result
        assert {item["state"] for item in status["items"]} == {"done", "complete"}
    with faults.survives("replaced on FUSE after others have read it"):
        fuse.run(("clean", "unfinished", "--yes")).succeeded()
        job.check("export", fuse.workspace, but=("info.command",))
        fuse.run((*job.words("export"), *output)).succeeded()
        assert names(fuse.seen) == ["out", "workspace"]


@pytest.mark.faults_full
@pytest.mark.parametrize("every", [16, 1])
def test_killed_while_others_read_on_fuse(job: Job, fuse: Mounted, tmp_path: Path, faults: Faults, every: int) -> None:
    """What is left of an earlier one lies where the old one is to lie, and a reader has the old one open as well."""
    words = (*job.words("eval"), "--force")
    fresh = shutil.copytree(str(job.after["export"]), str(fuse.seen / "fresh"))
    counted = {"roots": [str(fuse.point / "workspace")], "counted": str(tmp_path / "told")}
    number, moments = 0, [0]
    while number < len(moments):
        shutil.copytree(fresh, str(fuse.workspace))
        with faults.survives("SIGKILL before a change of a file in eval --force on FUSE"), all_open(fuse.workspace):
            fuse.run(words).succeeded()
            with all_open(fuse.workspace):
                if number == 0:
                    fuse.run(words, **counted).succeeded()
                    done = changes(tmp_path / "told")
                    first = next(place for place, change in enumerate(done, 1) if change.endswith(".meta.json.tmp"))
                    moments += range(first, len(done) + 1, every)
                else:
                    fuse.run(words, roots=counted["roots"], die_at=moments[number])
            fuse.run(job.words("eval")).succeeded()
            same_files(job, fuse.workspace)
        fuse.run(("clean", "unfinished", "--yes")).succeeded()
        job.check("export", fuse.workspace)
        shutil.rmtree(str(fuse.workspace))
        number += 1


# -- a file system without locks ---------------------------------------------------------------------------------------


@pytest.fixture
def without_locks(nursery: Nursery) -> Nursery:
    if platform.machine() not in FLOCK:
        pytest.skip("NOT TESTED: the number of the system call flock is not known for this processor")
    return nursery


def without_locks_told(nursery: Nursery, words: Sequence[Any], workspace: Path, place: Path, number: int) -> None:
    told = nursery.run(words, workspace, no_locks=number).refused(5)
    assert "has no locks (flock: " in told and str(place) in told, told
    assert "-o flock" in told and "--workspace or --output" in told, told


def test_a_file_system_without_locks(job: Job, without_locks: Nursery, tmp_path: Path, faults: Faults) -> None:
    """As Lustre without `-o flock` is: told at once that it is about locks, where, and what to do."""
    workspace = job.start_from("export", tmp_path / "workspace")
    before = files.file_digests(workspace)
    commands = [
        *((*job.words(stage), "--overwrite" if stage == "train" else "--force") for stage in job.stages),
        ("vocab", *job.words("prepare")[1:3]),
        ("clean", "--yes"),
        ("status",),
    ]
    for words in commands:
        with faults.survives("a file system without locks"):
            without_locks_told(without_locks, words, workspace, workspace, errno.ENOLCK)
    for number in (errno.ENOSYS, errno.EOPNOTSUPP):
        with faults.survives("a file system without locks"):
            without_locks_told(without_locks, job.words("prepare")[:3], tmp_path / "new", tmp_path / "new", number)
    with faults.survives("doctor on a file system without locks"):
        checks = without_locks.run(("doctor",), workspace, no_locks=errno.ENOLCK).document["result"]["checks"]
        found = next(check for check in checks if check["name"] == "workspace")
        assert found["state"] == "fail" and "has no locks" in found["found"] and "-o flock" in found["fix"]
    with faults.survives("a file system that has locks again"):
        assert {name: digest for name, digest in files.file_digests(workspace).items() if name in before} == before
        without_locks.run(job.words("export"), workspace).succeeded()
        job.check("export", workspace)
