"""Ctrl-C and SIGTERM as a request to stop at the next safe place; a second one leaves at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List

from asrctl.errors import EXIT_INTERRUPTED


@dataclass
class StopRequest:
    """`requested` turns true once, and stays."""

    requested: bool = False


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within the block, the first SIGINT, SIGTERM or SIGHUP sets `requested`; the second ends the process with 130.

    Outside the main thread signals can not be caught, and the request stays false.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def on_signal(number: int, frame: Any) -> None:
        if is_echo(number):
            return
        if request.requested:
            os._exit(EXIT_INTERRUPTED)
        request.requested = True

    before = {number: signal.signal(number, on_signal) for number in _watched()}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watched() -> List[int]:
    # What our parent has set to be ignored (nohup, background jobs) stays ignored.
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]


# Where a parent process hands on what it gets (cli/apart.py), a signal to the whole group comes twice.
_ECHO_S = 0.5


class _Echoes:
    def __init__(self) -> None:
        self.expected = False
        self.heard_at: Dict[int, float] = {}


_echoes = _Echoes()


def expect_echoes() -> None:
    """From now on a signal that comes again within half a second is the same one."""
    _echoes.expected = True


def is_echo(number: int) -> bool:
    """Whether a signal that has just come is one that was handled already."""
    now = time.monotonic()
    before = _echoes.heard_at.get(number)
    _echoes.heard_at[number] = now
    return _echoes.expected and before is not None and now - before < _ECHO_S
