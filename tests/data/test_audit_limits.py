"""What is usual is told from what is not, also where much is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from asrctl.data.audit.level import Levels
from asrctl.data.audit.speech_rate import Rates


@pytest.mark.parametrize("share", [0.01, 0.12])
def test_a_part_of_a_corpus_may_be_wrong(share: float) -> None:
    generator, wrong = np.random.default_rng(3), int(share * 500)
    levels = np.concatenate([generator.normal(-24, 3, 500 - wrong), np.full(wrong, -56.0)])
    found = Levels()
    found.histogram.add(levels)
    low, high = found.limits()
    assert np.count_nonzero((levels < low) | (levels > high)) == wrong

    characters = generator.integers(64, 128, 500)
    pace = np.exp(generator.normal(2.7, 0.15, 500))
    pace[:wrong] = 3.0
    rates = Rates()
    rates.add(characters, characters / pace)
    assert np.flatnonzero(rates.deviations(characters, characters / pace)).tolist() == list(range(wrong))


def test_a_few_utterances_are_not_judged_by_each_other() -> None:
    characters, active_s = np.array([50, 60, 500]), np.array([4.0, 5.0, 1.0])
    rates, levels = Rates(), Levels()
    rates.add(characters, active_s)
    levels.histogram.add(np.array([-20.0, -22.0, -50.0]))
    assert not rates.deviations(characters, active_s).any()
    assert levels.limits() == (-60.0, np.inf)
