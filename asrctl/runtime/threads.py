"""Threads that prefetch and return results in order. Nothing is forked, so no OpenMP lock can be inherited.

Decoding, resampling and hashing let go of Python's lock, so threads run them side by side. The threads are daemons: one
that hangs in a system call can not keep the program from ending.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Callable, Deque, Iterable, Iterator, Optional, Tuple, TypeVar

from asrctl.runtime import free_memory

if TYPE_CHECKING:  # `asrctl --help` has no need of it
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD_PER_WORKER = 4
STALL_S = 30.0
_JOIN_S = 1.0
# How often an idle OpenMP thread looks for work before it sleeps: some tens of microseconds. libgomp's own choice is
# a thousand times that, which is as fast on idle cores and 3 to 12 times slower on cores that somebody else uses too.
_OPENMP_SPINS = "10000"
# oneDNN makes code for each shape and keeps that of 1024, so it says. 42 steps of the base model made code 2395 times,
# and 941 times with room for more.
_ONEDNN_PRIMITIVES = "8192"


def set_environment() -> None:
    """What torch's libraries read when they are loaded: threads that wait for each other sleep, and code is kept.

    Only of use before torch is imported. What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _OPENMP_SPINS)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _ONEDNN_PRIMITIVES)
    if os.environ.get("LOCAL_RANK"):  # when a process of several ends, torch logs the C++ stack of each that notices
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if free_memory.is_limited():
        # numpy's, which takes 30 MB a thread when it is imported, and interrupts whoever has not that much left.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def default_workers() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    on_stall: Callable[[Item, float], None],
    stall_s: float = STALL_S,
) -> Iterator[Result]:
    """function(item) for each item, in the order of `items`, at most a few items ahead of whoever reads.

    After each `stall_s` without a result, `on_stall(item, seconds waited)` is called; it may raise to give up.
    What `function` raises is raised here, when its turn comes.
    """
    from concurrent.futures import Future

    tasks: "SimpleQueue[Optional[Tuple[Future, Any]]]" = SimpleQueue()
    pending: Deque[Tuple[Any, Future]] = deque()
    threads = [threading.Thread(target=_work, args=(function, tasks), daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for item in items:
            future: Future = Future()
            pending.append((item, future))
            tasks.put((future, item))
            if len(pending) > workers * AHEAD_PER_WORKER:
                yield _wait(*pending.popleft(), on_stall, stall_s)
        while pending:
            yield _wait(*pending.popleft(), on_stall, stall_s)
    finally:
        for _, future in pending:
            future.cancel()
        for _ in threads:
            tasks.put(None)
        for thread in threads:
            thread.join(_JOIN_S)


def _work(function: Callable[[Any], Any], tasks: "SimpleQueue[Optional[Tuple[Future, Any]]]") -> None:
    while True:
        task = tasks.get()
        if task is None:
            return
        future, item = task
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(function(item))
        except BaseException as error:  # raised again in the thread that reads the results
            future.set_exception(error)
        del task, future, item


def _wait(item: Any, future: Future, on_stall: Callable[[Any, float], None], stall_s: float) -> Any:
    from concurrent.futures import TimeoutError as FutureTimeoutError

    waited_s = 0.0
    while True:
        try:
            return future.result(timeout=stall_s)
        except FutureTimeoutError:
            if future.done():  # the work itself raised a TimeoutError
                raise
            waited_s += stall_s
            on_stall(item, waited_s)
