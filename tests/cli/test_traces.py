"""What a command leaves: one that is refused nothing; one that does a thing again, the old thing until the end."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import soundfile

from asrctl.storage.hashing import file_sha256
from asrctl.storage.workspace import Key, Workspace

from ..helpers.stops import HANGS_S, signalled, stopped

REFUSED = [
    "prepare librispeech --no-download",
    "prepare librispeech missing",
    "prepare manifest bad.csv",
    "prepare manifest good.csv --eval holdout",
    "prepare manifest good.csv --preset none",
    "prepare manifest good.csv --vocab none",
    "prepare folder .",
    "vocab librispeech --no-download",
    "vocab manifest bad.csv",
    "vocab manifest good.csv --splits none",
    "vocab manifest good.csv --from ./none",
    "vocab manifest good.csv --from nobody/nothing",
    "train",
    "train --preset tiny-cpu",
    "train --resume",
    "plan --preset tiny-cpu",
    "compile --preset base-4ipu --device ipu-emulated",
    "eval",
    "eval --dry-run",
    "eval --model .",
    "export",
    "export --format onnx --output out",
    "presets show none",
    "presets check none.yaml",
    "presets import none.json",
]
HARMLESS = ["status", "clean", "clean --yes", "doctor", "presets list", "prepare manifest good.csv --dry-run"]


@pytest.fixture
def empty(in_folder: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two short lists in it, and the default workspace not there yet."""
    monkeypatch.delenv("ASRCTL_WORKSPACE")
    soundfile.write(str(in_folder / "a.wav"), np.ones(8000, dtype=np.int16), 16000)
    (in_folder / "good.csv").write_text("path,text\na.wav,hello\n", encoding="utf-8")
    (in_folder / "bad.csv").write_text("path,text\na.wav,x\n,y\n", encoding="utf-8")
    return in_folder


def names(folder: Path) -> List[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("line", REFUSED)
def test_a_refused_command_leaves_no_trace(asrctl, empty: Path, line: str) -> None:
    before = names(empty)
    done = asrctl(*line.split(), "--json")
    assert done.exit_code in (2, 3, 4, 5, 6), done
    assert names(empty) == before
    asrctl(*line.split(), "--workspace", "far/away/ws")
    assert names(empty) == before


@pytest.mark.parametrize("line", HARMLESS)
def test_a_command_that_only_looks_leaves_no_trace(asrctl, empty: Path, line: str) -> None:
    before = names(empty)
    asrctl(*line.split(), "--json").succeeded()
    assert names(empty) == before


def test_a_refused_command_leaves_a_workspace_as_it_was(asrctl, empty: Path) -> None:
    (empty / "asr-workspace").mkdir()
    asrctl("prepare", "manifest", "bad.csv")
    assert list((empty / "asr-workspace").iterdir()) == [], "a folder that was there stays"
    Workspace(empty / "asr-workspace").create()
    asrctl("prepare", "manifest", "bad.csv")
    assert (empty / "asr-workspace" / "workspace.json").exists()


# -- doing it again ---------------------------------------------------------------------------------------------------


def corpus(folder: Path, minutes: int) -> Path:
    """A minute of noise, used again and again; one utterance has no audio."""
    folder.mkdir()
    soundfile.write(str(folder / "a.wav"), np.random.default_rng(0).integers(-99, 99, 960000, dtype=np.int16), 16000)
    rows = [
        {"path": "a.wav", "id": f"{n}", "text": f"word {n % 3}", "start": 15 * (n % 4), "end": 15 * (n % 4 + 1)}
        for n in range(4 * minutes)
    ]
    rows.append({"path": "none.wav", "id": "none", "text": "word"})
    path = folder / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def verified(result: Dict[str, Any]) -> Dict[str, str]:
    """{file: digest} of an artifact whose files are what its meta.json says."""
    path = Path(result["path"])
    files = json.loads((path / "meta.json").read_text(encoding="utf-8"))["files"]
    assert {name: file_sha256(path / name) for name in files} == files
    return files


def test_a_preparation_again_that_fails_leaves_the_old_one(asrctl, tmp_path: Path, workspace: Path) -> None:
    words = ("prepare", "manifest", corpus(tmp_path / "corpus", 2), "--json")
    before = asrctl(*words, "--max-rejects", 0.2).result
    files = verified(before)
    failed = asrctl(*words, "--force", "--max-rejects", 0)
    assert failed.exit_code == 5
    assert verified(before) == files
    assert [item["state"] for item in asrctl("status", "--json").result["items"]] == ["done", "interrupted"]
    again = asrctl(*words, "--force", "--max-rejects", 0.2).result
    assert (again["id"], again["new"], verified(again)) == (before["id"], True, files)
    assert [item["state"] for item in asrctl("status", "--json").result["items"]] == ["done"]


def test_a_preparation_again_that_is_killed_leaves_the_old_one(asrctl, tmp_path: Path, workspace: Path) -> None:
    words = ["prepare", "manifest", str(corpus(tmp_path / "corpus", 40)), "--json"]
    before = asrctl(*words).result
    files = verified(before)
    process = stopped([*words, "--force"], workspace, "/.part-00000.json")
    assert list(workspace.glob(".tmp/prepared-*/*/shard-*.arrow"))
    process.kill()
    process.communicate()
    assert verified(before) == files
    assert asrctl(*words).result["new"] is False
    again = asrctl(*words, "--force").result
    assert (again["new"], verified(again)) == (True, files)
    assert not folders(workspace / ".tmp", "*-*")


def folders(place: Path, pattern: str) -> List[Path]:
    """What `pattern/` means; before Python 3.11 that finds files too."""
    return [path for path in place.glob(pattern) if path.is_dir()]


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------


def interrupted(words: List[str], workspace: Path, text: str) -> Dict[str, Any]:
    """The error of a command that gets Ctrl-C before its first change in `workspace` that names `text`."""
    process = signalled(stopped([*words, "--json"], workspace, text), signal.SIGINT)
    out, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 130, (out, err)
    assert "Traceback" not in err
    return json.loads(out)["error"]


def test_ctrl_c_in_the_middle_of_prepare(asrctl, tmp_path: Path, workspace: Path) -> None:
    words = ["prepare", "manifest", str(corpus(tmp_path / "corpus", 40)), "--workers", "1"]
    error = interrupted(words, workspace, "/train/.part-00001.json")
    assert error["fix"] == "run the same command again to go on where it stopped"
    assert not (workspace / "prepared").exists()
    parts = list((workspace / ".tmp").rglob("train/part-*.json"))
    kept = {part.with_name(part.name.replace("part", "shard")).with_suffix(".arrow").stat().st_ino for part in parts}
    verified(asrctl(*words, "--json").result)
    made = {path.stat().st_ino for path in (workspace / "prepared").rglob("train/shard-*.arrow")}
    assert kept and kept <= made, "what was whole was not done again"


def test_ctrl_c_in_the_middle_of_eval(asrctl, tones: Path) -> None:
    words = ["eval", "--device", "cpu", "--split", "train", "--batch-s", "0.1"]
    error = interrupted(words, tones, "/hypotheses.part")
    assert error["kind"] == "interrupted"
    assert not list((tones / "evals").glob("*")) and not folders(tones / ".tmp", "evals-*")
    verified(asrctl(*words, "--json").result)


@pytest.mark.parametrize("is_new_one_in_place", [False, True])
def test_killed_between_the_old_one_and_the_new_one(workspace: Path, is_new_one_in_place: bool) -> None:
    place, key = Workspace(workspace), Key("prepared", 1)
    with place.publish(key) as draft:
        (draft.path / "which").write_text("old", encoding="utf-8")
    os.rename(place.folder(key.kind, key.id), workspace / ".tmp" / f"replaced-prepared-{key.id}")
    if is_new_one_in_place:
        with place.publish(key) as draft:
            (draft.path / "which").write_text("new", encoding="utf-8")
    found = Workspace(workspace).find(key.kind, key.id)
    assert (found.path / "which").read_text(encoding="utf-8") == ("new" if is_new_one_in_place else "old")
    assert not folders(workspace / ".tmp", "*-*")


def test_one_at_work_is_not_disturbed(workspace: Path) -> None:
    place, key = Workspace(workspace), Key("prepared", 1)
    with place.publish(key) as draft:
        (draft.path / "which").write_text("old", encoding="utf-8")
    with place.publish(key, replace=True) as draft:
        (draft.path / "which").write_text("new", encoding="utf-8")
        aside = workspace / ".tmp" / f"replaced-prepared-{key.id}"
        os.rename(place.folder(key.kind, key.id), aside)
        assert Workspace(workspace).find(key.kind, key.id) is None
        assert aside.exists()
    assert (draft.published.path / "which").read_text(encoding="utf-8") == "new"
