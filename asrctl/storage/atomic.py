"""Replace one folder by another atomically; a replacement that a kill interrupts is finished or undone.

Three ways, by what the file system can do: the two are swapped in one step; or the old one is renamed out of the way
and the new one into its place; or, where a folder can not be renamed (the lower layers of an overlay, of which
container images are made: EXDEV), the old one is deleted once the new one lies ready. In the last two nobody finds the
folder for a moment.

On NFS and FUSE a folder that is deleted while somebody has a file of it open stays, with nothing but a hidden name of
that file in it, until it is closed. Where such a remainder lies at a name that is needed, it is renamed (`SPARE`);
whoever deletes at that name later, or `asrctl clean`, takes it away.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Callable, Iterator, Optional

from asrctl.storage import files

# Is shown the old folder, which nobody finds any more and which is about to be deleted, and the new one. Where it
# raises, all is as it was.
Settling = Callable[[Path, Path], None]
ENDINGS = _ASIDE, _READY = "asrctl-old", "asrctl-new"
_GONE = "asrctl-gone"
SPARE = rf"{_GONE}-\d+"
_SWEPT = 9  # of those; `asrctl clean` takes away more
# What the system says where a folder is to get the name of one that is not empty; EPERM: sshfs.
_IN_THE_WAY = (errno.ENOTEMPTY, errno.EEXIST, errno.EPERM)
# A hidden name (files.beside) of ours.
_HIDDEN = re.compile(rf"\.(.+)\.(?:tmp|asrctl-tmp|old|{'|'.join(ENDINGS)})")


def replace_tree(
    building: Path,
    target: Path,
    *,
    aside: Optional[Path] = None,
    ready: Optional[Path] = None,
    settling: Optional[Settling] = None,
) -> None:
    """Put a folder in the place of `target`, which need not exist. Raises OSError, and what `settling` raises.

    After a kill `settle_tree` finishes it or takes it back. aside, ready: where the old one, or the new one, lies in
    the moment when `target` is missing; default: beside it.
    """
    aside, ready = aside or files.beside(target, _ASIDE), ready or files.beside(target, _READY)
    if not os.path.lexists(str(target)):
        _rename(building, target)
    elif _swapped(building, target):
        _settle_or(settling, building, target, lambda: _swapped(building, target))
    else:
        files.remove_tree(aside)
        if _renamed(target, aside):
            _rename(building, target)
            _settle_or(settling, aside, target, lambda: _back(building, target, aside))
        else:
            _settle_or(settling, target, building, lambda: None)
            _rename(building, ready)
            files.remove_tree(target)
            _rename(ready, target)
    files.fsync_path(target.parent)
    files.remove_tree(building)
    files.remove_tree(aside)
    clear_spares(aside)


def _settle_or(settling: Optional[Settling], old: Path, new: Path, undo: Callable[[], object]) -> None:
    if settling is None:
        return
    try:
        settling(old, new)
    except BaseException:
        undo()
        raise


def _back(building: Path, target: Path, aside: Path) -> None:
    _rename(target, building)
    _rename(aside, target)


def settle_tree(
    target: Path,
    *,
    aside: Optional[Path] = None,
    ready: Optional[Path] = None,
    settling: Optional[Settling] = None,
) -> None:
    """Finish, or take back, a `replace_tree` that was killed. Raises OSError, and what `settling` raises."""
    aside, ready = aside or files.beside(target, _ASIDE), ready or files.beside(target, _READY)
    if ready.is_dir() and not ready.is_symlink():  # it was whole, and the old one is perhaps half gone
        if settling is not None and target.is_dir():
            settling(target, ready)
        files.remove_tree(target)
        _rename(ready, target)
    elif aside.exists() and not target.exists() and not files.is_gone(aside):
        move_tree(aside, target)
    if settling is not None and aside.is_dir():
        settling(aside, target)
    files.remove_tree(aside)
    clear_spares(aside)


def move_tree(source: Path, target: Path, *, mark: Optional[str] = None) -> None:
    """Rename a folder to a name that is free; where the file system can not, copy it and delete it. `target` appears
    whole or not at all.

    mark: the file without which a folder counts for nothing; of a folder that goes it is the first to go.
    """
    if _renamed(source, target):
        return
    copy = files.beside(target, "tmp")
    files.remove_tree(copy)
    shutil.copytree(str(source), str(copy), symlinks=True)
    files.fsync_tree(copy)
    _rename(copy, target)
    files.fsync_path(target.parent)
    _remove_marked(source, mark)


def delete_tree(folder: Path, doomed: Path, *, mark: Optional[str] = None, settling: Optional[Settling] = None) -> None:
    """Delete a folder, out of sight in one step (as `doomed`) where the file system can. mark: as in `move_tree`."""
    if folder == doomed:
        files.remove_tree(folder)
        return
    files.remove_tree(doomed)
    if _renamed(folder, doomed):
        _settle_or(settling, doomed, folder, lambda: _rename(doomed, folder))
        files.remove_tree(doomed)
    else:
        _settle_or(settling, folder, doomed, lambda: None)
        _remove_marked(folder, mark)


def _remove_marked(folder: Path, mark: Optional[str]) -> None:
    if mark is not None and files.is_file(folder / mark):
        (folder / mark).unlink()
        files.fsync_path(folder)
    files.remove_tree(folder)


def _renamed(source: Path, target: Path) -> bool:
    """False where the file system can not rename this folder."""
    try:
        _rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _rename(source: Path, target: Path) -> None:
    """os.rename, also where what is left of a deleted folder, while others have its files open, lies at `target`."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno not in _IN_THE_WAY or not files.is_gone(target):
            raise
        os.rename(target, _spare(target))
        os.rename(source, target)


def _spare(path: Path) -> Path:
    """The first free name of those for what is left of `path`."""
    return next(spare for spare in _spares(path) if not os.path.lexists(str(spare)))


def _spares(path: Path) -> Iterator[Path]:
    hidden = _HIDDEN.fullmatch(path.name)
    plain = path if hidden is None else path.with_name(hidden.group(1))
    return (files.beside(plain, f"{_GONE}-{number}") for number in itertools.count(1))


def clear_spares(path: Path) -> None:
    """Delete what was left of folders that lay at `path`, as far as nobody has it open any more."""
    for spare in itertools.islice(_spares(path), _SWEPT):
        if os.path.lexists(str(spare)) and files.is_gone(spare):
            files.remove_tree(spare)


_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2  # linux/fcntl.h, linux/fs.h; macOS: sys/stdio.h
_NO_SWAP = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM}


def _swapped(left: Path, right: Path) -> bool:
    """Swap two folders in one step; False where the system has no such call, or the file system does not know it."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    try:
        if sys.platform == "darwin":
            result = library.renamex_np(os.fsencode(left), os.fsencode(right), _RENAME_SWAP)
        else:
            result = library.renameat2(
                _AT_FDCWD, os.fsencode(left), _AT_FDCWD, os.fsencode(right), ctypes.c_uint(_RENAME_EXCHANGE)
            )
    except AttributeError:
        return False
    if result == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_SWAP:
        return False
    raise OSError(number, os.strerror(number), str(right))
