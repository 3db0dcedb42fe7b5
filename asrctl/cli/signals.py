"""Ctrl-C, and the ways in which clusters and closed terminals end a job: all become a KeyboardInterrupt."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import Any, Iterator

from asrctl.errors import EXIT_INTERRUPTED
from asrctl.runtime.signals import is_echo

_SHOW_CURSOR = b"\x1b[?25h"

# After how many seconds an interruption that got lost is raised anew: the callback it was lost in should be over.
_AGAIN_S = 0.01


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
        if is_echo(number):
            return
        received.append(number)
        if len(received) > 1:
            _leave_at_once()
        raise KeyboardInterrupt

    watched = [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if _is_ours(number)]
    before = {number: signal.signal(number, handle) for number in watched}
    try:
        with _raised_until_heard():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _raised_until_heard() -> Iterator[None]:
    """Raise a KeyboardInterrupt again that was swallowed (in a destructor, say), a moment later.

    A signal may come while Python runs the callback of a weak reference, a `__del__` or a callback from C. There
    nothing can be raised: Python tells `sys.unraisablehook` and goes on as if nobody had asked it to stop.
    """

    def unheard(lost: Any) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGALRM, again)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        else:
            hook(lost)

    def again(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    hook, sys.unraisablehook = sys.unraisablehook, unheard
    handler = signal.getsignal(signal.SIGALRM)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler or signal.SIG_DFL)
        sys.unraisablehook = hook


def _is_ours(number: int) -> bool:
    return signal.getsignal(number) not in (signal.SIG_IGN, None)


def _leave_at_once() -> None:
    # No clean-up: whoever asks twice means it. Only the cursor, which a progress bar hides, comes back.
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        os.write(sys.__stderr__.fileno(), _SHOW_CURSOR)
    os._exit(EXIT_INTERRUPTED)
