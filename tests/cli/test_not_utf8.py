"""Names that are not UTF-8: recordings, lists, presets and corpora may have them; where libraries write, none may."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, List

import pytest
import yaml

from ..helpers.program import Result, copy_workspace, run_here
from ..helpers.tones import PRESET, write_corpus

IPU = {"layers_per_ipu": [3, 4, 4, 3], "replication_factor": 1, "gradient_accumulation_steps": 16}
ODD = os.fsdecode(b"b\xe4d")  # Latin-1


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of such a name, with a preset, a list of recordings, and a corpus whose files have such names too."""
    folder = tmp_path_factory.mktemp("names") / ODD
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    (folder / f"{ODD}.yaml").write_text(yaml.safe_dump(dict(PRESET, optim={"max_steps": 2})), encoding="utf-8")
    write_corpus(folder.parent / "list", train=8, held_out=4)  # soundfile itself takes no such path
    (folder.parent / "list").rename(folder / "list")
    for number, path in enumerate(sorted((folder / "list").glob("*.wav"))):
        split = folder / "folder" / ("eval" if number > 8 else "train") / ODD
        split.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(path), str(split / f"{ODD}{number}.wav"))
        (split / f"{ODD}{number}.txt").write_text("ab c", encoding="utf-8")
    return folder


@pytest.mark.parametrize("corpus", ["folder", "manifest"])
def test_every_stage_of_such_a_corpus(odd: Path, workspace: Path, corpus: str) -> None:
    source = odd / ("list/tones.csv" if corpus == "manifest" else "folder")
    preset = ("--preset", odd / f"{ODD}.yaml")
    run_here("vocab", corpus, source, "--json").succeeded()
    told = run_here("prepare", corpus, source, *preset, "--name", "data", "--json").result
    assert {split: found["rejected"] for split, found in told["splits"].items()} == {"train": 0, "eval": 0}
    assert run_here("prepare", corpus, source, *preset, "--name", "data", "--json").result["id"] == told["id"]
    run_here("train", *preset, "--device", "cpu", "--run", "r").succeeded()
    rows = Path(run_here("eval", "--run", "r", "--device", "cpu", "--json").result["hypotheses"])
    assert len([json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]) > 2
    run_here("export", "--run", "r", "--format", "hf").succeeded()
    state = run_here("status", "--json").result
    assert {item["state"] for item in state["items"]} == {"done", "complete"}, state["items"]
    changed = sorted(source.rglob("*.txt"))[0] if corpus == "folder" else source
    with open(changed, "a", encoding="utf-8") as stream:
        stream.write("\n")
    stale = next(item for item in run_here("status", "--json").result["items"] if item["stage"] == "prepare")
    assert stale["state"] == "stale" and ODD in stale["why"]


def test_rejects_and_mistakes_are_told(odd: Path, workspace: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(str(odd / "folder"), str(tmp_path / ODD))
    (Path(folder) / "train" / ODD / f"{ODD}0.wav").write_bytes(b"no sound")
    told = run_here("prepare", "folder", folder, "--max-rejects", "0.5", "--json").result
    rejects = (Path(told["path"]) / "train" / "rejects.jsonl").read_text(encoding="utf-8")
    assert json.loads(rejects)["id"] == r"train/b\xe4d/b\xe4d0.wav"
    (tmp_path / f"{ODD}.yaml").write_text("optim: {epochs: -1}", encoding="utf-8")
    for words in (
        ("prepare", "folder", tmp_path / ODD / "missing"),
        ("prepare", "manifest", tmp_path / f"{ODD}.csv"),
        ("presets", "check", tmp_path / f"{ODD}.yaml"),
        ("train", "--preset", ODD),
        ("eval", "--run", ODD),
        ("eval", "--model", ODD),
        ("prepare", "folder", folder, "--name", ODD),
    ):
        done = run_here(*words, "--json")
        assert done.exit_code in (2, 3, 4, 5), done
        assert done.error["message"] and done.error["fix"] and "Traceback" not in done.stderr


def test_files_of_ours_may_lie_at_such_paths(odd: Path, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / ODD).mkdir()
    (tmp_path / ODD / "ipu_config.json").write_text(json.dumps(IPU), encoding="utf-8")
    made = tmp_path / ODD / f"{ODD}.yaml"
    for force in ((), ("--force",)):
        run_here("presets", "import", tmp_path / ODD / "ipu_config.json", "--output", made, *force).succeeded()
    run_here("presets", "check", made, "--json").succeeded()
    run_here("presets", "show", odd / f"{ODD}.yaml", "--json").succeeded()


def refused(*words: Any) -> Result:
    done = run_here(*words, "--json")
    assert done.exit_code == 2, done
    assert "is not UTF-8" in done.error["message"] and "rename that folder" in done.error["fix"], done
    assert "Traceback" not in done.stderr
    return done


def everything(folder: Path) -> List[Path]:
    return sorted(folder.rglob("*"))


def test_no_workspace_lies_at_such_a_path(
    odd: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / ODD
    copy_workspace(tones, place / "workspace")
    (tmp_path / "link").symlink_to(place)
    before = everything(place)
    commands = (
        ("prepare", "folder", odd / "folder"), ("vocab", "folder", odd / "folder"), ("status",), ("clean", "--yes"),
        ("train", "--preset", "tiny-cpu"), ("eval",), ("export",), ("demo",),
    )  # fmt: skip
    for words in commands:
        refused(*words, "--workspace", place / "workspace")
    for path in (place / "new", tmp_path / "link" / "workspace"):
        refused("status", "--workspace", path)
    checks = run_here("doctor", "--workspace", place / "workspace", "--json").json["result"]["checks"]
    assert next(check for check in checks if check["name"] == "workspace")["state"] == "fail"
    monkeypatch.chdir(place)
    refused("prepare", "folder", odd / "folder", "--workspace", "asr-workspace")
    assert everything(place) == before


def test_no_model_lies_at_such_a_path(tones: Path, tmp_path: Path) -> None:
    for words in ((), ("--dry-run",)):
        refused("export", "--run", "learned", "--output", tmp_path / ODD, *words)
    assert not (tmp_path / ODD).exists()
    shutil.copytree(str(tones / "runs" / "learned" / "model"), str(tmp_path / ODD))
    for more in ((), ("--dry-run",)):
        refused("eval", "--model", tmp_path / ODD, "--device", "cpu", *more)
        refused("export", "--model", tmp_path / ODD, *more)
    checkpoint = f"model.checkpoint={tmp_path / ODD}"
    done = run_here("train", "--preset", "base-100h", "--set", checkpoint, "--device", "cpu", "--json")
    assert done.exit_code == 3 and "Traceback" not in done.stderr, done
