"""Folders for what is needed only while a command runs; those of killed commands go when the next one starts."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional

from asrctl.files import remove_tree
from asrctl.workspace import Workspace

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
        with tempfile.TemporaryDirectory(prefix="asrctl-") as path:
            yield Path(path)
        return
    is_new, made = not workspace.is_there, _missing(workspace.root)
    with workspace.lock(LOCK, wait=True):
        workspace.create()
        _sweep(workspace.root / ".tmp")
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=str(workspace.root / ".tmp")))
        lock = open(path / _LOCK, "w", encoding="utf-8")  # noqa: SIM115 - held until the folder goes
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        with workspace.lock(LOCK, wait=True), lock:  # nobody sweeps it while it goes
            remove_tree(path)
        if is_new:
            _take_away(workspace, made)


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
        is_empty = {path.name for path in workspace.root.iterdir()} <= {workspace.marker.name, temporary.name}
        if not is_empty or [path.name for path in temporary.iterdir()] != [f"{LOCK}.lock"]:
            return
        remove_tree(temporary)
        workspace.marker.unlink()
        for folder in made:
            if any(folder.iterdir()):
                return
            folder.rmdir()


def _sweep(root: Path) -> None:
    """Remove the folders whose owner is dead: the kernel has let go of its lock."""
    for path in root.glob(f"{_PREFIX}*"):
        if path.is_symlink() or (path / _LOCK).is_symlink():
            continue  # not ours, and what it leads to even less
        descriptor = os.open(str(path / _LOCK), os.O_WRONLY | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(path)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
