"""Locks by flock: the kernel lets go of them when the process that holds them dies."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Set, TextIO

from asrctl.errors import Locked
from asrctl.storage import files, flock

_LOOKS, _PAUSE_S = 100, 0.01


@contextmanager
def exclusive(path: Path, name: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock that `path` stands for. Raises Locked, calling it `name`, unless `wait`; StorageError, OSError."""
    while True:
        with _opened(path) as stream:
            if wait:
                flock.take(stream, path, wait=True)
            else:
                _take(stream, path, name)
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


def _opened(path: Path) -> TextIO:
    """The file of a lock. Its folder can go, with an empty workspace, between being made and being used."""
    for _ in range(_LOOKS):
        files.make_folder(path.parent)
        with contextlib.suppress(FileNotFoundError):
            return open(path, "a+", encoding="utf-8")
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _take(stream: TextIO, path: Path, name: str) -> None:
    """Get hold of a lock, or raise Locked and say who has it.

    Its holder writes that down just after it got hold, and takes it back just before it lets go: hence the patience.
    """
    holder = ""
    for _ in range(_LOOKS):
        with contextlib.suppress(BlockingIOError):
            flock.take(stream, path)
            return
        stream.seek(0)
        holder = stream.read(100).strip()
        if holder:
            break
        time.sleep(_PAUSE_S)
    raise Locked(
        f"{name} is in use by {holder or 'another process'}", fix="wait for it to end, or stop it, then run again"
    )


def held_locks(root: Path) -> Set[str]:
    """Names of the locks, and of the scratch folders, in a workspace that some process holds now."""
    folder = root / ".tmp"
    names = {path: path.name[: -len(".lock")] for path in folder.glob("*.lock")}
    names.update({path: path.parent.name for path in folder.glob("*/in-use.lock")})
    return {name for path, name in names.items() if is_held(path)}


def is_held(path: Path) -> bool:
    """Whether some process holds the lock of this file now."""
    try:
        with open(path, "rb") as stream:
            flock.take(stream, path, shared=True)
    except BlockingIOError:
        return True
    except FileNotFoundError:  # it went while we looked
        return False
    return False
