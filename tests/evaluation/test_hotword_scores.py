"""Which hotwords count as heard."""

from __future__ import annotations

import pytest

from asrctl.evaluation.hotword_scores import FACTORS, HotwordTally
from asrctl.evaluation.hotwords import Hotword

LIST = [Hotword("ada lovelace", 5.0), Hotword("ada", 5.0), Hotword("hopper", 5.0)]


@pytest.mark.parametrize(
    "reference, hypothesis, wanted",
    [
        ("ada lovelace said", "ada lovelace said", {"ada lovelace": (1, 1, 0), "ada": (1, 1, 0)}),
        ("ada lovelace said", "a da lovelace said", {"ada lovelace": (1, 0, 0), "ada": (1, 0, 0)}),
        ("ada b lovelace", "ada lovelace", {"ada lovelace": (0, 0, 1), "ada": (1, 1, 0)}),
        ("a hopper b c", "a x b hopper", {"hopper": (1, 0, 1)}),
        ("hopper hopper", "hopper hopper hopper", {"hopper": (2, 2, 1)}),
        ("", "hopper", {"hopper": (0, 0, 1)}),
        ("hoppers", "hoppers", {}),
    ],
)
def test_heard_is_what_stands_in_its_place(reference: str, hypothesis: str, wanted: object) -> None:
    tally = HotwordTally(LIST)
    tally.add(reference, dict.fromkeys(FACTORS, hypothesis))
    found = tally.scores()
    assert {row.words: (row.said, row.heard, row.false_alarms) for row in found.words} == wanted
    assert all((row.heard, row.false_alarms) == (row.heard_without, row.false_alarms_without) for row in found.words)
    assert found.others == len(LIST) - len(found.words)
