"""Scoring rules are not training rules: WER on the corpus' own text and on the normalized one, beside `wer`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import soundfile

from asrctl.data.raw_texts import FILE, RawTexts
from asrctl.errors import BadData
from asrctl.evaluation.scoring_text import normalized

from ..helpers.corpora import corpus, opened
from ..helpers.program import run_here
from ..helpers.tones import RATE, sound


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don\u2019t stop, 'Rock 'n' Roll'!", "don't stop rock n roll"),
        ("STRASSE Stra\u00dfe", "strasse strasse"),
        ("well-known e\u0301te\u0301", "well known \u00e9t\u00e9"),
        ("\u0130stanbul", "istanbul"),
        ("\uff21\uff22\uff23 \u2460 \ufb01n", "abc 1 fin"),
        ("\u0928\u092e\u0938\u094d\u0924\u0947\u0964", "\u0928\u092e\u0938\u094d\u0924\u0947"),
        ("so\u00adft\u200b 3.5 $ [noise] \u00bfya?", "soft 3 5 noise ya"),
        ("x_y \u2014 \U0001f600", "x y"),
        ("'''", ""),
    ],
)  # fmt: skip
def test_what_nobody_hears_does_not_count(text: str, expected: str) -> None:
    assert normalized(text) == expected == normalized(expected)


ROWS: List[Dict[str, Any]] = [
    {"path": "0.wav", "text": "AB,  c."},
    {"path": "short.wav", "text": "B", "seconds": 0.001},  # is left out
    {"path": "1.wav", "text": "b"},
    {"path": "2.wav", "text": "Ca & b"},
]


@pytest.fixture
def odd(tones: Path, tmp_path: Path) -> Path:
    """A workspace with a run, and data of capitals and signs as `odd`."""
    (tmp_path / "odd").mkdir()
    for name, spoken in (("0.wav", "ab c"), ("1.wav", "b"), ("2.wav", "ca a b")):
        soundfile.write(str(tmp_path / "odd" / name), sound(spoken, np.random.default_rng(1)), RATE)
    path = corpus(tmp_path / "odd", [dict(row, split="test") for row in ROWS])
    table = tmp_path / "table.yaml"
    table.write_text('"&": a\n', encoding="utf-8")
    words = ("prepare", path, "--name", "odd", "--remove", ",.", "--replace", table, "--max-rejects", "1")
    run_here(*words).succeeded()
    return tones


def split_folder(workspace: Path) -> Path:
    identity = json.loads((workspace / "refs" / "prepared" / "odd.json").read_text(encoding="utf-8"))["id"]
    return workspace / "prepared" / identity / "test"


def evaluated(*options: Any) -> Dict[str, Any]:
    return run_here("eval", "--data", "odd", "--device", "cpu", *options, "--json").succeeded().result


def test_the_texts_of_the_corpus_lie_beside_the_data(odd: Path) -> None:
    lines = (split_folder(odd) / FILE).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"row": 0, "text": "AB, c."}, {"row": 2, "text": "Ca & b"}]


def test_eval_tells_three_rates_where_they_differ(odd: Path) -> None:
    found = evaluated()
    hypotheses = [json.loads(line)["hypothesis"] for line in Path(found["hypotheses"]).read_text().splitlines()]
    texts = {"raw": ["AB, c.", "b", "Ca & b"], "normalized": ["ab c", "b", "ca b"]}
    assert found["words"] == 2 + 1 + 3 and found["raw_missing"] is None
    for form, references in texts.items():
        score = found[form]
        assert score["words"] == sum(len(text.split()) for text in references)
        assert score["wer_interval"][0] <= score["wer"] <= score["wer_interval"][1]
        errors = sum(_word_errors(*pair) for pair in zip(references, hypotheses))
        assert score["wer"] == errors / score["words"]
        assert score["substitutions"] + score["deletions"] + score["insertions"] == errors
    shown = run_here("eval", "--data", "odd", "--device", "cpu").succeeded().stdout
    assert ("words as in the corpus" in shown) == (found["raw"]["wer"] != found["wer"])
    assert ("words, normalized" in shown) == (found["normalized"]["wer"] != found["wer"])
    assert found["normalized"]["wer"] != found["wer"], "5 words instead of 6"


def _word_errors(reference: str, hypothesis: str) -> int:
    """Levenshtein's distance in words."""
    left, right = reference.split(), hypothesis.split()
    row = list(range(len(right) + 1))
    for i, word in enumerate(left, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (word != other))
    return row[-1]


def test_the_card_has_them_too(odd: Path, tmp_path: Path) -> None:
    found = evaluated()
    run_here("export", "--format", "hf", "--output", tmp_path / "out").succeeded()
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| raw WER % | interval | normalized WER % | interval |" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| odd | test |")]
    assert f"| {100 * found['raw']['wer']:.2f} | " in row and f"| {100 * found['normalized']['wer']:.2f} | " in row
    assert len(row.split("|")) == len(next(line for line in text.splitlines() if "raw WER %" in line).split("|"))


def test_where_the_rates_are_one_only_json_has_them(tones: Path) -> None:
    found = run_here("eval", "--device", "cpu", "--json").succeeded().result
    assert found["raw"]["wer"] == found["normalized"]["wer"] == found["wer"]
    assert found["raw"]["wer_interval"] == found["wer_interval"]
    assert "corpus" not in run_here("eval", "--device", "cpu", "--worst", 0).succeeded().stdout.split("\n\n")[1]


@pytest.mark.parametrize("line", ["{}", '{"row": 3, "text": "x"}', '{"row": true, "text": "x"}', '{"row": 0', "[1]"])
def test_a_damaged_file_of_texts_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / FILE).write_text('{"row": 0, "text": "so"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(BadData, match=f"{FILE} is damaged"):
        RawTexts(tmp_path, 3)


def test_data_whose_texts_are_all_as_they_stand_has_no_such_file(workspace: Path, tmp_path: Path) -> None:
    rows = [{"path": f"{split}.wav", "text": "so  it is", "split": split} for split in ("train", "eval")]
    path = corpus(tmp_path / "plain", rows)
    run_here("prepare", path).succeeded()
    data = opened(workspace)
    assert data.summary.splits["eval"].raw_texts == 0
    assert not (data.artifact.path / "eval" / FILE).exists()
