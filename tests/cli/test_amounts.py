"""Numbers in messages: 1 utterance and 2 utterances, sizes in fitting units, and a learning rate that may be 0."""

from __future__ import annotations

import json
import re

import pytest

from asrctl.cli import progress
from asrctl.events import StepDone
from asrctl.messages import amounts

from ..helpers.program import run_here
from ..helpers.tones import PRESET, write_corpus

# "1 errors"; not "21 errors", nor "0.1 errors", nor a name such as "1 s" or "this".
ONE_OF_MANY = re.compile(r"(?<![\d.,/x-])1 (?!is\b|has\b|ss\b)[a-z]{2,}s\b")
NOTHING = re.compile(r"(?<![\d.])0\.0+ (?:[kMGT]?B)\b")


@pytest.mark.parametrize(
    ("num_bytes", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (40_000, "40.0 kB"), (999_600, "1.0 MB"), (1.5e9, "1.5 GB")],
)
def test_a_size_is_in_the_unit_that_fits(num_bytes: float, shown: str) -> None:
    assert amounts.size(num_bytes) == shown


def test_a_noun_goes_with_its_number() -> None:
    assert [amounts.count(number, "entry", "entries") for number in (0, 1, 2)] == ["0 entries", "1 entry", "2 entries"]
    assert [amounts.noun(number, "error") for number in (1.0, 1.5, 11)] == ["error", "errors", "errors"]
    assert [progress.amount(1, total, "steps") for total in (1, 2)] == ["1 of 1 step", "1 of 2 steps"]
    assert progress.amount(1, None, "utterances") == "1 utterance" and progress.amount(1, 1, "s") == "1 of 1 s"


def test_a_learning_rate_of_0_is_told_as_warm_up_where_it_is_one(capsys) -> None:
    shown = progress.Display(verbose=False)
    for step, rate in ((1, 0.0), (100, 0.0)):
        shown.show(StepDone(step, 100, {"loss": 2.0, "lr": rate}))
    first, last = capsys.readouterr().err.splitlines()
    assert "lr 0 (warm-up)" in first and "lr 0" in last and "warm-up" not in last


def test_one_of_everything_is_told_as_one(in_folder, monkeypatch) -> None:
    """A corpus of one utterance to learn and one to evaluate, through every stage."""
    monkeypatch.setenv("ASRCTL_WORKSPACE", "W")
    manifest = write_corpus(in_folder / "corpus", train=1, held_out=1)
    (in_folder / "tones.yaml").write_text(json.dumps(PRESET), encoding="utf-8")
    few = ("--preset", "tones.yaml", "--max-steps", 1, "--device", "cpu")
    told = []
    for words in (
        ("vocab", "manifest", manifest, "--splits", "train,eval"),
        ("prepare", "manifest", manifest, "--preset", "tones.yaml", "--dry-run"),
        ("prepare", "manifest", manifest, "--preset", "tones.yaml"),
        ("train", *few, "--dry-run"),
        ("train", *few),
        ("train", "--resume", "--device", "cpu"),
        ("eval", "--dry-run", "--device", "cpu"),
        ("eval", "--device", "cpu"),
        ("export", "--dry-run"),
        ("export",),
        ("status",),
        ("clean",),
        ("doctor",),
    ):
        done = run_here(*words)
        told += [f"{words[0]}: {line}" for line in f"{done.stdout}\n{done.stderr}".splitlines()]
        if words[0] != "doctor":
            done.succeeded()
    wrong = [line for line in told if ONE_OF_MANY.search(line) or NOTHING.search(line)]
    assert not wrong, wrong
    assert any("disk: " in line and "1 checkpoint " in line for line in told if line.startswith("train"))


def test_a_run_says_what_it_keeps_and_clean_what_it_frees(tones, learned_tones) -> None:
    words = ("--set", "run.save_every=1", "--set", "run.keep=3", "--max-steps", 3, "--device", "cpu", "--run", "kept")
    done = run_here("train", "--preset", learned_tones.parent / "tones.yaml", *words).succeeded()
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("disk: ")]
    freed = re.search(r"; asrctl clean checkpoints --yes .*frees (\S+ \S+) of this run", line)
    assert freed and "model " in line and "checkpoints " in line
    shown = run_here("clean", "--json").result
    assert sum(shown["bytes_by_kind"].values()) == shown["bytes"]
    of_run = sum(item["bytes"] for item in shown["removable"] if "/kept/" in item["path"])
    assert amounts.size(of_run) == freed.group(1)
    (tones / "cache" / "ipu").mkdir(parents=True)
    (tones / "cache" / "ipu" / "x").write_bytes(b"x" * 5000)
    assert re.search(r"can go \(checkpoints \S+ \S+, cache \S+ \S+\); ", run_here("clean").stdout)
