"""asrctl demo: what it promises a newcomer."""

import time

import pytest

from asrctl.commands.demo import _by_voice
from asrctl.data import demo_corpus
from asrctl.data.demo_corpus import UTTERANCES, WORDS

LIMIT_S = 360


def test_voices_are_counted_one_by_one_and_new_accents_named():
    voices = ["en+m1", "en-gb-scotland+f1", "en+m1"]
    found = _by_voice(voices, ["a b", "c d", "e f"], ["a b", "c x", "e x"], heard={"en", "en-us"})
    assert [(voice.name, voice.utterances, voice.wer, voice.new_accent) for voice in found] == [
        ("en+m1", 2, 0.25, False),
        ("en-gb-scotland+f1", 1, 0.5, True),
    ]


@pytest.mark.parametrize("command", ["prepare", "vocab"])
def test_the_corpus_is_not_built_over_other_files(asrctl, in_folder, workspace, command):
    (in_folder / "mine").mkdir()
    for path in (in_folder / "mine" / "utterances.jsonl", in_folder / "list.csv"):
        path.write_text("mine", encoding="utf-8")
        source = path.parent.name if path.name == "utterances.jsonl" else path.name
        failed = asrctl(command, "demo", path.parent if source == "mine" else path, "--json")
        assert (failed.exit_code, "holds something else" in failed.error["message"]) == (2, True)
        assert path.read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in in_folder.iterdir()) == ["list.csv", "mine"]


def test_a_dry_run_builds_nothing(asrctl, in_folder, workspace):
    for words in ((), (in_folder / "demo",)):
        result = asrctl("prepare", "demo", *words, "--dry-run", "--json").result
        assert {name: split["utterances"] for name, split in result["splits"].items()} == UTTERANCES
        assert 100e6 < result["estimated_bytes"] < 200e6
    assert not list(in_folder.iterdir())


def test_the_corpus_is_built_where_it_is_told(asrctl, in_folder, workspace, monkeypatch):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(demo_corpus, "UTTERANCES", {"train": 12, "eval": 6, "test": 6})
    (in_folder / "demo").mkdir()
    for _ in range(2):
        result = asrctl("prepare", "demo", in_folder / "demo", "--max-rejects", 1, "--json").result
        assert sum(split["utterances"] for split in result["splits"].values()) == 24
    assert len(list((in_folder / "demo").rglob("*.flac"))) == 24
    assert not (workspace / "cache" / "demo").exists()


@pytest.mark.slow
def test_it_learns_to_write_down_voices_it_never_heard(asrctl_process, asrctl):
    pytest.importorskip("espeakng_loader")
    began = time.monotonic()
    result = asrctl_process("demo", "--json", env={"OMP_NUM_THREADS": "2"}, timeout_s=4 * LIMIT_S).result
    took_s = time.monotonic() - began
    assert result["wer"] <= 0.20
    assert result["shuffled_wer"] > 0.80
    assert len(result["voices"]) >= 4
    assert any(voice["new_accent"] for voice in result["voices"])
    assert len({word for words in WORDS.values() for word in words}) >= 50
    assert took_s < LIMIT_S, "on two idle cores"

    again = asrctl("demo", "--json").result
    assert again["wer"] == result["wer"]
    assert sum(again["seconds"].values()) < 30, "what is there is not done again"
    assert "error rate" in asrctl("demo").succeeded().stdout
