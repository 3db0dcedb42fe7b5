"""Which utterances make which batch: all of them, in an order that depends on nothing but seed and epoch."""

from __future__ import annotations

from typing import List, Optional

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrctl.data.sampler import BatchPlan, even_micro_batches, generator, micro_batches, samples_in

LENGTHS = st.lists(st.integers(1, 320_000), min_size=1, max_size=70)
ORDERS = st.sampled_from(["shuffled", "grouped", "curriculum"])
BATCH_SAMPLES = st.one_of(st.none(), st.integers(1, 2_000_000))
quickly = settings(max_examples=60)


def plan(lengths: List[int], batch: int, order: str, samples: Optional[int] = None, **changes: object) -> BatchPlan:
    values = dict({"drop_last": False, "seed": 42}, **changes)
    return BatchPlan(np.array(lengths, np.int32), batch, order, batch_samples=samples, **values)


def sorted_items(batches: List[np.ndarray]) -> List[int]:
    return sorted(int(index) for batch in batches for index in batch)


@quickly
@given(LENGTHS, st.integers(1, 9), ORDERS, BATCH_SAMPLES, st.integers(0, 3))
def test_an_epoch_has_every_utterance_once(lengths, batch, order, samples, epoch):
    made = plan(lengths, batch, order, samples)
    batches = made.epoch(epoch)
    assert sorted_items(batches) == list(range(len(lengths)))
    assert len(batches) == made.steps_per_epoch
    assert all(len(indices) for indices in batches)
    if samples is None:
        assert all(len(indices) <= batch for indices in batches)


@quickly
@given(LENGTHS, st.integers(1, 9), ORDERS)
def test_drop_last_leaves_out_the_batch_that_is_not_full(lengths, batch, order):
    """Unless it is the only one; and no utterance comes twice."""
    batches = plan(lengths, batch, order, drop_last=True).epoch(0)
    items = sorted_items(batches)
    assert len(set(items)) == len(items)
    assert [len(indices) for indices in batches] == [batch] * (len(lengths) // batch) or len(lengths) < batch
    assert len(batches) >= 1


@quickly
@given(LENGTHS, st.integers(1, 9), ORDERS, BATCH_SAMPLES)
def test_the_order_depends_on_seed_and_epoch_only(lengths, batch, order, samples):
    """A run that is resumed asks for epoch 2 first, and gets what the straight one got after epochs 0 and 1."""
    straight = plan(lengths, batch, order, samples)
    epochs = [straight.epoch(epoch) for epoch in range(3)]
    np.random.seed(1)  # nobody's business
    resumed = plan(lengths, batch, order, samples).epoch(2)
    assert [indices.tolist() for indices in resumed] == [indices.tolist() for indices in epochs[2]]


@pytest.mark.parametrize("order", ["shuffled", "grouped", "curriculum"])
def test_epochs_and_seeds_differ(order):
    lengths = list(range(1000, 1200))
    first, second = (plan(lengths, 8, order).epoch(epoch) for epoch in (1, 2))
    other = plan(lengths, 8, order, seed=43).epoch(1)
    drawn = [np.concatenate(batches).tolist() for batches in (first, second, other)]
    assert drawn[0] != drawn[1] and drawn[0] != drawn[2]


def test_a_curriculum_begins_with_the_shortest_and_then_mixes():
    lengths = np.random.default_rng(0).permutation(np.arange(100, 200)).tolist()
    made = plan(lengths, 10, "curriculum")
    first, second = (np.array(lengths)[np.concatenate(made.epoch(epoch))] for epoch in (0, 1))
    assert (np.diff(first) > 0).all()
    assert not (np.diff(second) > 0).all()


def test_grouped_batches_hold_like_lengths():
    lengths = np.random.default_rng(0).integers(1000, 100_000, 400).tolist()
    spreads = {
        order: np.mean([np.ptp(np.array(lengths)[batch]) for batch in plan(lengths, 8, order).epoch(0)])
        for order in ("shuffled", "grouped")
    }
    assert spreads["grouped"] < spreads["shuffled"] / 10


def test_batches_by_duration_are_of_about_that_duration():
    lengths = np.random.default_rng(0).integers(8000, 80_000, 300)
    made = plan(lengths.tolist(), 1, "shuffled", samples_in(12, 16000))
    sums = [int(lengths[batch].sum()) for batch in made.epoch(0)]
    assert all(abs(total - 12 * 16000) < 2 * 80_000 for total in sums)
    assert np.mean(sums) == pytest.approx(12 * 16000, rel=0.05)


# -- micro-batches ----------------------------------------------------------------------------------------------------

LIMITS = {
    "max_samples": st.one_of(st.none(), st.integers(1, 10**6)),
    "max_items": st.one_of(st.none(), st.integers(1, 9)),
}


@quickly
@given(LENGTHS, st.fixed_dictionaries(LIMITS))
def test_micro_batches_cover_a_batch_and_keep_to_the_limits(lengths, limits):
    batches = micro_batches(lengths, **limits)
    assert sorted_items(batches) == list(range(len(lengths)))
    longest = [max(lengths[index] for index in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for batch, row in zip(batches, longest):
        assert limits["max_items"] is None or len(batch) <= limits["max_items"]
        assert limits["max_samples"] is None or len(batch) == 1 or len(batch) * row <= limits["max_samples"]


def test_micro_batches_of_one_padded_length_count_it_for_every_row():
    assert [len(batch) for batch in micro_batches([10] * 7, max_samples=300, pad_to=100)] == [3, 3, 1]


@quickly
@given(LENGTHS, st.integers(1, 10**6), st.one_of(st.none(), st.integers(1, 9)))
def test_even_micro_batches_cover_a_batch(lengths, samples, most):
    batches = even_micro_batches(lengths, about_samples=samples, max_items=most)
    assert sorted_items(batches) == list(range(len(lengths)))
    assert most is None or all(len(batch) <= most for batch in batches)


def test_even_micro_batches_are_as_large_as_each_other():
    batches = even_micro_batches([100] * 30, about_samples=1100)
    assert [len(batch) for batch in batches] == [10, 10, 10]


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_a_generator_depends_on_its_numbers_only():
    drawn = {key: generator(*key).integers(0, 2**62) for key in ((1,), (1, 2), (2, 1), (1, 2, 3))}
    assert len(set(drawn.values())) == 4
    assert all(generator(*key).integers(0, 2**62) == value for key, value in drawn.items())


@pytest.mark.parametrize(("seconds", "samples"), [(2.01, 32160), (0.1, 1600), (4.35, 69600), (0, 0)])
def test_samples_of_a_duration_are_counted_to_the_nearest(seconds, samples):
    assert samples_in(seconds, 16000) == samples
