"""Folders for what is needed only while a command runs; those of killed commands go when the next one starts."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from asrctl.files import remove_tree
from asrctl.workspace import Workspace

_PREFIX = "scratch-"
_LOCK = "in-use.lock"


@contextmanager
def folder(workspace: Workspace, *, write: bool = True) -> Iterator[Path]:
    """A new folder in the workspace (write=False: among the system's temporary files), gone when the block ends."""
    if not write:
        with tempfile.TemporaryDirectory(prefix="asrctl-") as path:
            yield Path(path)
        return
    workspace.create()
    with workspace.lock("scratch", wait=True):
        _sweep(workspace.root / ".tmp")
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=str(workspace.root / ".tmp")))
        lock = open(path / _LOCK, "w", encoding="utf-8")  # noqa: SIM115 - held until the folder goes
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        remove_tree(path)
        lock.close()


def _sweep(root: Path) -> None:
    """Remove the folders whose owner is dead: the kernel has let go of its lock."""
    for path in root.glob(f"{_PREFIX}*"):
        descriptor = os.open(str(path / _LOCK), os.O_WRONLY | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(path)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
