"""Run a command in a child process where memory or threads are limited, so that the parent can report a crash.

OpenBLAS, OpenMP and C++ end their process at once where they get no memory for a buffer, or no thread.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import List, NoReturn, Optional, Sequence

from asrctl import errors
from asrctl.runtime import free_memory, signals

# What people and job systems send.
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# How libraries end a process that gets no memory.
_CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
_QUICK = ("--help", "-h", "--version")
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of linux/prctl.h


class Ending:
    """The pipe by which a child reports a regular end and its exit code to its parent."""

    def __init__(self, pipe: Optional[int] = None) -> None:
        self._pipe = pipe

    def tell(self, code: int) -> None:
        if self._pipe is not None:
            os.write(self._pipe, bytes([code]))

    def leave_to_parent(self) -> None:
        """Exit at once without a message where there is a parent that prints one."""
        if self._pipe is not None:
            os._exit(errors.EXIT_BUG)


def begin(words: Sequence[str]) -> Ending:
    """Return in a child process where something is limited, in this one where nothing is.

    In the parent of a child: raises SystemExit with the child's code, DeviceError where a library has ended it.
    """
    if not sys.platform.startswith("linux") or not words or set(words) & set(_QUICK) or not free_memory.is_limited():
        return Ending()
    reading, writing = os.pipe()
    watched: List[int] = [number for number in _FORWARDED if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    watched.append(signal.SIGCHLD)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    parent = os.getpid()
    child = os.fork()
    if child:
        os.close(writing)
        _follow(child, reading, watched)
    os.close(reading)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    signals.expect_echoes()
    _end_with(parent)
    _load_hashes()
    return Ending(writing)


def _end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent is killed."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    except (MemoryError, OSError, ImportError):
        return  # without memory for that it comes to its own end soon
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _load_hashes() -> None:
    """Import hashlib. Where there is no memory for it, it logs a traceback for each algorithm and goes on without.

    Raises MemoryError.
    """
    import logging

    logging.disable()
    import hashlib

    logging.disable(logging.NOTSET)
    if not all(hasattr(hashlib, name) for name in hashlib.algorithms_guaranteed):
        raise MemoryError


def _follow(child: int, pipe: int, watched: List[int]) -> NoReturn:
    status = _waited(child, watched)
    told = os.read(pipe, 1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, watched)
    if told:
        raise SystemExit(told[0])
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == errors.EXIT_INTERRUPTED:
        raise SystemExit(errors.EXIT_INTERRUPTED)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) not in _CRASHES:
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    raise errors.DeviceError(
        f"a library got no memory or no thread, and ended the command ({free_memory.limits()})",
        fix="raise the limit, or ask for more memory where a job system sets it",
    )


def _waited(child: int, watched: List[int]) -> int:
    """How the child ended. What is sent to us until then, it gets."""
    while True:
        found = signal.sigwaitinfo(watched)
        if found.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
        elif found.si_code <= 0:  # sent by a process; what a terminal sends, the child gets too
            os.kill(child, found.si_signo)
