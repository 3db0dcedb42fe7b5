"""Paths that users name for something to be written: each is resolved once, as the system would, and judged before use.

`build/../results` is no other word for `results`: where `build` is missing, the system knows no such path. Folding the
dots away would make a check see nothing and the write land in a folder that nobody meant.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Callable, List, Optional, Tuple

from asrctl.errors import UsageError
from asrctl.storage import files

_MISSING = (errno.ENOENT, errno.ENOTDIR)


def resolve(path: Path) -> Path:
    """The absolute path, links followed, of what may still be made. Raises UsageError where the system has no such
    path: `..` behind what is missing or no folder, a link that leads nowhere, a name that is too long; and OSError."""
    there = path
    missing: List[str] = []
    while not _exists(there):
        if there.is_symlink():
            raise UsageError(f"{there} is a link that leads nowhere", fix="remove the link, or choose another path")
        if there.name == "..":
            raise UsageError(
                f"{path} leads nowhere: {there.parent} is not a folder",
                fix=f"write the path without {there.parent.name}/.., or make that folder first",
            )
        missing.insert(0, there.name)
        there = there.parent
    if missing and not there.is_dir():
        raise UsageError(f"{there} is a file, so there can be no {path}", fix="choose another path")
    for name in missing:
        if len(os.fsencode(name)) > files.longest_name(there):
            raise UsageError(f"the name {name} is too long", fix="choose a shorter one")
    return Path(os.path.realpath(str(there)), *missing)


def _exists(path: Path) -> bool:
    """Whether the system finds it; unlike Path.exists it does not keep silent about what may not be looked into."""
    try:
        path.stat()
    except ValueError:  # a zero byte, or half a character
        raise UsageError(f"{str(path)!r} can not be the name of a file", fix="choose another name") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"{path} is a link that leads in a circle", fix="choose another path") from None
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(f"the name of {path} is too long", fix="choose a shorter one") from None
        if error.errno not in _MISSING:
            raise
        return False
    return True


def refuse_unwritable(folder: Path) -> None:
    """Raises OSError where nothing may be made in a folder or, where it is missing, in the one that it will lie in."""
    while not folder.exists():
        folder = folder.parent
    if not os.access(str(folder), os.W_OK | os.X_OK):
        read_only = os.statvfs(str(folder)).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        raise OSError(number, os.strerror(number), str(folder))


def is_same(left: Path, right: Path) -> bool:
    """Whether two resolved paths are the same folder, by whatever mount or spelling."""
    if left == right:
        return True
    try:
        return left.samefile(right)
    except OSError as error:
        if error.errno not in _MISSING:
            raise
        return False


def below(path: Path, folder: Path) -> Optional[Tuple[str, ...]]:
    """The names that lead from `folder` to a resolved path in it; None where it is not in it. Nothing for itself."""
    for above in (path, *path.parents):
        if is_same(above, folder):
            return path.relative_to(above).parts
    return None


def refuse_overwriting(path: Path, is_ours: Callable[[Path], bool], *, what: str, replace: bool) -> None:
    """Raises UsageError unless a resolved path is free or, with `replace`, a file of the kind that we write.

    what: that kind, as in "a preset".
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder", fix="name a file in it")
    if not os.path.lexists(str(path)):
        return
    if not files.is_file(path):
        raise UsageError(f"{path} is no regular file", fix="choose another name")
    if not is_ours(path):
        raise UsageError(f"{path} is there already and is not {what}", fix="choose another name, or move that file")
    if not replace:
        raise UsageError(f"{path} is there already", fix="choose another name, or replace it by --force")
