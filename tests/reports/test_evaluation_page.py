"""report.json and report.html of an evaluation: numbers that anybody can count again, and a page that opens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest

from asrctl.evaluation import metrics
from asrctl.evaluation.error_analysis import Analysis, EvaluationReport, Known, Names
from asrctl.evaluation.groups import scored
from asrctl.reports import evaluation_page
from asrctl.storage import records

from ..helpers import browser

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dogs", "while", "old", "ships", "carry", "letters"]
HOSTILE = "<script>alert(1)</script>\u202e&\"'"


def analyzed(utterances: int, speakers: int, reference: str = "") -> EvaluationReport:
    """Words are wrong with a chance that grows with the number of the speaker."""
    generator = np.random.default_rng(1)
    names = [f"s{number % speakers:03d}" for number in range(utterances)]
    analysis = Analysis(Known(np.full(utterances, 2.5), names, np.arange(utterances) % 3 == 0, {"speaker": names}))
    for index in range(utterances):
        text = [*reference.split(), *generator.choice(WORDS, 5)]
        wrong = generator.random(len(text)) < 0.05 + 0.4 * (index % speakers) / speakers
        heard = [word[:-1] if away else word for word, away in zip(text, wrong)]
        analysis.add(index, f"{reference}u{index}", " ".join(text), " ".join(heard))
    tally = metrics.Tally(1)
    tally.add(0, "u", "a", "a")
    found = records.as_dict(tally.scores())
    found.update(split="eval", precision="fp32", device="cpu", decoder="greedy", model="a" * 64, data="b" * 12)
    return analysis.report(Names("base", "base", reference or "books"), dict(found, audio_s=9.0, utterances=utterances))


@pytest.fixture(scope="module")
def evaluated(learned_tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an evaluation of the tones. Read only."""
    from ..helpers.program import copy_workspace, run_here

    place = copy_workspace(learned_tones, tmp_path_factory.mktemp("evaluated") / "workspace")
    done = run_here("eval", "--device", "cpu", "--workspace", place).succeeded()
    page = next((place / "evals").glob("*/report.html"))
    assert f"report: {page}" in done.stdout
    yield page.parent


def test_the_numbers_can_be_counted_again(evaluated: Path) -> None:
    report = json.loads((evaluated / "report.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (evaluated / "hypotheses.jsonl").read_text(encoding="utf-8").splitlines()]
    found = json.loads((evaluated / "metrics.json").read_text(encoding="utf-8"))
    worst = found.pop("worst")
    assert report["metrics"] == found and report["names"] == {"run": "learned", "model": "learned", "data": "tones"}
    assert {"duration", "level", "length", "seen"} <= set(report["groups"]) and "speaker" not in report["groups"]
    for groups in report["groups"].values():
        assert sum(one["utterances"] for one in groups) == len(rows)
        assert sum(one["errors"] for one in groups) == sum(row["errors"] for row in rows)
        assert all(one["wer"] == pytest.approx(one["errors"] / one["words"]) for one in groups)
    for number, group in enumerate(report["groups"]["length"]):
        assert group["name"].startswith(f"{number + 1}. ") and group["words"] == group["utterances"] * (number + 1)
    seen = {one["name"]: one["wer"] for one in report["groups"]["seen"]}
    assert seen == {"seen in training": found["seen"]["wer"], "not seen": found["unseen"]["wer"]}
    assert [one["id"] for one in report["worst"][: len(worst)]] == [one["id"] for one in worst]
    edits = {"substituted": "substitutions", "deleted": "deletions", "inserted": "insertions"}
    for units, prefix in (("words", ""), ("characters", "character_")):
        counted = {kind: sum(one["count"] for one in report[units][kind]) for kind in edits}
        assert counted == {kind: found[prefix + name] for kind, name in edits.items()}


def test_the_page_needs_nothing_and_runs_nothing(evaluated: Path) -> None:
    text = (evaluated / "report.html").read_text(encoding="utf-8")
    assert text.count("<audio") == len(json.loads((evaluated / "report.json").read_text("utf-8"))["worst"])
    assert set(re.findall(r'(?:src|href)="([^#d][^"]*)"', text)) == set() and "http" not in text.split("<body>")[1]
    hostile = evaluation_page.render(analyzed(9, 3, HOSTILE), None, 16000)
    assert "<script" not in hostile and "\u202e" not in hostile and "&lt;script&gt;" in hostile


def test_ten_thousand_utterances_make_a_small_page() -> None:
    report = analyzed(10_000, 1000)
    page = evaluation_page.render(report, None, 16000)
    assert len(page) < 1_000_000 and page.count("<article") == 100 and "960 more are in report.json" in page
    assert len(report.groups["speaker"]) == 1000 and len(report.worst) == 200
    shown = re.findall(r'data-label="speaker">s(\d+)', page)
    assert np.mean([int(number) for number in shown]) > 700  # the worst come first


def test_intervals_of_many_groups_are_those_of_each_alone() -> None:
    generator = np.random.default_rng(3)
    errors, words = generator.poisson(1.0, 60), generator.integers(1, 9, 60)
    values = [f"s{place % 7}" for place in range(60)]
    found = {group.name: group.wer_interval for group in scored(values, errors, words)}
    for name, interval in found.items():
        mine = np.array(values) == name
        drawing = np.random.default_rng(2004)
        rates = []
        for _ in range(1000):
            drawn = drawing.integers(0, mine.sum(), size=mine.sum())
            rates.append(errors[mine][drawn].sum() / max(words[mine][drawn].sum(), 1))
        assert interval == pytest.approx(tuple(np.percentile(rates, [2.5, 97.5])))


def test_a_browser_shows_it_at_every_width(evaluated: Path, tmp_path: Path) -> None:
    page: Any = evaluated / "report.html"
    found = browser.sizes(tmp_path, page, (320, 768, 1280))
    assert [one["window"] for one in found] == [320, 768, 1280]
    assert all(one["width"] <= one["window"] and one["characters"] > 2000 for one in found)
    assert found[0]["height"] > found[2]["height"]
    assert browser.shot(tmp_path, page, width=600, dark=True) != browser.shot(tmp_path, page, width=600, dark=False)
