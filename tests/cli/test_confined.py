"""What is written lies in the workspace and in the folder that was named; secrets are written nowhere."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from asrctl.storage.redact import redact, redact_values
from asrctl.storage.workspace import Workspace, valid_name

from ..helpers.program import copy_workspace, run_here
from ..helpers.tones import PRESET, write_corpus

pytestmark = pytest.mark.fault("a name, link or secret that leads elsewhere")


@pytest.fixture
def workspace(honest_workspace: Path) -> Path:
    return honest_workspace


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder that is not asrctl's business; the test fails if anything in it has changed."""
    path = tmp_path / "outside"
    (path / "inner").mkdir(parents=True)
    for name in ("kept.txt", ".half.1.tmp", "in-use.lock", "inner/shard-00000.arrow", "inner/meta.json"):
        (path / name).write_text("as it was", encoding="utf-8")
    before = everything(path)
    yield path
    assert everything(path) == before


def everything(folder: Path) -> Dict[str, Any]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


# -- names ------------------------------------------------------------------------------------------------------------

NAMES = (
    "../x",
    "/tmp/x",
    "a/b",
    "..",
    ".",
    "",
    ".hidden",
    "-x",
    "a\\b",
    "a\0b",
    "x" * 200,
    "é" * 100,
    "a\nb",
    "\ud800",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_can_not_lead_elsewhere(name: str, honest: Path, workspace: Path, outside: Path) -> None:
    corpus = honest / "corpus" / "tones.csv"
    for words in (
        ("prepare", "manifest", corpus, "--name", name),
        ("vocab", "manifest", corpus, "--name", name),
        ("train", "--preset", honest / "tones.yaml", "--run", name, "--max-steps", 1, "--device", "cpu"),
        ("train", "--resume", "--run", name),
        ("eval", "--run", name),
        ("eval", "--data", name, "--device", "cpu"),
        ("export", "--run", name),
    ):
        before = {path.name for path in workspace.parent.iterdir()}
        done = run_here(*words)
        assert done.exit_code in (2, 4, 5), (words, done.exit_code, done.stderr)
        assert {path.name for path in workspace.parent.iterdir()} == before


def test_ids_and_speakers_are_never_paths(tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [
        "../../outside/kept.txt",
        f"{outside}/kept.txt",
        "a\nb",
        "\x1b[2J\x1b]0;gone\x07",
        "con",
        "x" * 3000,
        "\u202eevil",
    ]
    write_corpus(tmp_path / "corpus", train=len(ids), held_out=2)
    rows = [
        {"path": f"{number:03d}.wav", "text": "abc", "id": name, "speaker": name, "split": "train"}
        for number, name in enumerate(ids)
    ]
    rows += [{"path": f"{len(ids):03d}.wav", "text": "abc", "id": "e", "split": "eval"}]
    rows += [{"path": "missing.wav", "text": "abc", "id": ids[3] + "!", "split": "train"}]
    listed = tmp_path / "corpus" / "list.jsonl"
    listed.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    monkeypatch.setenv("ASRCTL_WORKSPACE", str(tmp_path / "workspace"))
    run_here("prepare", "manifest", listed, "--max-rejects", 0.5).succeeded()
    refused = run_here("prepare", "manifest", listed, "--max-rejects", 0, "--name", "strict", "--force")
    assert refused.exit_code == 5 and "\x1b" not in refused.stderr + refused.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", "workspace", "outside"}


def test_every_name_that_is_allowed_fits_a_file_system(tmp_path: Path) -> None:
    for name in ("a", "x" * 150, "é" * 75, "ab.c+d_e-f"):
        (tmp_path / f".replaced-prepared-{valid_name(name)}.1234567.tmp").write_bytes(b"")


# -- links ------------------------------------------------------------------------------------------------------------

WRITERS = (
    ("prepare", "manifest", "CORPUS", "--name", "again", "--max-s", "19"),
    ("vocab", "manifest", "CORPUS", "--case", "upper"),
    ("train", "--preset", "PRESET", "--run", "next", "--max-steps", "1", "--device", "cpu"),
    ("train", "--resume", "--run", "r", "--max-steps", "3", "--device", "cpu"),
    ("train", "--preset", "PRESET", "--overwrite", "--run", "r", "--max-steps", "1", "--device", "cpu"),
    ("eval", "--run", "r", "--device", "cpu"),
    ("export", "--run", "r", "--format", "hf"),
    ("clean", "--yes"),
)
PLACES = (
    "prepared", "vocab", "manifests", "runs", "evals", "exports", "refs", "refs/prepared", ".tmp", "cache",
    "cache/stat", "runs/r", "runs/r/checkpoints", "runs/r/model", "runs/next", "runs/r/tensorboard",
)  # fmt: skip


@pytest.mark.parametrize("words", WRITERS, ids=lambda words: " ".join(words[:2]))
def test_nothing_is_written_through_a_link(words: Any, honest: Path, tmp_path: Path, outside: Path) -> None:
    known = {"CORPUS": str(honest / "corpus" / "tones.csv"), "PRESET": str(honest / "tones.yaml")}
    for number, place in enumerate(PLACES):
        workspace = copy_workspace(honest / "workspace", tmp_path / f"w{number}")
        path = workspace / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(str(path))
        path.symlink_to(outside / "inner" if number % 2 else outside, target_is_directory=True)
        done = run_here(*[known.get(word, word) for word in words], "--workspace", workspace)
        assert done.exit_code != 1, (place, done.stderr)


@pytest.mark.parametrize("words", WRITERS, ids=lambda words: " ".join(words[:2]))
def test_no_file_is_written_through_a_link(words: Any, honest: Path, tmp_path: Path, outside: Path) -> None:
    known = {"CORPUS": str(honest / "corpus" / "tones.csv"), "PRESET": str(honest / "tones.yaml")}
    workspace = copy_workspace(honest / "workspace", tmp_path / "w")
    for path in [path for path in workspace.rglob("*") if path.suffix in (".lock", ".jsonl", ".sqlite", ".json")]:
        if path.name in ("metrics.jsonl", "run.json", "stat.sqlite") or path.suffix == ".lock":
            kept = path.read_bytes()
            path.unlink()
            # What is read must still be good; what is only written is a stranger's file.
            target = outside / "kept.txt" if path.name != "run.json" else tmp_path / f"kept-{path.name}"
            if path.name == "run.json":
                target.write_bytes(kept)
            path.symlink_to(target)
    for name in ("scratch.lock", "run-r.lock", "run-next.lock", "prepared-000000000000.lock"):
        lock = workspace / ".tmp" / name
        if not lock.is_symlink():
            lock.symlink_to(outside / "kept.txt")
    before = [path.read_bytes() for path in tmp_path.glob("kept-*")]
    done = run_here(*[known.get(word, word) for word in words], "--workspace", workspace)
    assert done.exit_code != 1, done.stderr
    assert [path.read_bytes() for path in tmp_path.glob("kept-*")] == before


def test_unfinished_work_of_a_stranger_is_not_gone_on_with(honest: Path, tmp_path: Path, outside: Path) -> None:
    """Folders and names under .tmp that would move, fill or empty something else."""
    workspace = copy_workspace(honest / "workspace", tmp_path / "w")
    artifact = next((workspace / "prepared").iterdir())
    shutil.move(str(artifact), str(tmp_path / "aside"))
    (workspace / ".tmp" / f"prepared-{artifact.name}").symlink_to(outside)
    (workspace / ".tmp" / "scratch-old").symlink_to(outside)
    (workspace / ".tmp" / "scratch-older").mkdir()
    (workspace / ".tmp" / "scratch-older" / "in-use.lock").symlink_to(outside / "in-use.lock")
    for name in ("replaced-..-outside2", "replaced-runs-x", "replaced-...-y"):
        (workspace / ".tmp" / name).mkdir()
    (workspace / ".tmp" / "replaced-prepared-z").symlink_to(outside)
    words = ("manifest", honest / "corpus" / "tones.csv", "--name", "tones", "--preset", honest / "tones.yaml")
    done = run_here("prepare", *words, "--workspace", workspace)
    assert done.exit_code == 5, done.stderr
    run_here("status", "--workspace", workspace).succeeded()
    run_here("clean", "--yes", "--workspace", workspace)
    assert not (tmp_path / "outside2").exists() and not (tmp_path / "y").exists()


def test_the_workspace_itself_may_be_a_link(honest: Path, tmp_path: Path) -> None:
    copy_workspace(honest / "workspace", tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run_here("eval", "--device", "cpu", "--workspace", tmp_path / "link").succeeded()
    assert len(list((tmp_path / "real" / "evals").iterdir())) == 1


def test_an_export_is_only_copied_where_it_was_told(workspace: Path, tmp_path: Path, outside: Path) -> None:
    run_here("export", "--run", "r", "--format", "hf").succeeded()
    artifact = next((workspace / "exports").iterdir())
    for name in ("../../../outside/new", f"{outside}/new", "..", "sub/x"):
        sums = (artifact / "SHA256SUMS").read_text(encoding="utf-8")
        (artifact / "SHA256SUMS").write_text(f"{sums}{'0' * 64}  {name}\n", encoding="utf-8")
        done = run_here("export", "--run", "r", "--format", "hf", "--output", tmp_path / "out")
        assert done.exit_code == 5 and not (tmp_path / "out").exists()
        (artifact / "SHA256SUMS").write_text(sums, encoding="utf-8")


# -- --root -----------------------------------------------------------------------------------------------------------


def _corpora(folder: Path, outside: Path) -> Dict[str, List[Any]]:
    """Corpora whose audio, transcripts or lists lie outside `folder`, each in another way."""
    wav = write_corpus(outside.parent / "spoken", train=2, held_out=1).parent / "000.wav"
    shutil.copy(str(wav), str(outside.parent / "stolen.wav"))
    stolen = outside.parent / "stolen.wav"
    (outside.parent / "stolen.tar").write_bytes(b"")
    for name, row in {
        "absolute": str(stolen), "up": "../stolen.wav", "twisted": "sub/../../stolen.wav", "link": "link.wav",
        "folder-link": "away/stolen.wav", "archive": "link.tar::stolen.wav", "up-archive": "../stolen.tar::x.wav",
    }.items():  # fmt: skip
        (folder / f"{name}.csv").write_text(f"path,text\n{row},abc\n", encoding="utf-8")
    (folder / "link.wav").symlink_to(stolen)
    (folder / "away").symlink_to(outside.parent)
    (folder / "link.tar").symlink_to(outside.parent / "stolen.tar")
    lists = {path.stem: ["manifest", path] for path in folder.glob("*.csv")}
    for name, target in (("audio", "a.wav"), ("transcript", "a.txt"), ("listed", "metadata.csv")):
        inner = folder / "folders" / name
        inner.mkdir(parents=True)
        shutil.copy(str(wav), str(inner / "a.wav"))
        (inner / "a.txt").write_text("abc\n", encoding="utf-8")
        (inner / target).unlink() if (inner / target).exists() else None
        elsewhere = outside.parent / f"stolen-{target}"
        elsewhere.write_bytes(wav.read_bytes() if target == "a.wav" else b"file_name,text\na.wav,abc\n")
        (inner / target).symlink_to(elsewhere)
        lists[f"folder-{name}"] = ["folder", inner]
    for name in ("flac", "trans.txt"):
        chapter = folder / name / "dev-clean" / "1" / "2"
        chapter.mkdir(parents=True)
        (chapter / "1-2-0.flac").write_bytes(wav.read_bytes())
        (chapter / "1-2.trans.txt").write_text("1-2-0 ABC\n", encoding="utf-8")
        link = chapter / ("1-2-0.flac" if name == "flac" else "1-2.trans.txt")
        moved = outside.parent / f"stolen.{name}"
        shutil.move(str(link), str(moved))
        link.symlink_to(moved)
        lists[f"librispeech-{name}"] = ["librispeech", folder / name, "--train", "dev-clean"]
    return lists


def test_root_confines_every_corpus(tmp_path: Path, outside: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    corpora = _corpora(folder, outside)
    assert len(corpora) == 12
    for name, words in corpora.items():
        confined = run_here("prepare", *words, "--root", folder, "--workspace", tmp_path / "w", "--json")
        assert confined.exit_code == 5, (name, confined.stdout)
        told = confined.error["message"] + " ".join(confined.error["problems"])
        assert "--root" in told, (name, told)


def test_root_lets_its_own_pass(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", train=8, held_out=2)
    run_here("prepare", "manifest", corpus, "--root", tmp_path, "--workspace", tmp_path / "w").succeeded()
    done = run_here("prepare", "manifest", corpus, "--root", tmp_path / "w", "--workspace", tmp_path / "w")
    assert done.exit_code == 5


# -- secrets ----------------------------------------------------------------------------------------------------------

CANARY = "c4n4ry-s3cr3t-v4lu3"
SECRETS = {
    "HF_TOKEN": f"hf_{CANARY}", "HUGGING_FACE_HUB_TOKEN": f"{CANARY}-hub", "AWS_SECRET_ACCESS_KEY": f"{CANARY}/aws+=",
    "AWS_ACCESS_KEY_ID": f"AKIA{CANARY}", "WANDB_API_KEY": f"{CANARY}wandb", "PGPASSWORD": f"{CANARY} with spaces",
    "https_proxy": f"http://user:{CANARY}@127.0.0.1:9", "HTTP_PROXY": f"http://{CANARY}:x@127.0.0.1:9",
    "MY_SERVICE_SECRET": f'{CANARY}"quoted"', "GITHUB_TOKEN": f"ghp_{CANARY}", "NETRC_PASS": CANARY,
}  # fmt: skip


def test_secrets_in_the_environment_are_written_nowhere(
    honest: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """prepare, train (some fail), eval and export, with secrets in the environment and on the command line."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    corpus, preset = honest / "corpus" / "tones.csv", honest / "tones.yaml"
    link = f"description=from https://someone:{CANARY}@example.org/x?token={CANARY}"
    train = ("train", "--preset", preset, "--device", "cpu", "--max-steps", 2)
    shown = []
    for words in (
        ("vocab", "manifest", corpus),
        ("prepare", "manifest", corpus, "--name", "again", "--preset", preset, "--verbose"),
        (*train, "--run", "s", "--set", link),
        (*train, "--run", "s2", "--set", f"model.checkpoint=http://u:{CANARY}@h/m"),
        (*train, "--run", "s3", "--set", f"optim.seed={SECRETS['HF_TOKEN']}", "--json"),
        ("train", "--preset", f"/nowhere/{CANARY}.yaml"),
        ("eval", "--run", "s", "--device", "cpu"),
        ("export", "--run", "s", "--format", "hf", "--output", tmp_path / "out"),
        ("status",),
        ("status", "--json"),
        ("doctor",),
    ):
        # The program reads its own command line, to keep it with the run.
        monkeypatch.setattr("sys.argv", ["asrctl", *map(str, words)])
        done = run_here(*words)
        assert done.exit_code != 1, done.stderr
        shown.append(done.stdout + done.stderr)
    assert CANARY not in "".join(shown)
    command = json.loads((workspace / "runs" / "s" / "run.json").read_bytes())["command"]
    assert any("https://***@example.org" in word for word in command), command
    assert (tmp_path / "out" / "README.md").exists()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if "tfevents" in path.name] or not _has_tensorboard()
    assert not [path for path in written if CANARY.encode() in path.read_bytes()]


def _has_tensorboard() -> bool:
    import importlib.util

    return importlib.util.find_spec("tensorboard") is not None


def test_what_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
        assert CANARY not in redact(f"it says {value} there"), name
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false alarm")
    monkeypatch.setenv("SHORT_TOKEN", "true")
    plain = "false alarm: true, s3://bucket/key, https://host/a@b, user@host, 1e-4 = optim.learning_rate"
    assert redact(plain) == plain
    assert redact("hf_ABCDEFGHIJKLMNOPQRSTUV and AKIAABCDEFGHIJKLMNOP") == "*** and ***"
    assert redact_values({"a": [f"x {CANARY}", 1, None], "b": {"c": CANARY}}) == {
        "a": ["x ***", 1, None],
        "b": {"c": "***"},
    }


def test_a_password_with_a_slash_or_a_quote_is_shown_nowhere(
    asrctl, honest_workspace: Path, honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In errors, in run.json, in recipe.yaml, in the card, in the plan of a training."""
    secret = "k1s7" * 5
    link = f"https://me:{secret}/'x@example.org/data"
    preset = tmp_path / "told.yaml"
    described = f"made of {link} with glpat-{secret}"
    preset.write_text(json.dumps({**PRESET, "description": described}), encoding="utf-8")
    train = ["train", "--preset", str(preset), "--device", "cpu", "--max-steps", "2", "--run", "told"]
    monkeypatch.setattr("sys.argv", ["asrctl", *train, "--set", f"description={link}"])
    shown = [
        asrctl("prepare", "manifest", link, "--no-download"),
        asrctl("prepare", "folder", link, "--no-download", "--json"),
        asrctl("train", "--preset", f"{link}.yaml"),
        asrctl(*train, "--dry-run"),
        asrctl(*train).succeeded(),
        asrctl("export", "--run", "told", "--format", "hf", "--output", tmp_path / "out").succeeded(),
    ]
    assert not [done for done in shown if secret in done.stdout + done.stderr]
    kept = [*(honest_workspace / "runs" / "told").rglob("*"), *(tmp_path / "out").rglob("*")]
    assert not [path for path in kept if path.is_file() and secret.encode() in path.read_bytes()]


def test_what_is_written_is_for_its_owner_as_the_mask_says(honest: Path, tmp_path: Path) -> None:
    """No file is made more open than the user's mask allows."""
    before = os.umask(0o077)
    try:
        run_here("vocab", "manifest", honest / "corpus" / "tones.csv", "--workspace", tmp_path / "w").succeeded()
    finally:
        os.umask(before)
    open_ones = [path for path in (tmp_path / "w").rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert not open_ones
    assert Workspace(tmp_path / "w").names("vocab")
