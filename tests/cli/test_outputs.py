"""What a command writes to, replaces or deletes: never what asrctl did not write."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from asrctl.errors import UsageError
from asrctl.export import delivery
from asrctl.storage import checksums
from asrctl.storage.workspace import Workspace

from ..helpers.program import Result, run_here

pytestmark = pytest.mark.fault("somebody's file where a command writes or deletes")

IPU = {"layers_per_ipu": [3, 4, 4, 3], "replication_factor": 1, "gradient_accumulation_steps": 16}


@pytest.fixture
def place(honest_workspace: Path, in_folder: Path) -> Path:
    """The folder with `workspace`, a file and folders of somebody; the test fails where any of that is gone."""
    for name in ("results", "full/deep"):
        (in_folder / name).mkdir(parents=True)
        (in_folder / name / "thesis.txt").write_text("ten years of work", encoding="utf-8")
    (in_folder / "file.txt").write_text("mine", encoding="utf-8")
    (in_folder / "ipu_config.json").write_text(json.dumps(IPU), encoding="utf-8")
    for name, leads in {"gone": "nowhere/..", "circle": "circle", "bent": "nope/../results", "way": "file.txt"}.items():
        (in_folder / name).symlink_to(leads)
    (in_folder / "link").symlink_to("results")
    return in_folder


def everything(folder: Path) -> Dict[str, Any]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = os.readlink(str(path)) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return {name: data for name, data in found.items() if "/.tmp" not in name}


def refused(place: Path, *words: Any, code: int = 2) -> Result:
    """A command that says why in a sentence, and changes nothing; the lock of who looked may be left."""
    before = everything(place)
    done = run_here(*words, "--json")
    assert done.exit_code == code, (words, done.stdout, done.stderr)
    assert done.error["message"] and done.error["fix"] and "Traceback" not in done.stderr
    assert everything(place) == before, words
    return done


# -- paths that the system does not know ------------------------------------------------------------------------------

NOWHERE = (
    "build/../results",
    "build/deep/../../results",
    "results/new/../thesis",
    "file.txt/../full",
    "full/thesis/../../results",
    "nope/../workspace",
    "file.txt/new",
    "gone/x",
    "gone",
    "bent",
    "bent/deep",
    "circle",
    "circle/x",
    "way/../results",
    "/dev/null/x",
    "x" * 256,
    "new/" + "é" * 128,
    "x" * 300 + "/../results",
    "y/" * 2200,
)
WRITERS: Dict[str, Callable[[str], List[Any]]] = {
    "export": lambda path: ["export", "--output", path],
    "export --force": lambda path: ["export", "--force", "--output", path],
    "export --dry-run": lambda path: ["export", "--dry-run", "--output", path],
    "presets import": lambda path: ["presets", "import", "ipu_config.json", "--force", "--output", path],
    "plan": lambda path: ["plan", "--preset", "base-4ipu", "--png", path],
    "prepare demo": lambda path: ["prepare", "demo", path],
    "vocab demo": lambda path: ["vocab", "demo", path],
    "status": lambda path: ["status", "--workspace", path],
    "clean": lambda path: ["clean", "--yes", "--workspace", path],
    "train": lambda path: ["train", "--preset", "tiny-cpu", "--workspace", path],
    "prepare": lambda path: ["prepare", "folder", "results", "--workspace", path],
}


@pytest.mark.parametrize("writer", list(WRITERS))
def test_a_path_that_the_system_does_not_know_is_no_other_one(place: Path, writer: str) -> None:
    for path in NOWHERE:
        refused(place, *WRITERS[writer](path))


def test_a_path_that_it_knows_is_used(place: Path) -> None:
    for path in ("full/../new", "full/deep/../../newer/./deep", "./workspace/../newest", "link/../last"):
        run_here("export", "--output", path).succeeded()
        assert (place / path / "SHA256SUMS").is_file()
    # As the system goes, behind the link: not where the letters seem to lead.
    assert (place / "last").is_dir()
    run_here("presets", "import", "ipu_config.json", "--output", "full/../presets/mine.yaml").succeeded()
    assert (place / "presets" / "mine.yaml").is_file()


# -- export ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["workspace", ".", "..", "/", "workspace/runs/r/model", "workspace/exports/x", "workspace/.tmp/x",
     "workspace/cache", "workspace/Runs/new", "workspace/workspace.json", "results", "link", "full", "file.txt"],
)  # fmt: skip
def test_no_export_takes_the_place_of_anything_else(place: Path, path: str) -> None:
    for words in ((), ("--force",), ("--dry-run", "--force")):
        refused(place, "export", "--output", path, *words)


def test_what_is_in_an_export_is_looked_at(place: Path) -> None:
    run_here("export", "--output", "out").succeeded()
    run_here("export", "--output", "out", "--force").succeeded()
    for name, text in {"README.md": "my own words", "notes.txt": "mine", ".git/HEAD": "ref: refs/heads/main"}.items():
        kept = (place / "out" / name).read_bytes() if (place / "out" / name).exists() else None
        (place / "out" / name).parent.mkdir(exist_ok=True)
        (place / "out" / name).write_text(text, encoding="utf-8")
        assert "out" in refused(place, "export", "--output", "out", "--force").error["message"]
        (place / "out" / name).unlink() if kept is None else (place / "out" / name).write_bytes(kept)
    (place / "out" / ".git").rmdir()
    (place / "out" / ".DS_Store").write_bytes(b"a file manager's")
    run_here("export", "--output", "out", "--force").succeeded()


@pytest.mark.parametrize("card", ["# Results\n\nMade with asrctl.\n", "---\ntags: [speech]\n---\nasrctl\n"])
def test_a_folder_with_sums_of_its_own_is_no_export(place: Path, card: str) -> None:
    (place / "results" / "README.md").write_text(card, encoding="utf-8")
    (place / "results" / "thesis.txt").rename(place / "results" / "model.safetensors")
    checksums.write_sums(place / "results")
    refused(place, "export", "--output", "results", "--force")


def test_a_model_is_not_replaced_by_its_own_export(place: Path) -> None:
    run_here("export", "--output", "out").succeeded()
    for path in ("out", "out/onnx", "."):
        words = ("--format", "hf", "--model", "out", "--output", path, "--force")
        refused(place, "export", *words, "--workspace", place / "workspace")


def test_what_came_meanwhile_is_not_replaced(place: Path) -> None:
    """Between the check, before the work, and the moment of writing somebody uses the folder."""
    workspace = Workspace(place / "workspace")
    run_here("export", "--output", "out").succeeded()
    source = next((place / "workspace" / "exports").iterdir())
    free = delivery.find_target(workspace, Path("new"), force=True)
    earlier = delivery.find_target(workspace, Path("out"), force=True)
    (place / "new").mkdir()
    for name in ("new", "out"):
        (place / name / "thesis.txt").write_text("ten years of work", encoding="utf-8")
    before = everything(place)
    for target in (free, earlier):
        with pytest.raises(UsageError, match="no export wrote"):
            delivery.deliver(source, target)
    (place / "out").rename(place / "moved")
    (place / "out").symlink_to("results")
    with pytest.raises(UsageError, match="has become a link"):
        delivery.deliver(source, earlier)
    (place / "out").unlink()
    (place / "moved").rename(place / "out")
    assert everything(place) == before


@pytest.mark.parametrize("ending", ["asrctl-tmp", "asrctl-old", "asrctl-new"])
def test_what_lies_at_our_hidden_names_is_looked_at_too(place: Path, ending: str) -> None:
    (place / f".out.{ending}").mkdir()
    (place / f".out.{ending}" / "thesis.txt").write_text("mine", encoding="utf-8")
    before = everything(place / f".out.{ending}")
    done = run_here("export", "--output", "out", "--json")
    assert done.exit_code == 2 and f".out.{ending}" in done.error["message"]
    assert everything(place / f".out.{ending}") == before and not (place / "out").exists()


@pytest.mark.parametrize("name", ["x" * 246, "é" * 127, "x" * 255])
def test_a_name_that_leaves_no_room_for_hidden_ones(place: Path, name: str) -> None:
    for force in ((), ("--force",)):
        run_here("export", "--output", name, *force).succeeded()
        assert (place / name / "SHA256SUMS").is_file()
    picture = name[: 250 - len(name.encode()) + len(name)] + ".yaml"
    run_here("presets", "import", "ipu_config.json", "--output", picture).succeeded()
    assert not [path for path in place.iterdir() if path.name.startswith(".")]


def test_the_folder_one_stands_in_is_filled_and_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "here").mkdir()
    inode = (place / "here").stat().st_ino
    monkeypatch.chdir(place / "here")
    run_here("export", "--output", ".").succeeded()
    assert (place / "here").stat().st_ino == inode
    assert run_here("export", "--output", ".", "--json").result["unchanged"]
    (place / "here" / "config.json").write_text("{}", encoding="utf-8")
    refused(place, "export", "--output", ".")
    run_here("export", "--output", ".", "--force").succeeded()
    delivery.check(place / "here")
    (place / "here" / "thesis.txt").write_text("mine", encoding="utf-8")
    refused(place, "export", "--output", ".", "--force")


# -- files -------------------------------------------------------------------------------------------------------------


def test_only_a_preset_is_replaced_by_a_preset(place: Path) -> None:
    words = ("presets", "import", "ipu_config.json", "--force", "--output")
    (place / "empty.yaml").write_text("", encoding="utf-8")
    (place / "plays.yaml").write_text("name: deploy\nhosts: all\n", encoding="utf-8")
    for path in (
        "file.txt", "results/thesis.txt", "results", "way", "ipu_config.json", "empty.yaml", "plays.yaml", "/dev/null",
        "workspace/runs/r/recipe.yaml", "workspace/refs/prepared/tones.json", "workspace/workspace.json", "workspace",
    ):  # fmt: skip
        refused(place, *words, path)
    for _ in range(2):  # the same one again is no change
        run_here(*words[:3], "--output", "mine.yaml").succeeded()
    (place / "mine.yaml").write_text("extends: base-4ipu\noptim: {epochs: 7}\n", encoding="utf-8")
    refused(place, *words[:3], "--output", "mine.yaml")
    run_here(*words, "mine.yaml").succeeded()
    run_here(*words, "workspace/presets/mine.yaml").succeeded()


def test_only_our_picture_is_replaced_by_a_picture(place: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ("plan", "--preset", "base-4ipu", "--png")
    (place / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2000))
    for path in ("file.txt", "results", "photo.png", "/dev/null", "workspace/cache/x.png"):
        refused(place, *words, path)
    for _ in range(2):
        run_here(*words, "new/plan.png").succeeded()


def test_a_corpus_is_made_in_no_folder_of_somebody(place: Path) -> None:
    (place / "half").mkdir()
    (place / "half" / "corpus.json").write_text('{"corpus": "demo", "unfinished": true}', encoding="utf-8")
    (place / "half" / "train").symlink_to("../results")
    for path in ("results", "file.txt", "workspace", "workspace/runs", "workspace/cache/demo", ".", "full/..", "link"):
        refused(place, "prepare", "demo", path)
        refused(place, "prepare", "demo", path, "--dry-run")
    assert "is a link" in refused(place, "prepare", "demo", "half", code=5).error["message"]


# -- what lies in the workspace ---------------------------------------------------------------------------------------


def artifact(workspace: Path, kind: str) -> Path:
    return next((workspace / kind).iterdir())


@pytest.mark.parametrize(
    "where", ["", "model", "checkpoints", "checkpoints/step-00000002", "start", "new", "tensorboard"]
)
def test_a_run_that_holds_something_else_is_not_replaced(place: Path, honest: Path, where: str) -> None:
    folder = place / "workspace" / "runs" / "r" / where
    folder.mkdir(exist_ok=True)
    (folder / "thesis.txt").write_text("mine", encoding="utf-8")
    for words in (("--run", "r"), ("--run", "r", "--dry-run")):
        told = refused(place, "train", "--preset", honest / "tones.yaml", "--device", "cpu", "--overwrite", *words)
        assert where in told.error["message"] and "--run" in told.error["fix"]
    (place / "workspace" / "runs" / "other").mkdir()
    (place / "workspace" / "runs" / "other" / "run.txt").write_text("mine", encoding="utf-8")
    refused(place, "train", "--preset", honest / "tones.yaml", "--device", "cpu", "--overwrite", "--run", "other")


def test_an_artifact_that_holds_something_else_is_not_replaced(place: Path, honest: Path) -> None:
    corpus, workspace = honest / "corpus" / "tones.csv", place / "workspace"
    commands = {
        "prepared": ("prepare", "manifest", corpus, "--name", "tones", "--preset", honest / "tones.yaml"),
        "evals": ("eval", "--run", "r", "--device", "cpu"),
        "exports": ("export", "--run", "r"),
    }
    for kind, words in commands.items():
        run_here(*words).succeeded()
        (artifact(workspace, kind) / "thesis.txt").write_text("mine", encoding="utf-8")
        done = run_here(*words, "--force", "--json")
        assert done.exit_code == 2 and "thesis.txt" in done.error["message"], done.stdout
        assert str(artifact(workspace, kind)) in done.error["message"]
        assert (artifact(workspace, kind) / "thesis.txt").read_text(encoding="utf-8") == "mine"
        (artifact(workspace, kind) / "thesis.txt").unlink()
        run_here(*words, "--force").succeeded()


def test_clean_leaves_what_holds_something_else(place: Path) -> None:
    """Artifacts that nothing leads to, caches, checkpoints and halves: each with a file of somebody in it."""
    workspace = place / "workspace"
    for path in (workspace / "refs").rglob("*.json"):
        path.unlink()
    info = json.loads((workspace / "runs" / "r" / "run.json").read_text(encoding="utf-8"))
    del info["inputs"]
    (workspace / "runs" / "r" / "run.json").write_text(json.dumps(dict(info, data={"name": "x", "id": "y"}, inputs={})))
    places = [
        artifact(workspace, "prepared"),
        workspace / "vocab" / "0123456789ab",
        workspace / "cache" / "features" / "0123456789ab",
        workspace / "cache" / "stat",
        workspace / "cache" / "demo" / "train",
        workspace / "cache" / "librispeech",
        workspace / "cache" / "folder",
        workspace / ".tmp" / "mine",
        workspace / "runs" / "mine" / ".draft.tmp",
        workspace / "runs" / "r" / ".model.tmp",
        workspace / "runs" / ".r.old",
        workspace / "prepared" / "mine",
    ]
    for folder in places:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "thesis.txt").write_text("mine", encoding="utf-8")
    for path in (".tmp/mine.txt", "downloads/.mine.tmp", "runs/mine/.mine.json.tmp"):
        (workspace / path).parent.mkdir(exist_ok=True)
        (workspace / path).write_text("mine", encoding="utf-8")
    done = run_here("clean", "--yes", "--json").succeeded()
    assert all((folder / "thesis.txt").exists() for folder in places)
    assert all((workspace / path).exists() for path in (".tmp/mine.txt", "downloads/.mine.tmp"))
    assert str(places[0]) in done.result["kept"] and "thesis.txt" in done.stderr
    for folder in places:
        (folder / "thesis.txt").unlink()
    run_here("clean", "--yes").succeeded()
    gone = [folder for folder in places if not folder.exists()]
    assert len(gone) == 7, gone


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["语音识别训练数据集" * 7, "हिंदी भाषण " * 3, "x" * 200, "é" * 120, '🎤 grüße "q" $x'])
@pytest.mark.parametrize("command", ["prepare", "vocab"])
def test_a_long_name_of_a_corpus_is_shortened(honest: Path, in_folder: Path, name: str, command: str) -> None:
    corpus = in_folder / f"{name}.csv"
    text = (honest / "corpus" / "tones.csv").read_text(encoding="utf-8").splitlines()
    lines = [text[0], *(f"{honest / 'corpus'}/{line}" for line in text[1:24])]
    corpus.write_text("\n".join(lines), encoding="utf-8")
    result = run_here(command, "manifest", corpus.name, "--workspace", "w", "--json").succeeded().result
    assert len(result["name"].encode()) <= 150
    assert result["name"] in Workspace(Path("w")).names("prepared" if command == "prepare" else "vocab")


def test_a_name_that_was_given_is_refused_before_any_work(honest: Path, in_folder: Path) -> None:
    for command in ("prepare", "vocab"):
        words = ("manifest", honest / "corpus" / "tones.csv", "--name", "语" * 51)
        assert run_here(command, *words, "--workspace", "w", "--json").exit_code == 2
        assert not (in_folder / "w").exists()
