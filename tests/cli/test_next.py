"""The command that each stage says comes next: it is typed here as it was printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest

from ..helpers.corpora import corpus, plain_rows
from ..helpers.program import run_here
from ..helpers.typing_in import following, typed

PLACE = "my workspace"


@pytest.fixture(autouse=True)
def _workspace_by_option_only(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASRCTL_WORKSPACE", raising=False)


def small_corpus(folder: Path, splits: Dict[str, int]) -> Path:
    rows = [row for split, count in splits.items() for row in plain_rows(count, split)]
    return corpus(folder / "a corpus", rows, seconds=0.5)


def test_what_vocab_says_uses_the_vocabulary(in_folder: Path) -> None:
    path = small_corpus(in_folder, {"alpha": 8, "beta": 4, "train": 2})
    options = ("--name", "foo", "--remove", "o", "--train", "alpha", "--eval", "beta", "--root", in_folder, "-w", PLACE)
    done = run_here("vocab", "manifest", path, *options)
    prepared = typed(done, "--json")
    assert prepared.result["name"] == "foo"
    assert "using the vocabulary foo" in prepared.stderr
    assert {name: split["utterances"] for name, split in prepared.result["splits"].items()} == {"train": 8, "eval": 4}
    assert "--root" in following(done)


@pytest.mark.parametrize("more", [(), ("--remove", "o"), ("--case", "upper", "--pad", "<pad>"), ("--splits", "train")])
def test_a_preset_goes_on_unless_it_would_contradict_the_vocabulary(in_folder: Path, more: Any) -> None:
    (in_folder / "mine.yaml").write_text(
        "name: mine\ntext: {case: lower, remove: a, pad: '[P]', vocab_splits: [train, eval]}\n", encoding="utf-8"
    )
    path = small_corpus(in_folder, {"train": 8, "dev": 4})
    done = run_here("vocab", "manifest", path, "--preset", "mine.yaml", *more, "-w", PLACE)
    assert ("--preset" in following(done)) == (not more)
    prepared = typed(done, "--json")
    assert "using the vocabulary utterances" in prepared.stderr and prepared.result["new"]


def test_what_vocab_says_finds_the_splits_of_librispeech(librispeech: Path) -> None:
    done = run_here("vocab", "librispeech", librispeech, "--train", "test-other", "--no-download", "-w", PLACE)
    assert typed(done, "--dry-run", "--json").result["splits"]["train"]["sources"] == ["test-other"]


def test_the_whole_way_is_as_it_was_told(in_folder: Path) -> None:
    path = small_corpus(in_folder, {"train": 8, "dev": 4})
    words = ("prepare", "manifest", str(path), "-w", PLACE)
    prepared = run_here(*words)
    assert following(run_here("status", "-w", PLACE)) == following(prepared)
    few = ("--max-steps", 1, "--device", "cpu")
    trained = typed(prepared, *few)
    assert following(trained) == ["eval", "--run", "tiny-cpu", "--workspace", PLACE]
    assert following(run_here("status", "-w", PLACE)) == following(trained)
    evaluated = typed(trained, "--device", "cpu")
    assert following(evaluated) == ["export", "--run", "tiny-cpu", "--format", "hf", "--workspace", PLACE]
    assert following(run_here("status", "-w", PLACE)) == following(evaluated)
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert typed(run_here("status", "-w", PLACE), "--json").result["name"] == "utterances"


@pytest.mark.parametrize("splits", [{"train": 1}, {"train": 1, "test": 1}])
def test_nobody_is_sent_to_evaluate_on_a_split_that_is_not_there(in_folder: Path, splits: Dict[str, int]) -> None:
    run_here("prepare", "manifest", small_corpus(in_folder, splits), "-w", PLACE).succeeded()
    few = ("--max-steps", 1, "--device", "cpu")
    trained = run_here("train", "--preset", "tiny-cpu", *few, "-w", PLACE)
    told = ["eval", "--run", "tiny-cpu", "--split", "test"] if "test" in splits else []
    told = told or ["export", "--run", "tiny-cpu", "--format", "hf"]
    assert following(trained) == [*told, "--workspace", PLACE]
    assert following(run_here("status", "-w", PLACE)) == following(trained)
    if "test" in splits:
        typed(trained, "--device", "cpu").succeeded()


def test_the_default_workspace_needs_no_word(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_corpus(in_folder, {"train": 8, "dev": 4})
    assert following(run_here("vocab", "manifest", path)) == ["prepare", "manifest", str(path)]
    monkeypatch.setenv("ASRCTL_WORKSPACE", "elsewhere")
    words = following(run_here("vocab", "manifest", path, "--workspace", "asr-workspace"))
    assert words[-2:] == ["--workspace", "asr-workspace"], "the variable would mean another"
    run_here("prepare", "manifest", path).succeeded()
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    monkeypatch.delenv("ASRCTL_WORKSPACE")
    words = following(run_here("status", "-w", "elsewhere"))
    assert words == ["prepare", "manifest", str(path), "--workspace", "elsewhere"]
