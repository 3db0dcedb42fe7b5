"""`asrctl eval --hotwords`, on tones that a model has learned."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Dict

import pytest

EVAL = ("eval", "--run", "learned", "--device", "cpu", "--json")


def said(hypotheses: str) -> "Counter[str]":
    rows = [json.loads(line) for line in Path(hypotheses).read_text(encoding="utf-8").splitlines()]
    return Counter(word for row in rows for word in row["reference"].split())


def test_each_hotword_is_counted_with_the_list_and_without(tones: Path, asrctl: Any, tmp_path: Path) -> None:
    without = asrctl(*EVAL, "--decoder", "beam").result
    words = said(without["hypotheses"])
    (often, count), (second, _) = words.most_common(2)
    (tmp_path / "list.txt").write_text(f"# ours\n{often.upper()}\n{second}\t60\n\u00fc\nbbbbbb\n", encoding="utf-8")
    planned = asrctl(*EVAL, "--hotwords", tmp_path / "list.txt", "--hotword-weight", 3, "--dry-run").succeeded()
    done = asrctl(*EVAL, "--hotwords", tmp_path / "list.txt", "--hotword-weight", 3).succeeded()
    warned = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 2 and [line for line in planned.stderr.splitlines() if line in warned] == warned
    assert "taken in small letters" in done.stderr and "'\u00fc'" in done.stderr and "left out" in done.stderr
    found = done.result
    scores = found["hotword_scores"]
    rows: Dict[str, Any] = {row["words"]: row for row in scores["words"]}
    assert (rows[often]["said"], rows[often]["weight"], rows[second]["weight"]) == (count, 3.0, 60.0)
    assert rows[often]["heard"] >= rows[often]["heard_without"]
    assert rows[second]["false_alarms"] > 0, "with such a weight it is heard everywhere"
    assert scores["others"] == 3 - len(rows)
    totals = {row["factor"]: row for row in scores["factors"]}
    assert sorted(totals) == [0.0, 0.5, 1.0, 2.0]
    assert totals[0.0]["wer"] == pytest.approx(without["wer"], abs=1e-6)
    assert totals[1.0]["wer"] == pytest.approx(found["wer"], abs=1e-6)
    assert totals[2.0]["false_alarms"] >= totals[1.0]["false_alarms"] > totals[0.0]["false_alarms"]
    assert asrctl(*EVAL, "--hotwords", tmp_path / "list.txt", "--hotword-weight", 3).result["unchanged"]
    assert asrctl(*EVAL, "--hotwords", tmp_path / "list.txt", "--dry-run").result["unchanged"] is False
    shown = asrctl(*EVAL[:-1], "--hotwords", tmp_path / "list.txt", "--hotword-weight", 3).succeeded().stdout
    assert f"{often}  " in shown and "times 2" in shown and "hotwords" in shown


@pytest.mark.parametrize(
    "content, words, code, text",
    [
        ("ab\n", ("--decoder", "greedy"), 2, "the greedy decoder takes no --hotwords"),
        ("AB:3\n", (), 5, "none of the hotwords, such as 'AB:3'"),
        ("\n", (), 5, "holds no hotwords"),
        (None, (), 5, "is missing"),
        (None, ("--hotword-weight", "3"), 5, "is missing"),
        ("ab\n", ("--hotword-weight", "-1"), 2, "--hotword-weight"),
    ],
)
def test_what_can_not_be_is_told(
    tones: Path, asrctl: Any, tmp_path: Path, content: Any, words: Any, code: int, text: str
) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_text(content, encoding="utf-8")
    refused = asrctl(*EVAL, "--hotwords", tmp_path / "list.txt", *words)
    assert refused.exit_code == code and text in refused.error["message"] and refused.error["fix"], refused.error
    assert asrctl(*EVAL, "--hotwords", tmp_path / "list.txt", *words, "--dry-run").error == refused.error


def test_a_weight_needs_a_list_and_tuning_none(tones: Path, asrctl: Any, tmp_path: Path) -> None:
    refused = asrctl(*EVAL, "--hotword-weight", 3)
    assert refused.exit_code == 2 and "--hotwords" in refused.error["fix"]
    (tmp_path / "list.txt").write_text("ab\n", encoding="utf-8")
    refused = asrctl(*EVAL, "--lm", "tones", "--tune", "--hotwords", tmp_path / "list.txt")
    assert refused.exit_code == 2 and "--decoder tuned --hotwords" in refused.error["fix"]
