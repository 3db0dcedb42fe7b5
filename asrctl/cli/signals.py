"""Ctrl-C, and the ways in which clusters and closed terminals end a job: all become a KeyboardInterrupt."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import Any, Iterator

from asrctl.errors import EXIT_INTERRUPTED

_SHOW_CURSOR = b"\x1b[?25h"


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread; the second one ends the process at once.

    A signal that whoever started us has set to be ignored (nohup, background jobs) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received = []

    def handle(number: int, frame: Any) -> None:
        received.append(number)
        if len(received) > 1:
            _leave_at_once()
        raise KeyboardInterrupt

    watched = [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if _is_ours(number)]
    before = {number: signal.signal(number, handle) for number in watched}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_ours(number: int) -> bool:
    return signal.getsignal(number) not in (signal.SIG_IGN, None)


def _leave_at_once() -> None:
    # No clean-up: whoever asks twice means it. Only the cursor, which a progress bar hides, comes back.
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        os.write(sys.__stderr__.fileno(), _SHOW_CURSOR)
    os._exit(EXIT_INTERRUPTED)
