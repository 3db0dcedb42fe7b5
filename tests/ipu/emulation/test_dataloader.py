"""Combined batches of the emulated poptorch.DataLoader."""

from __future__ import annotations

import pytest
import torch

from .toys import options


def batches(poptorch, items, **settings):
    loader = poptorch.DataLoader(options(poptorch, accumulation=2, replicas=2), list(range(items)), **settings)
    found = [batch.tolist() for batch in loader]
    assert len(found) == len(loader)
    return found


def test_a_batch_is_what_one_call_of_the_model_takes(poptorch) -> None:
    loader = poptorch.DataLoader(options(poptorch, accumulation=2, replicas=2, iterations=3), range(30), batch_size=2)
    assert loader.combinedBatchSize == loader.batch_size == 24
    assert loader.options.replication_factor == 2


@pytest.mark.parametrize("mode", [0, 1, 2], ids=["sync", "async", "rebatched"])
def test_the_rest_is_dropped_unless_it_is_asked_for(poptorch, mode) -> None:
    mode = poptorch.DataLoaderMode(mode)
    assert batches(poptorch, 10, mode=mode) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    if mode == poptorch.DataLoaderMode.Async:
        with pytest.raises(AssertionError, match="drop_last=False"):
            batches(poptorch, 10, mode=mode, drop_last=False)
    else:
        assert batches(poptorch, 10, mode=mode, drop_last=False) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("worker_size", [1, 2, 3, 4])
def test_rebatching_joins_what_the_workers_collate(poptorch, worker_size) -> None:
    sizes = []

    def collate(items):
        sizes.append(len(items))
        return torch.tensor(items)

    mode = poptorch.DataLoaderMode.AsyncRebatched
    found = batches(poptorch, 12, mode=mode, rebatched_worker_size=worker_size, collate_fn=collate)
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert set(sizes) == {worker_size}


def test_a_worker_collates_no_more_than_a_combined_batch(poptorch) -> None:
    with pytest.raises(AssertionError, match="must be <= to the combined batch size"):
        batches(poptorch, 12, mode=poptorch.DataLoaderMode.AsyncRebatched, rebatched_worker_size=5)


def test_an_order_of_ones_own(poptorch) -> None:
    assert batches(poptorch, 8, sampler=[7, 6, 5, 4, 0, 1]) == [[7, 6, 5, 4]]
