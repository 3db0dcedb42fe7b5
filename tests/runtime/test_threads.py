"""Threads that keep the order, stay near whoever reads, and never hang silently."""

from __future__ import annotations

import os
import threading
from typing import List

import pytest

from asrctl.errors import StorageError
from asrctl.runtime.threads import AHEAD_PER_WORKER, default_workers, in_order, set_environment


def never(item: object, waited_s: float) -> None:
    raise AssertionError(f"{item} stalled for {waited_s} s")


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    assert list(in_order(lambda item: item * item, range(500), workers=workers, on_stall=never)) == [
        item * item for item in range(500)
    ]


def test_nobody_runs_far_ahead() -> None:
    taken: List[int] = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    results = in_order(str, items(), workers=2, on_stall=never)
    assert next(results) == "0"
    assert len(taken) <= 2 * AHEAD_PER_WORKER + 1
    results.close()


def test_an_error_comes_when_its_turn_comes() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    results = in_order(work, range(10), workers=2, on_stall=never)
    assert [next(results), next(results), next(results)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_a_stall_is_told_with_its_item_and_may_end_the_work() -> None:
    gate = threading.Event()
    told: List[object] = []

    def stalled(item: int, waited_s: float) -> None:
        told.append((item, round(waited_s, 2)))
        if len(told) == 3:
            raise StorageError("no progress", fix="look at the disk")

    results = in_order(lambda item: gate.wait(), ["stuck"], workers=1, on_stall=stalled, stall_s=0.01)
    with pytest.raises(StorageError):
        next(results)
    gate.set()
    assert told == [("stuck", 0.01), ("stuck", 0.02), ("stuck", 0.03)]


def test_threads_are_gone_afterwards() -> None:
    before = set(threading.enumerate())
    assert len(list(in_order(str, range(100), workers=4, on_stall=never))) == 100
    # Threads of earlier tests may still be ending, so counting them would say nothing.
    assert not set(threading.enumerate()) - before


def test_this_machine_has_a_core() -> None:
    assert default_workers() >= 1


@pytest.mark.parametrize(
    "theirs, ours", [({}, True), ({"GOMP_SPINCOUNT": "5"}, False), ({"OMP_WAIT_POLICY": "active"}, False)]
)
def test_torch_shares_the_cores_unless_the_user_decided(monkeypatch, theirs, ours) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    set_environment()
    assert (os.environ.get("GOMP_SPINCOUNT") == "10000") == ours
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "64"
