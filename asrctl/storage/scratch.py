"""Folders for what is needed only while a command runs; those of killed commands go when the next one starts."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional

from asrctl.storage import files, flock
from asrctl.storage.workspace import Workspace

# Held while a folder is made or removed; never for long.
LOCK = "scratch"
_PREFIX = "scratch-"
_LOCK = "in-use.lock"


@contextmanager
def folder(workspace: Workspace, *, write: bool = True) -> Iterator[Path]:
    """A new folder in the workspace (write=False: among the system's temporary files), gone when the block ends.

    A workspace that this makes goes with it where nothing was put into it: a command that is refused leaves no trace.
    """
    if not write:
        with tempfile.TemporaryDirectory(prefix="asrctl-") as temporary:
            yield Path(temporary)
        return
    is_new, made = not workspace.is_there, _missing(workspace.root)
    with workspace.lock(LOCK, wait=True):
        workspace.create()
        _sweep(workspace.root / ".tmp")
        path = workspace.root / ".tmp" / f"{_PREFIX}{secrets.token_hex(6)}"
        path.mkdir()
        lock = _locked(path)
    try:
        yield path
    finally:
        with workspace.lock(LOCK, wait=True):  # nobody sweeps it while it goes
            # First, because on NFS and FUSE a file that is open keeps its folder.
            os.close(lock)
            files.remove_tree(path)
        if is_new:
            _take_away(workspace, made)


def _locked(path: Path) -> int:
    """The lock of a folder of ours, held; close it to let go. Raises BlockingIOError where somebody else holds it."""
    lock = os.open(str(path / _LOCK), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        flock.take(lock, path)
    except BaseException:
        os.close(lock)
        raise
    return lock


def lock_beside(path: Path) -> Optional[str]:
    """The lock of an entry of `.tmp`, by name; None for a folder of ours, which has its lock in it."""
    return None if path.name.startswith(_PREFIX) else path.name


def _missing(path: Path) -> List[Path]:
    """The folders that making `path` will make, the innermost first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def _take_away(workspace: Workspace, made: List[Path]) -> None:
    """Remove a workspace that holds nothing but its marker, and the folders made for it."""
    with workspace.lock(LOCK, wait=True):  # nobody else is about to begin something in it
        temporary = workspace.root / ".tmp"
        is_empty = {*files.names_in(workspace.root)} <= {workspace.marker.name, temporary.name}
        if not is_empty or files.names_in(temporary) != [f"{LOCK}.lock"]:
            return
        (temporary / f"{LOCK}.lock").unlink()
        workspace.marker.unlink()
    # Now that the lock is closed, which would keep its folder. Where somebody has begun something since, the first of
    # these is not empty, and stays.
    with contextlib.suppress(OSError):
        for folder in (temporary, *made):
            folder.rmdir()


def _sweep(root: Path) -> None:
    """Remove the folders whose owner is dead: the kernel has let go of its lock."""
    for path in root.glob(f"{_PREFIX}*"):
        if path.is_symlink() or (path / _LOCK).is_symlink():
            continue  # not ours, and what it leads to even less
        try:
            os.close(_locked(path))  # the one who holds our own lock is the only one who takes such a lock
            files.remove_tree(path)
        except (BlockingIOError, PermissionError, NotADirectoryError):  # alive, another user's, or none of ours
            continue
