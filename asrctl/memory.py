"""When memory runs out: every library says so in its own words, and people are told what to lower. And giving back."""

from __future__ import annotations

import ctypes
import errno
import sys
from contextlib import contextmanager
from typing import Iterator

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
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
