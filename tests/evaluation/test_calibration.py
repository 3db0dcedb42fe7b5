"""Confidences: against numbers that are known, and words judged by the labels that they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import List

import numpy as np
import pytest

from asrctl.commands import confidences
from asrctl.data.text import Vocabulary
from asrctl.evaluation import calibration
from asrctl.evaluation.calibration import Reliability
from asrctl.evaluation.confidence import ConfidenceTally, of_word

VOCABULARY = Vocabulary(("|", "a", "b", "[UNK]", "[PAD]"))


def measured(confidence: np.ndarray, right: np.ndarray) -> Reliability:
    """Five words an utterance."""
    return calibration.reliability(np.array_split(confidence, len(right) // 5), np.array_split(right, len(right) // 5))


def test_the_error_is_the_distance_between_what_is_said_and_what_is() -> None:
    found = measured(np.array([0.95] * 10 + [0.55] * 10), np.array([True] * 9 + [False] + [True] * 3 + [False] * 7))
    assert found.error == pytest.approx((10 * 0.05 + 10 * 0.25) / 20, abs=1e-6)
    assert [(one.low, one.words, one.right) for one in found.bins] == [(0.5, 10, 0.3), (0.9, 10, 0.9)]
    assert (found.words, found.right) == (20, 12)
    assert measured(np.ones(10), np.ones(10, dtype=bool)).separation is None


def test_right_above_wrong_is_counted_pair_by_pair() -> None:
    generator = np.random.default_rng(1)
    values, right = np.round(generator.random(60), 1), generator.random(60) < 0.5
    pairs = [(a > b) + 0.5 * (a == b) for a in values[right] for b in values[~right]]
    assert measured(values, right).separation == pytest.approx(float(np.mean(pairs)), abs=1e-6)


def test_what_is_too_sure_is_calibrated_for_other_words() -> None:
    """Log odds three times as large as they should be, and shifted."""
    generator = np.random.default_rng(2)
    odds = generator.normal(1, 1.5, 4000)
    right = generator.random(4000) < 1 / (1 + np.exp(-odds))
    sure = 1 / (1 + np.exp(-(3 * odds + 1)))
    found = calibration.fitted(sure[:2000], right[:2000])
    assert found.words == 2000 and (found.a, found.b) == (pytest.approx(1 / 3, abs=0.1), pytest.approx(1 / 3, abs=0.1))
    before, after = measured(sure[2000:], right[2000:]), measured(found.apply(sure[2000:]), right[2000:])
    assert before.error > 0.1 and after.error < 0.035
    assert before.error_interval is not None and before.error_interval[0] < before.error < before.error_interval[1]
    assert after.separation == pytest.approx(before.separation, abs=1e-3), "the order of words stays"


@pytest.mark.parametrize("right", [[True] * 60, [False] * 60, [True, False] * 10])
def test_what_tells_nothing_is_no_calibration(right: List[bool]) -> None:
    tally = ConfidenceTally()
    for one in right:
        tally.add("a", "a" if one else "b", [0.9])
    assert tally.calibration("data") is None and tally.scores() is not None
    assert ConfidenceTally().scores() is None


def test_limits_that_part_all_words_give_no_endless_slope() -> None:
    found = calibration.fitted(np.array([0.9] * 50 + [0.1] * 50), np.array([True] * 50 + [False] * 50))
    assert 0.9 < found.apply(np.array([0.9]))[0] < 1 and 0 < found.apply(np.array([0.1]))[0] < 0.1
    turned = calibration.fitted(np.array([0.1, 0.9] * 50), np.array([True, False] * 50))
    assert turned.a == turned.b == 0 and turned.apply(np.array([0.3]))[0] == pytest.approx(0.5, abs=1e-3)


def sound(labels: str, sure: float) -> np.ndarray:
    """(frames, vocabulary) log-probabilities; - is a blank."""
    rows = np.full((len(labels), 5), (1 - sure) / 4)
    rows[np.arange(len(labels)), ["|ab?-".index(label) for label in labels]] = sure
    return np.log(rows).astype(np.float32)


def test_words_are_as_sure_as_their_labels() -> None:
    logs = sound("-aa-b||ab--", 0.9)
    logs[8:] = sound("b--", 0.6)
    found = confidences.of_words(logs, "ab ab", VOCABULARY)
    assert found == pytest.approx([0.9, (0.9 * 0.6) ** 0.5], abs=1e-5)
    assert confidences.of_words(logs, "", VOCABULARY) == []
    assert of_word([]) == 0.0


def test_a_text_that_was_searched_for_is_judged_by_its_alignment() -> None:
    """`bb` needs a blank between; a text of more labels than frames has no confidence."""
    logs = sound("-a-b-b-", 0.8)
    wanted = confidences.of_words(logs, "abb", VOCABULARY)
    assert wanted == pytest.approx([0.8], abs=1e-5)
    other = confidences.of_words(logs, "bbb", VOCABULARY)
    assert other is not None and other[0] == pytest.approx((0.05 * 0.8 * 0.8) ** (1 / 3), abs=1e-3)
    two = confidences.of_words(sound("a|-b", 0.7), "a bb", VOCABULARY)
    assert two is None, "there is no frame for all of it"
    no_words = Vocabulary(("a", "b", "[UNK]", "[PAD]"), word_delimiter=None)
    assert confidences.of_words(logs[:, 1:], "abb", no_words) is None


def test_kept_calibrations_are_of_one_model_and_decoder(tmp_path: Path) -> None:
    assert confidences.tally_of([{"reference": "a b", "hypothesis": "a", "confidence": [0.5]}, {}][:1]).scores()
    assert len(confidences.tally_of([{"reference": "a", "hypothesis": "a"}])) == 0
