"""The one place that calls flock. The kernel lets go of a lock when the process that holds it dies."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import IO, Any, Union

from asrctl.errors import StorageError

# What the system says of locks on a file system that has none.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


def take(lock: Union[int, IO[Any]], path: Path, *, shared: bool = False, wait: bool = False) -> None:
    """Lock an open file or folder, which lies at `path`, until it is closed.

    Raises BlockingIOError where somebody else holds it, unless `wait`; StorageError where its file system has no locks,
    and OSError.
    """
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(lock, how if wait else how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        folder = path if path.is_dir() else path.parent
        raise StorageError(
            f"the file system of {folder} has no locks (flock: {error.strerror}), so two commands could spoil "
            "each other's work there",
            fix="mount it with locks (Lustre: -o flock; NFS: with its lock service), "
            "or choose another place with --workspace or --output",
        ) from None
