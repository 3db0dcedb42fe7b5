"""A corpus without a split for training: prepared, evaluated with a model of other data, and never trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import numpy as np
import pytest
import soundfile

from ..helpers.corpora import corpus, plain_rows
from ..helpers.program import run_here
from ..helpers.tones import RATE, sound
from ..helpers.typing_in import following, next_lines, type_line, typed


def new_tones(folder: Path, splits: Tuple[str, ...] = ("test",), count: int = 12) -> Path:
    """Tones that `learned_tones` has not heard, in these splits."""
    generator = np.random.default_rng(7)
    rows = []
    folder.mkdir()
    for number in range(count):
        text = " ".join("".join(generator.choice(list("abc"), 2)) for _ in range(2))
        soundfile.write(str(folder / f"{number}.wav"), sound(text, generator), RATE)
        rows.append({"path": f"{number}.wav", "text": text, "split": splits[number % len(splits)]})
    return corpus(folder, rows)


@pytest.mark.parametrize("splits", [("test",), ("dev",), ("dev", "test")])
def test_a_model_of_other_data_is_evaluated_with_it(asrctl, tones: Path, tmp_path: Path, splits) -> None:
    path = new_tones(tmp_path / "new", splits)
    prepared = asrctl("prepare", "manifest", path, "--name", "new", "--preset", "tiny-cpu")
    assert "evaluation only" in prepared.stderr and "presets to train by" not in prepared.stdout
    assert following(prepared)[:3] == ["eval", "--data", "new"]
    evaluated = typed(prepared, "--device", "cpu", "--json").result
    assert (evaluated["data"]["name"], evaluated["run"]) == ("new", "learned")
    assert evaluated["split"] == ("eval" if "dev" in splits else "test")
    assert evaluated["utterances"] == 12 // len(splits)
    assert evaluated["wer"] < 0.5


def test_it_is_named_in_status_and_card(asrctl, tones: Path, tmp_path: Path) -> None:
    asrctl("prepare", "manifest", new_tones(tmp_path / "new"), "--name", "new").succeeded()
    before = asrctl("status")
    (line,) = [line for line in before.stdout.splitlines() if line.split()[:2] == ["prepare", "new"]]
    assert "test 12 utterances" in line and "for evaluation only" in line
    assert "eval --run learned --data new" in next_lines(before)[0]
    type_line(next_lines(before)[0], "--device", "cpu").succeeded()
    after = asrctl("status")
    assert not any("--data new" in line for line in next_lines(after))
    (line,) = [line for line in after.stdout.splitlines() if line.startswith("eval ")]
    assert "test, " in line and "of new" in line
    asrctl("export", "--run", "learned", "--output", tmp_path / "model").succeeded()
    assert "| new | test | 12 |" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")


def test_train_passes_it_over(asrctl, tones: Path, tmp_path: Path) -> None:
    asrctl("prepare", "manifest", new_tones(tmp_path / "new"), "--name", "new").succeeded()
    planned = asrctl("train", "--preset", "tiny-cpu", "--device", "cpu", "--dry-run", "--json")
    assert planned.result["data"]["name"] == "tones"
    for command in (("train", "--preset", "tiny-cpu", "--device", "cpu"), ("eval", "--split", "train")):
        failed = asrctl(*command, "--data", "new", "--json")
        assert failed.exit_code == 4
        assert "new is for evaluation only (it has test)" in failed.error["message"]
        assert "--data" in failed.error["fix"]


def test_a_workspace_with_nothing_else(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = new_tones(tmp_path / "new")
    prepared = asrctl("prepare", "manifest", path, "--name", "new")
    assert following(prepared)[:2] == ["prepare", "folder"] == following(asrctl("status"))[:2]
    failed = asrctl("train", "--preset", "tiny-cpu", "--device", "cpu", "--json")
    assert failed.exit_code == 4 and "data for evaluation only (new)" in failed.error["message"]
    assert asrctl("plan", "--preset", "base-4ipu").exit_code == 0
    assert run_here("clean").exit_code == 0


def test_a_folder_can_be_all_test(asrctl, tones: Path, learned_tones: Path, tmp_path: Path) -> None:
    new_tones(tmp_path / "new")
    for path in sorted((tmp_path / "new").glob("*.wav")):
        path.with_suffix(".txt").write_text("ab ca", encoding="utf-8")
    (tmp_path / "new" / "utterances.jsonl").unlink()
    done = asrctl("prepare", "folder", tmp_path / "new", "--test", "train", "--json").result
    assert {name: split["utterances"] for name, split in done["splits"].items()} == {"test": 12}
    model = learned_tones / "runs" / "learned" / "model"
    found = asrctl("eval", "--model", model, "--data", "new", "--device", "cpu", "--json").result
    assert (found["split"], found["utterances"]) == ("test", 12)


def test_librispeech_may_have_a_test_only(asrctl, librispeech: Path, workspace: Path) -> None:
    words = ("prepare", "librispeech", librispeech, "--test", "test-clean", "--no-download", "--json")
    assert set(asrctl(*words).result["splits"]) == {"eval", "test"}, "dev-clean is there too"


def test_a_vocabulary_of_it_is_that_of_its_texts(asrctl, tmp_path: Path) -> None:
    path = corpus(tmp_path / "corpus", plain_rows(4, "test"), seconds=0.3)
    assert asrctl("vocab", "manifest", path, "--json").result["splits"] == ["test"]
    assert asrctl("prepare", "manifest", path, "--json").result["new"]
