"""How often the parts of a mixture are drawn: by their shares, and none of a part again before all of it have come."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrctl.data.dataset import MixedSplit, SplitOfPart
from asrctl.data.mixing import Mixing, Shares
from asrctl.data.sampler import BatchPlan

from ..helpers.tiny import write_noise_split

SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=4)
quickly = settings(max_examples=60)


def plan(sizes: List[int], weights: List[int], lengths: np.ndarray, **changes: object) -> BatchPlan:
    ends = np.cumsum(sizes)
    members = tuple(np.arange(end - size, end) for size, end in zip(sizes, ends))
    mixing = Mixing(members, tuple(Shares(tuple(weights)).quotas(sizes)))
    return BatchPlan(
        lengths, 4, **dict({"order": "shuffled", "drop_last": False, "seed": 3, "mixing": mixing}, **changes)
    )


def drawn(made: BatchPlan, epoch: int) -> np.ndarray:
    return np.concatenate(made.epoch(epoch))


@pytest.mark.parametrize(
    "shares, sizes, quotas",
    [
        (Shares((2, 1)), [100, 100], [133, 67]),
        (Shares((2, 1)), [10, 190], [133, 67]),
        (Shares(), [24, 10, 6], [24, 10, 6]),
        (Shares((1, 1, 1)), [1, 1, 8], [4, 3, 3]),
        (Shares(temperature=1000.0), [990, 10], [501, 499]),
        # As fairseq's temperature sampling: (0.9 ** 0.5, 0.1 ** 0.5) is three to one.
        (Shares(temperature=2.0), [900, 100], [750, 250]),
        (Shares((5, 1)), [0, 7], [0, 7]),
    ],
)
def test_quotas_are_the_shares_of_an_epoch(shares, sizes, quotas):
    assert shares.quotas(sizes) == quotas


@quickly
@given(SIZES, st.data())
def test_nothing_of_a_part_comes_again_before_all_of_it_have_come(sizes, data):
    weights = data.draw(st.lists(st.integers(1, 5), min_size=len(sizes), max_size=len(sizes)))
    made = plan(sizes, weights, np.ones(sum(sizes), np.int32))
    mixing = made.mixing
    # In the order in which they are drawn, before an epoch is shuffled.
    epochs = [mixing.draw(epoch, made._permutation) for epoch in range(5)]
    for member, quota in zip(mixing.members, mixing.quotas):
        laid = np.concatenate([epoch[np.isin(epoch, member)] for epoch in epochs])
        assert len(laid) == 5 * quota
        for start in range(0, len(laid) - len(member) + 1, len(member)):
            assert sorted(laid[start : start + len(member)]) == list(member)


@quickly
@given(SIZES, st.integers(0, 6))
def test_an_epoch_follows_from_seed_and_number_alone(sizes, epoch):
    lengths = np.arange(1, sum(sizes) + 1, dtype=np.int32)
    weights = list(range(1, len(sizes) + 1))
    straight = plan(sizes, weights, lengths)
    for before in range(epoch):
        straight.epoch(before)
    assert np.array_equal(drawn(straight, epoch), drawn(plan(sizes, weights, lengths), epoch))
    assert not np.array_equal(drawn(straight, epoch), drawn(plan(sizes, weights, lengths, seed=4), epoch)) or (
        sum(sizes) < 6
    )


def test_without_weights_an_epoch_has_every_utterance_once():
    sizes = [5, 12, 3]
    made = plan(sizes, sizes, np.ones(20, np.int32))
    assert all(sorted(drawn(made, epoch)) == list(range(20)) for epoch in range(3))


@quickly
@given(SIZES, st.integers(1, 200_000), st.data())
def test_steps_of_so_much_audio_are_never_empty_and_no_epoch_is_longer_than_is_said(sizes, batch_samples, data):
    lengths = np.array(data.draw(st.lists(st.integers(1, 50_000), min_size=sum(sizes), max_size=sum(sizes))), np.int32)
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(sizes), max_size=len(sizes)))
    made = plan(sizes, weights, lengths, batch_samples=batch_samples)
    totals = []
    for epoch in range(4):
        batches = made.epoch(epoch)
        assert len(batches) == made.steps_per_epoch
        assert all(len(batch) for batch in batches)
        assert sum(map(len, batches)) == sum(sizes)
        totals.append(int(lengths[np.concatenate(batches)].sum()))
    assert max(totals) <= made.most_epoch_samples


def test_a_mixed_split_is_its_parts_wherever_it_is_sent(tmp_path: Path):
    first, second = (write_noise_split(tmp_path / name, 6, (800, 1600), seed=seed) for seed, name in enumerate("ab"))
    swapped = np.arange(7, dtype=np.int32)[::-1].copy()
    parts = [SplitOfPart("a", first, None), SplitOfPart("b", second, swapped)]
    mixed = MixedSplit(parts, folder=tmp_path, name="train", sample_rate=16000, shares=Shares((1, 1)))
    chosen = mixed.only(np.array([1, 6, 8])).only(np.array([0, 2]))
    for one in (chosen, pickle.loads(pickle.dumps(chosen))):
        assert [item.id for item in one] == ["a/u1", "b/u2"]
        assert one.id(1) == "b/u2" and one.text(1) == second.text(2)
        assert np.array_equal(one[1].labels, swapped[second[2].labels])
        assert np.array_equal(one[1].pcm, second[2].pcm)
        assert list(one.num_samples) == [len(first[1].pcm), len(second[2].pcm)]
        assert list(one.rows) == [1, 8]
        assert [list(member) for member in one.mixing.members] == [[0], [1]]
