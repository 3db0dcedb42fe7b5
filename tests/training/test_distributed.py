"""Who computes what, in a training of several processes."""

import numpy as np
import pytest

from asrctl.config.recipe import Augment
from asrctl.data.augmentation.chain import Augmenter
from asrctl.data.sampler import even_micro_batches
from asrctl.training.distributed import dealing
from asrctl.training.distributed.dealing import Deal


@pytest.mark.parametrize("in_rounds", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 64])
def test_each_micro_batch_is_computed_once(size, in_rounds):
    seconds = np.random.default_rng(0).uniform(1, 40, 37).tolist()
    shares = [Deal(rank, size, in_rounds).mine(seconds) for rank in range(size)]
    assert sorted(number for share in shares for number in share) == list(range(37))
    assert all(share == sorted(share) for share in shares)


def test_one_process_takes_them_as_they_come():
    for in_rounds in (True, False):
        assert Deal(0, 1, in_rounds).mine([3.0, 1.0, 2.0]) == [0, 1, 2]


def test_processes_carry_equal_seconds():
    generator = np.random.default_rng(1)
    loads = np.zeros((2, 64))
    for _ in range(20):  # steps of 64 processes, each with 4 micro-batches of about 45 s to compute
        lengths = generator.gamma(3.0, 4.0, 960)
        cuts = even_micro_batches(lengths, about_samples=45)
        seconds = [float(lengths[cut].sum()) for cut in cuts]
        for rank, share in enumerate(dealing.evenly(seconds, 64)):
            loads[0, rank] += sum(seconds[number] for number in share)
        for turn in dealing.rounds(seconds, 64):
            loads[1] += [0.0 if number is None else seconds[number] for number in turn]
    assert (loads.max(axis=1) / loads.mean(axis=1) < 1.1).all()


def test_rounds_take_neighbors_so_that_sums_are_made_in_order():
    found = dealing.rounds([5.0, 4.0, 3.0, 2.0, 1.0], 2)
    assert [sorted(number for number in turn if number is not None) for turn in found] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("rules", [Augment(), Augment(speed=0.2), Augment(speed=0.15, vtlp=0.1, noise_snr_db=10)])
def test_how_long_an_utterance_becomes_is_known_before(rules):
    augmenter = Augmenter(rules, 16000, 5)
    for index, length in enumerate(np.random.default_rng(2).integers(2000, 30000, 40)):
        samples = np.zeros(int(length), dtype=np.float32)
        assert len(augmenter(samples, 3, index)) == augmenter.length(int(length), 3, index)
