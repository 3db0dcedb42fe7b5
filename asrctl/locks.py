"""Locks by flock: the kernel lets go of them when the process that holds them dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, TextIO

from asrctl import files
from asrctl.errors import Locked


@contextmanager
def exclusive(path: Path, name: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock that `path` stands for. Raises Locked, calling it `name`, unless `wait`; StorageError, OSError."""
    while True:
        files.make_folder(path.parent)
        with open(path, "a+", encoding="utf-8") as stream:
            try:
                files.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), path)
            except BlockingIOError:
                raise Locked(
                    f"{name} is in use by {_holder(stream)}", fix="wait for it to end, or stop it, then run again"
                ) from None
            if not path.exists() or not os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                continue  # a command that made nothing took its empty workspace away while we waited
            with contextlib.suppress(OSError):  # a courtesy: on a full disk the lock holds without it
                os.ftruncate(stream.fileno(), 0)
                os.write(stream.fileno(), f"process {os.getpid()} on {platform.node()}".encode())
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # or the next holder would be called by our name for a moment
                    os.ftruncate(stream.fileno(), 0)
            return


def _holder(stream: TextIO) -> str:
    """Who holds a lock. Its holder writes that down just after it got hold: hence the patience."""
    for _ in range(100):
        stream.seek(0)
        told = stream.read(100).strip()
        if told:
            return told
        time.sleep(0.01)
    return "another process"
