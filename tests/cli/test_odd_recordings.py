"""One recording that can not be had, for whatever reason, is one reject with its path and the reason: never the end."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
import soundfile

from asrctl.data.reading.archives import MemberReader
from asrctl.errors import BadData

# A regular file of Linux that can be opened and whose bytes can not be read: its first page is nobody's.
_UNREADABLE = Path("/proc/self/mem")
_BROKEN_DISK = os.strerror(errno.EIO)
needs_proc = pytest.mark.skipif(not _UNREADABLE.exists(), reason=f"needs {_UNREADABLE} of Linux")


def record(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), np.random.default_rng(number).integers(-3000, 3000, 16000, dtype=np.int16), 16000)
    return path


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Forty recordings that are all right."""
    for number in range(40):
        record(tmp_path / "mine" / f"{number:02d}.wav", number)
    return tmp_path / "mine"


def pack(path: Path, *names: str) -> bytes:
    with tarfile.open(str(path), "w") as archive:
        for number, name in enumerate(names):
            archive.add(record(path.parent / "packed.wav", number), arcname=name)
    (path.parent / "packed.wav").unlink()
    return path.read_bytes()


def listed(folder: Path, *odd: str) -> Path:
    """A list of the folder's recordings, and of `odd` paths. JSON has a spelling for each of them."""
    paths = [path.name for path in sorted(folder.glob("[0-9]*.wav"))] + list(odd)
    path = folder / "list.jsonl"
    path.write_text("".join(json.dumps({"path": name, "text": "a word"}) + "\n" for name in paths), encoding="utf-8")
    return path


def rejects(result: Dict[str, Any]) -> Dict[str, str]:
    """{name: "REASON: DETAIL"}."""
    files = [Path(result["path"]) / split / "rejects.jsonl" for split in result["splits"]]
    lines: List[Any] = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert all(Path(line["audio"]).name in line["id"] or "::" in line["id"] for line in lines)
    return {line["id"]: f"{line['reason']}: {line['detail']}" for line in lines}


def into_itself(path: Path) -> None:
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def listening(path: Path) -> None:
    here = Path.cwd()
    os.chdir(str(path.parent))  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(str(here))


def failing(path: Path) -> None:
    path.symlink_to(_UNREADABLE)


ODD: Dict[str, Callable[[Path], Any]] = {
    "folder.wav": Path.mkdir,
    "pipe.wav": os.mkfifo,
    "socket.wav": listening,
    "dangling.wav": dangling,
    "loop.wav": into_itself,
}
if _UNREADABLE.exists():
    ODD["failing.wav"] = failing

# What no folder can hold and a list can name.
NAMED = {
    "n" * 300 + ".wav": "no-audio: can not be read (File name too long)",
    "deep/" * 1000 + "a.wav": "no-audio: can not be read (File name too long)",
    "00.wav/inside.wav": "no-audio: can not be read (Not a directory)",
    "\ud800.wav": None,
    "gone.tar.gz::a.wav": "no-audio: missing",
    "n" * 300 + ".tar::a.wav": "no-audio: can not be read (File name too long)",
    "folder.wav": "no-audio: not a regular file",
    "loop.wav": f"no-audio: can not be read ({os.strerror(errno.ELOOP)})",
    "dangling.wav": "no-audio: missing",
}


def test_every_path_of_a_list_that_leads_nowhere_is_one_reject(asrctl, recordings: Path) -> None:
    for name, make in ODD.items():
        make(recordings / name)
    wanted = {name: reason for name, reason in NAMED.items() if reason}
    path = listed(recordings, *wanted, *(set(ODD) - set(wanted)))
    planned = asrctl("prepare", "manifest", path, "--dry-run", "--json").result
    assert sum(split["utterances"] for split in planned["splits"].values()) == 40 + len(set(ODD) | set(wanted))
    result = asrctl("prepare", "manifest", path, "--max-rejects", 0.5, "--json").succeeded().result
    found = rejects(result)
    assert sum(split["utterances"] for split in result["splits"].values()) == 40
    assert {name: found[name] for name in wanted} == wanted
    assert set(found) == set(ODD) | set(wanted)
    if "failing.wav" in ODD:
        assert found["failing.wav"] == f"no-audio: {_BROKEN_DISK}"
    asrctl("status").succeeded()


def test_every_odd_entry_of_a_folder_is_one_reject(asrctl, recordings: Path) -> None:
    for name, make in ODD.items():
        make(recordings / name)
    (recordings / "folder.wav").rmdir()
    for path in recordings.glob("*.wav"):
        path.with_suffix(".txt").write_text("a word", encoding="utf-8")
    if "failing.wav" in ODD:
        (recordings / "05.txt").unlink()
        failing(recordings / "05.txt")
    result = asrctl("prepare", "folder", recordings, "--max-rejects", 0.5, "--json").succeeded().result
    found = rejects(result)
    assert {name for name, reason in found.items() if reason.startswith("no-audio: ")} == set(ODD) - {"folder.wav"}
    assert {name for name, reason in found.items() if reason.startswith("no-transcript")} <= {"05.wav"}


@needs_proc
def test_the_reason_is_told_where_too_many_fail(asrctl, recordings: Path) -> None:
    for number in range(10):
        failing(recordings / f"failing{number}.wav")
    names = [f"failing{number}.wav" for number in range(10)]
    refused = asrctl("prepare", "manifest", listed(recordings, *names), "--json")
    assert refused.exit_code == 5
    assert any("failing0.wav" in line and _BROKEN_DISK in line for line in refused.error["problems"])


def test_members_of_archives_that_can_not_be_had(asrctl, recordings: Path) -> None:
    whole = pack(recordings / "whole.tar", "a.wav", "b.wav")
    (recordings / "cut.tar").write_bytes(whole[: len(whole) // 2])
    (recordings / "text.tar").write_text("no archive\n" * 100, encoding="utf-8")
    odd = {
        "whole.tar::none.wav": "whole.tar holds no none.wav",
        "cut.tar::b.wav": "cut.tar is damaged: it ends in the middle of a member",
        "text.tar::a.wav": "text.tar is damaged: a header does not match its checksum",
    }
    if _UNREADABLE.exists():
        failing(recordings / "failing.tar")
        odd["failing.tar::a.wav"] = "no-audio"
    fine = ["whole.tar::b.wav", "whole.tar::a.wav", "cut.tar::a.wav"]
    path = listed(recordings, *fine, *odd)
    result = asrctl("prepare", "manifest", path, "--max-rejects", 0.5, "--json").succeeded().result
    found = rejects(result)
    assert set(found) == set(odd)
    assert all(words in found[name] for name, words in odd.items())


def test_missing_members_cost_one_pass_in_all(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", *(f"{number}.wav" for number in range(3)))
    reader = MemberReader(tmp_path / "a.tar")
    for number in range(3, 6):
        with pytest.raises(BadData, match=f"holds no {number}.wav"):
            reader.read(f"{number}.wav")
    (tmp_path / "a.tar").unlink()  # whoever reads it again now would notice
    with pytest.raises(BadData, match="holds no 6.wav"):
        reader.read("6.wav")


# A process in which a file fails from its second opening on: the first is for its digest.
FAILING_LATER = """
import sys
opened = 0
def hook(event, arguments):
    global opened
    if event == "open" and str(arguments[0]).endswith("07.wav"):
        opened += 1
        if opened > 1:
            raise OSError(5, {message!r}, arguments[0])
sys.addaudithook(hook)
from asrctl.cli.app import main
main(sys.argv[1:])
"""


def test_a_disk_that_begins_to_fail_costs_one_recording_and_force_takes_it_in(
    asrctl, recordings: Path, workspace: Path
) -> None:
    path = listed(recordings)
    words = ["prepare", "manifest", str(path), "--json"]
    program = FAILING_LATER.format(message=_BROKEN_DISK)
    strict = [sys.executable, "-c", program, *words, "--max-rejects", "0"]
    assert subprocess.run(strict, capture_output=True, check=False).returncode == 5
    assert not list(workspace.rglob("part-*.json")), "what failed is tried again"
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    assert rejects(result) == {"07.wav": f"no-audio: {_BROKEN_DISK}"}
    assert f"07.wav ({_BROKEN_DISK}); once that is mended, prepare with --force" in done.stderr
    mended = asrctl(*words, "--force").succeeded().result
    assert (rejects(mended), mended["id"]) == ({}, result["id"])


@needs_proc
def test_a_list_that_can_not_be_read_is_named(asrctl, recordings: Path) -> None:
    failing(recordings / "list.csv")
    refused = asrctl("prepare", "manifest", recordings / "list.csv", "--json")
    assert refused.exit_code == 5
    assert str(recordings / "list.csv") in refused.error["message"]
    failing(recordings / "metadata.csv")
    refused = asrctl("vocab", "folder", recordings, "--json")
    assert str(recordings / "metadata.csv") in refused.error["message"]
