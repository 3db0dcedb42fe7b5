"""Differences that are there are found, and chance is called chance."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from asrctl.evaluation.comparison import difference, matched_pairs, minutes_needed, quantile_groups


def errors(seed: int, utterances: int, rate: float, words: int = 10) -> np.ndarray:
    return np.random.default_rng(seed).binomial(words, rate, utterances)


def test_a_difference_of_nothing_but_chance_is_rarely_called_one() -> None:
    words = np.full(300, 10)
    found = [difference(errors(seed, 300, 0.2), errors(seed + 1000, 300, 0.2), words) for seed in range(60)]
    assert sum(each.is_significant for each in found) <= 8, "3 of 60 are to be expected"
    assert sum(each.p < 0.05 for each in found) <= 8


def test_a_difference_that_is_there_is_found() -> None:
    words, before = np.full(300, 10), errors(1, 300, 0.2)
    after = before + (np.random.default_rng(2).random(300) < 0.2)
    found = difference(before, after, words)
    assert found.is_significant and found.p < 1e-6 and found.better == 0
    assert found.difference == pytest.approx((after.sum() - before.sum()) / 3000)
    assert found.interval[0] < found.difference < found.interval[1]
    assert (found.improved, found.worsened) == (0, int((after > before).sum()))
    back = difference(after, before, words)
    assert back.difference == -found.difference and back.better == 1


def test_what_is_called_the_smallest_difference_is_seen_four_times_of_five() -> None:
    words = np.full(400, 10)
    smallest = difference(errors(1, 400, 0.2), errors(2, 400, 0.2), words).smallest
    seen = [
        difference(errors(seed, 400, 0.2), errors(seed + 500, 400, 0.2 + smallest), words).is_significant
        for seed in range(60)
    ]
    assert 0.65 < np.mean(seen) < 0.95


def test_minutes_grow_with_the_square() -> None:
    found = difference(errors(1, 400, 0.2), errors(2, 400, 0.2), np.full(400, 10))
    assert minutes_needed(found, 30, found.smallest / 2) == pytest.approx(120)
    assert minutes_needed(found, 30, found.smallest * 2) is None


def test_matched_pairs_is_the_normal_test_of_the_mean() -> None:
    turned = np.array([1, -1, 2, 0, 1, 1, 0, 3])
    score = turned.mean() / (turned.std(ddof=1) / np.sqrt(8))
    assert matched_pairs(turned) == pytest.approx(2 * (1 - NormalDist().cdf(score)))
    assert matched_pairs(np.zeros(5, dtype=int)) == 1.0


@pytest.mark.parametrize("utterances", [0, 1])
def test_too_little_to_tell(utterances: int) -> None:
    found = difference(np.zeros(utterances, int), np.ones(utterances, int), np.ones(utterances, int))
    assert found.interval is None and found.p is None and not found.is_significant


def test_groups_of_like_size_keep_equal_values_together() -> None:
    groups = quantile_groups([1, 1, 1, 2, 3, 4, 5, 6], 4)
    assert groups[0] == groups[1] == groups[2] and groups[-1] == groups.max() and (np.diff(groups) >= 0).all()
