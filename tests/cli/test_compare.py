"""`asrctl compare`: files, runs and IDs; a planted regression is found, noise is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def write(path: Path, seed: int, rate: float, utterances: int = 200) -> Path:
    """Hypotheses in which a share of the words is wrong. References are always the same."""
    texts, wrong = np.random.default_rng(0), np.random.default_rng(seed)
    rows: List[str] = []
    for number in range(utterances):
        reference = list(texts.choice(WORDS, 8))
        hypothesis = ["zero" if wrong.random() < rate else word for word in reference]
        rows.append(
            json.dumps({"id": f"u{number}", "reference": " ".join(reference), "hypothesis": " ".join(hypothesis)})
        )
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hypotheses")
    for name, seed, rate in (("before", 1, 0.1), ("same", 2, 0.1), ("worse", 3, 0.2)):
        write(folder / f"{name}.jsonl", seed, rate)
    return folder


def test_a_planted_regression_is_found_and_fails_the_gate(files: Path, asrctl: Any) -> None:
    words = ("compare", files / "before.jsonl", files / "worse.jsonl", "--max-drop", 1)
    found = asrctl(*words, "--json").succeeded().result
    assert found["significant"] and found["difference"]["difference"] > 0.05 and found["gate"]["failed"]
    assert found["difference"]["wer_b"] == pytest.approx(0.2, abs=0.03)
    strict = asrctl(*words, "--strict")
    assert strict.exit_code == 8 and "and that is hardly chance" in strict.stdout and "beyond chance" in strict.stderr
    back = asrctl("compare", files / "worse.jsonl", files / "before.jsonl", "--max-drop", 1, "--strict")
    assert "is better" in back.succeeded().stdout


def test_noise_passes_and_a_small_test_set_is_called_one(files: Path, asrctl: Any) -> None:
    done = asrctl("compare", files / "before.jsonl", files / "same.jsonl", "--max-drop", 0.1, "--strict").succeeded()
    assert "no difference beyond chance" in done.stdout
    assert "too small to see a drop of 0.1 points" in done.stderr


def test_groups_and_what_turned(files: Path, asrctl: Any) -> None:
    found = asrctl("compare", files / "before.jsonl", files / "worse.jsonl", "--by", "length", "--json").result
    assert sum(each["utterances"] for each in found["groups"]["length"].values()) == 200
    assert found["difference"]["improved"] + found["difference"]["worsened"] >= len(found["turned"]) > 10
    first = found["turned"][0]
    assert abs(first["errors_b"] - first["errors_a"]) >= abs(
        found["turned"][-1]["errors_b"] - found["turned"][-1]["errors_a"]
    )


def test_markdown_for_a_pull_request(files: Path, asrctl: Any) -> None:
    lines = asrctl("compare", files / "before.jsonl", files / "worse.jsonl", "--md").succeeded().stdout.splitlines()
    assert lines[1].count("---") == 6 and all(line.count("|") == 7 for line in lines[:3])


def test_runs_and_ids(tones: Path, asrctl: Any) -> None:
    greedy = asrctl("eval", "--run", "learned", "--device", "cpu", "--json").result
    searched = asrctl("eval", "--run", "learned", "--device", "cpu", "--decoder", "beam", "--json").result
    found = asrctl("compare", greedy["id"], searched["id"], "--by", "speaker", "--by", "duration", "--json").result
    assert (found["a"]["id"], found["b"]["id"]) == (greedy["id"], searched["id"])
    assert found["difference"]["wer_a"] == pytest.approx(greedy["wer"])
    assert list(found["groups"]["speaker"]) == ["unknown"] and len(found["groups"]["duration"]) == 4
    same = asrctl("compare", "learned", greedy["id"], "--json")
    assert same.exit_code == 2 and "the same evaluation" in same.error["message"]


@pytest.mark.parametrize(
    "words, code, said",
    [
        (("nothing", "before.jsonl"), 4, "no evaluation of 'nothing'"),
        (("before.jsonl", "other.jsonl"), 5, "not of the same utterances"),
        (("before.jsonl", "changed.jsonl"), 5, "have other references"),
        (("before.jsonl", "broken.jsonl"), 5, "line 1"),
        (("before.jsonl", "same.jsonl", "--by", "speakers"), 2, "no group 'speakers'"),
        (("before.jsonl", "same.jsonl", "--by", "speaker"), 2, "needs the prepared data"),
        (("before.jsonl", "same.jsonl", "--strict"), 2, "--strict needs a limit"),
        (("before.jsonl", "same.jsonl", "--max-drop", "much"), 2, "--max-drop"),
    ],
)
def test_what_can_not_be_compared(
    files: Path, asrctl: Any, monkeypatch: pytest.MonkeyPatch, words: Any, code: int, said: str
) -> None:
    monkeypatch.chdir(files)
    write(files / "other.jsonl", 1, 0.1, utterances=199)
    text = (files / "before.jsonl").read_text(encoding="utf-8")
    (files / "changed.jsonl").write_text(text.replace('"reference": "', '"reference": "so ', 1), encoding="utf-8")
    (files / "broken.jsonl").write_text("[]\n", encoding="utf-8")
    refused = asrctl("compare", *words, "--json")
    assert refused.exit_code == code and said in refused.error["message"] and refused.error["fix"]
