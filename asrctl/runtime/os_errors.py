"""Failed system calls: which file they are about, and whether it is that one file alone that is at fault."""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional

# What the process or the machine lacks, whichever file was asked for.
_OF_NO_FILE = frozenset(
    (
        errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EINTR, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT,
    )
)  # fmt: skip


# As the standard library of Rust says it, older and newer, and Arrow.
_IN_TEXT = re.compile(r"(?:\bcode: |os error )(\d+)|\[errno (\d+)\]", re.I)


def fault_of_file(error: OSError) -> Optional[str]:
    """What is wrong with the one file that was asked for, in the system's words; None where any file would fail."""
    return None if error.errno in _OF_NO_FILE else error.strerror or str(error)


def of_no_file(error: BaseException) -> Optional[OSError]:
    """What the process or the machine lacks, where an error of whatever library says so, if only in its text."""
    if isinstance(error, OSError) and error.errno is not None:
        return error if error.errno in _OF_NO_FILE else None
    found = _IN_TEXT.search(str(error))
    number = int(found.group(1) or found.group(2)) if found else 0
    return OSError(number, os.strerror(number)) if number in _OF_NO_FILE else None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A system call that fails within the block is about `path`: `read` and its kin do not say so themselves."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
