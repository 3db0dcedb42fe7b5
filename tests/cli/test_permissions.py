"""What may not be read or written: one sentence that names it, the right exit code, and everything else goes on."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork in a process with threads


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Twenty recordings with their transcripts."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(20):
        soundfile.write(str(folder / f"{number:02d}.wav"), np.arange(8000, dtype=np.int16) + number, 16000)
        (folder / f"{number:02d}.txt").write_text("word", encoding="utf-8")
    return folder


def test_a_workspace_that_may_not_be_made(asrctl_with_permissions, tmp_path: Path, recordings: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    for words in (("prepare", "folder", "mine"), ("vocab", "folder", "mine")):
        done = asrctl_with_permissions(*words, "--workspace", "closed/ws", "--json")
        assert (done.exit_code, done.error["kind"]) == (5, "storage")
        assert done.error["message"].startswith("permission denied (closed/ws")
        assert "Traceback" not in done.stderr


def test_recordings_that_may_not_be_read_are_rejected_by_name(asrctl_with_permissions, recordings: Path) -> None:
    (recordings / "03.wav").chmod(0)
    (recordings / "05.txt").chmod(0)
    result = asrctl_with_permissions("prepare", "folder", "mine", "--max-rejects", "0.1", "--json").result
    rejects = [
        json.loads(line)
        for split in result["splits"]
        for line in (recordings.parent / result["path"] / split / "rejects.jsonl").read_text().splitlines()
    ]
    found = {reject["id"]: reject["reason"] for reject in rejects}
    assert found == {"03.wav": "no-audio", "05.wav": "no-transcript"}


@pytest.mark.parametrize("closed", ["mine", "list.csv"])
def test_lists_and_folders_that_may_not_be_read(
    asrctl_with_permissions, tmp_path: Path, recordings: Path, closed: str
) -> None:
    (tmp_path / "list.csv").write_text("path,text\nmine/00.wav,word\n", encoding="utf-8")
    (tmp_path / closed).chmod(0)
    words = ("manifest", "list.csv") if closed.endswith("csv") else ("folder", "mine")
    done = asrctl_with_permissions("prepare", *words, "--json")
    assert done.exit_code == 5
    assert closed in done.error["message"], done.error
    assert "Traceback" not in done.stderr


def test_a_workspace_of_somebody_else_can_be_looked_at(
    asrctl_with_permissions, trained_librispeech: Path, tmp_path: Path
) -> None:
    place = tmp_path / "asr-workspace"
    shutil.copytree(str(trained_librispeech), str(place))
    for folder, _, names in os.walk(str(place)):
        for name in names:
            (Path(folder) / name).chmod(0o400)
        Path(folder).chmod(0o500)
    status = asrctl_with_permissions("status", "--json").result
    assert [item["stage"] for item in status["items"]] == ["prepare", "train"]
    asrctl_with_permissions("clean", "--json").succeeded()
    asrctl_with_permissions("train", "--preset", "tiny-cpu", "--dry-run", "--json").succeeded()
    for words in (("eval",), ("export",), ("train", "--preset", "tiny-cpu")):
        done = asrctl_with_permissions(*words, "--json")
        assert (done.exit_code, done.error["kind"]) == (5, "storage"), done
        assert done.error["message"].startswith("permission denied (asr-workspace/")


def test_a_workspace_that_may_not_be_entered(asrctl_with_permissions, tmp_path: Path) -> None:
    (tmp_path / "asr-workspace").mkdir(mode=0)
    for words in (("status",), ("eval",), ("clean",), ("train", "--preset", "tiny-cpu")):
        done = asrctl_with_permissions(*words, "--json")
        assert (done.exit_code, done.error["kind"]) == (5, "storage"), done
