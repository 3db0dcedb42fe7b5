"""Memory that runs out: each library says so in its own words, and people are told what to lower; and what is kept."""

from __future__ import annotations

import ctypes
import errno
import sys
from contextlib import contextmanager
from typing import Any, Iterator

from asrctl.errors import DeviceError

# torch's allocators of the CPU, CUDA and MPS, cuBLAS, cuDNN, oneDNN, C++ and Python's threads, in this order.
_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "STATUS_ALLOC_FAILED",
    "could not create a memory",
    "std::bad_alloc",
    "can't start new thread",
)
# oneDNN's whole message where it gets no memory for the code that it makes; with more words it means other things.
_ONEDNN = ("could not create a primitive", "could not execute a primitive")


def ran_out(error: BaseException) -> bool:
    """Whether an error of whatever library means that memory, of the machine or of a GPU, ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        text = str(error)
        return type(error).__name__ == "OutOfMemoryError" or text in _ONEDNN or any(sign in text for sign in _SIGNS)
    return isinstance(error, MemoryError)


@contextmanager
def explained(message: str, fix: str) -> Iterator[None]:
    """Within the block, memory that runs out becomes a DeviceError of these two sentences."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not ran_out(error):
            raise
        raise DeviceError(message, fix=fix) from None


def give_back() -> None:
    """Hand the holes in the heap back to the system, where the C library is glibc.

    Threads that take and free blocks of all sizes leave holes that glibc keeps: memory then grows for hours without
    anybody holding more.
    """
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


# From malloc.h. glibc takes no larger block than this from the heap.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_HEAP_BLOCK = 32 << 20


def keep_for_reuse() -> None:
    """Let the C library, where it is glibc, keep what is freed from now on.

    A training step takes and frees a gigabyte in blocks of megabytes. Handed back to the system and taken again, each
    page of it is faulted in and cleared anew: 4 % of a step. Now and then `give_back`, or holes add up.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_M_TOP_PAD, _LARGEST_HEAP_BLOCK)


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
