"""asrctl demo: what it promises a newcomer."""

import time

import pytest

from asrctl.corpora.demo import WORDS
from asrctl.stages.demo import _by_voice

LIMIT_S = 360


def test_voices_are_counted_one_by_one_and_new_accents_named():
    voices = ["en+m1", "en-gb-scotland+f1", "en+m1"]
    found = _by_voice(voices, ["a b", "c d", "e f"], ["a b", "c x", "e x"], heard={"en", "en-us"})
    assert [(voice.name, voice.utterances, voice.wer, voice.new_accent) for voice in found] == [
        ("en+m1", 2, 0.25, False),
        ("en-gb-scotland+f1", 1, 0.5, True),
    ]


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
