"""`asrctl prepare --show N`: utterances as they would enter the model, before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import soundfile

from ..helpers.corpora import corpus, opened, plain_rows


def shown(asrctl: Any, *words: Any) -> List[Dict[str, Any]]:
    return asrctl("prepare", *words, "--json").result["utterances"]


def odd_corpus(folder: Path) -> Path:
    """A stretch of one channel, signs, no words, too long, no file; in this order."""
    folder.mkdir()
    sine = 0.5 * np.sin(np.arange(32000) * 0.3)
    soundfile.write(str(folder / "two.wav"), np.stack([0 * sine, sine], axis=1), 16000)
    rows: List[Dict[str, Any]] = [
        {"id": "side", "path": "two.wav", "channel": 1, "start": 0.5, "end": 1.5, "text": "Ja, ja\u200b!"},
        {"id": "plain", "path": "plain.wav", "text": "na so"},
        {"id": "mute", "path": "mute.wav", "text": "..."},
        {"id": "long", "path": "long.wav", "seconds": 3.0, "text": "so"},
        {"id": "gone", "path": "gone.wav", "missing": True, "text": "so"},
    ]
    return corpus(folder, [dict(row, split="train") for row in rows])


def test_it_shows_what_each_utterance_becomes_and_why_some_are_left_out(asrctl, workspace: Path, tmp_path: Path):
    path = odd_corpus(tmp_path / "corpus")
    found = {item["id"]: item for item in shown(asrctl, path, "--show", 5, "--max-s", 2, "--remove", ",.!")}
    assert not workspace.exists()
    side = found["side"]
    assert (side["channel"], side["start_s"], side["end_s"], side["seconds"]) == (1, 0.5, 1.5, 1.0)
    assert side["level_dbfs"] == pytest.approx(-9.0, abs=0.1), "a sine of half of full scale"
    assert side["peak_dbfs"] == pytest.approx(-6.0, abs=0.1)
    assert (side["text"], side["normalized"]) == ("Ja, ja\u200b!", "ja ja\u200b")
    assert (side["decoded"], side["lost"], side["unknown"]) == ("ja ja\u200b", {"!": 1, ",": 1}, {})
    reasons = {name: item["rejected"] and item["rejected"]["reason"] for name, item in found.items()}
    expected = {"mute": "no-transcript", "long": "too-long", "gone": "no-audio"}
    assert reasons == {"side": None, "plain": None, **expected}
    assert (found["long"]["seconds"], found["long"]["level_dbfs"], found["gone"]["seconds"]) == (3.0, None, None)


def test_labels_are_those_of_the_prepared_data(asrctl, tmp_path: Path) -> None:
    path = corpus(tmp_path / "corpus", plain_rows(6) + plain_rows(3, "eval"))
    before = {item["id"]: item for item in shown(asrctl, path, "--show", 9)}
    asrctl("prepare", path).succeeded()
    data = opened(tmp_path / "workspace")
    after = {item.id: item for split in data.splits for item in data.split(split)}
    assert before.keys() == after.keys()
    for name, item in before.items():
        assert (item["labels"], item["normalized"]) == (after[name].labels.tolist(), after[name].text)
        assert item["seconds"] == len(after[name].pcm) / 16000


def test_a_vocabulary_that_lacks_characters_tells_them(asrctl, tmp_path: Path) -> None:
    small = corpus(tmp_path / "small", [dict(row, text="word") for row in plain_rows(3)])
    asrctl("vocab", small, "--name", "small").succeeded()
    other = corpus(tmp_path / "other", [dict(row, text="w\u00f6rd") for row in plain_rows(3)])
    for item in shown(asrctl, other, "--vocab", "small", "--show", 2):
        assert (item["unknown"], item["decoded"]) == ({"\u00f6": 1}, "w[UNK]rd")


def test_the_sample_is_spread_over_the_corpus_and_always_the_same(asrctl, tmp_path: Path) -> None:
    rows = [dict(row, id=f"{n:02d}", split=("eval", "train")[n % 2]) for n, row in enumerate(plain_rows(40))]
    path = corpus(tmp_path / "corpus", rows, seconds=0.1)
    found = shown(asrctl, path, "--show", 4)
    assert [int(item["id"]) // 10 for item in found] == [0, 1, 2, 3], "one of each quarter"
    assert {item["split"] for item in shown(asrctl, path, "--show", 20)} == {"train", "eval"}
    assert found == shown(asrctl, path, "--show", 4)
    assert len(shown(asrctl, path, "--show", 100)) == 40


def test_people_can_read_it_in_100_columns(asrctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    rows = [dict(row, text="Many words, " * 30) for row in plain_rows(3)]
    path = corpus(tmp_path / "corpus", rows, seconds=20)
    told = asrctl("prepare", path, "--show", 2, "--remove", ",").succeeded().stdout.splitlines()
    assert max(len(line) for line in told if "utterances" not in line and str(tmp_path) not in line) <= 100
    assert sum(line.startswith("   by rules  many words many") for line in told) == 2
    assert sum(line == "   lost      ',' U+002C x30" for line in told) == 2


@pytest.mark.parametrize(("number", "words"), [("0", "the least is 1"), ("five", "not a whole number")])
def test_only_a_number_of_utterances_is_taken(asrctl, tmp_path: Path, number: str, words: str) -> None:
    refused = asrctl("prepare", tmp_path, "--show", number, "--json")
    assert refused.exit_code == 2 and words in refused.error["message"]


def test_what_would_have_to_be_fetched_is_not_shown(asrctl) -> None:
    refused = asrctl("prepare", "librispeech", "--show", 2, "--json")
    assert refused.exit_code == 4 and "to download" in refused.error["message"]
    assert json.dumps(refused.error["fix"]).count("--show") == 1
