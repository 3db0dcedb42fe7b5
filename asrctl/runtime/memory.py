"""Recognize that memory ran out, whatever library raised it, and say what to lower; keep the heap for reuse."""

from __future__ import annotations

import errno
import sys
from contextlib import contextmanager
from typing import Any, Iterator, Optional

from asrctl.errors import DeviceError
from asrctl.runtime import free_memory, os_errors

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


# The loader of libraries, where it finds no addresses for one.
_NOT_LOADED = ("failed to map segment", "cannot allocate memory", "cannot load library")


def ran_out(error: BaseException) -> bool:
    """Whether an error of whatever library means that memory, of the machine or of a GPU, ran out."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        text = str(error)
        return type(error).__name__ == "OutOfMemoryError" or text in _ONEDNN or any(sign in text for sign in _SIGNS)
    return isinstance(error, MemoryError) or (_is_vague(error) and free_memory.addresses_are_scarce())


def _is_vague(error: BaseException) -> bool:
    """Whether an error is one of those that can mean anything, and want of memory where addresses are scarce."""
    if isinstance(error, (ImportError, OSError)):
        return any(sign in str(error).lower() for sign in _NOT_LOADED)
    return isinstance(error, SystemError)  # of a C extension that looks at no result


def raise_shortage(error: BaseException) -> None:
    """Raise what means that memory or open files ran out, and that the file or setting at hand is not to blame for.

    For whoever catches all that a library raises over a bad file.
    """
    seen: Optional[BaseException] = error
    while seen is not None:
        if ran_out(seen):
            raise seen
        lack = os_errors.of_no_file(seen)
        if lack is not None:
            raise lack from None
        seen = seen.__cause__ or seen.__context__


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


# From malloc.h and sys/mman.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_MADV_HUGEPAGE = 14
_HUGE_PAGE = 2 << 20
_HEAP_GROWS_BY = 64 << 20
# Of the memory that is free, the share of addresses that are set aside for the heap. Addresses cost nothing.
_RESERVED_SHARE = 0.5


def keep_for_reuse() -> None:
    """Let the C library, where it is glibc, keep what is freed from now on, on huge pages where the kernel has them.

    A step of training or evaluation takes and frees a gigabyte in blocks of megabytes. Handed back to the system and
    taken again, each page of it is faulted in and cleared anew; on small pages the processor spends time on finding
    them. Now and then `give_back`, or holes add up; what was set aside on huge pages has to be set aside again then.
    Where addresses are limited or counted, nothing is kept: between the holes of a heap large blocks find no place, and
    a trial that failed would leave no room for a smaller one.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None and not free_memory.addresses_are_scarce():
        mallopt(_M_TRIM_THRESHOLD, -1)  # never
        mallopt(_M_TOP_PAD, _HEAP_GROWS_BY)
        mallopt(_M_MMAP_MAX, 0)
        _reserve(int(free_memory.free_bytes() * _RESERVED_SHARE))


def _reserve(size: int) -> None:
    """Let the heap have `size` more bytes of addresses, and ask for huge pages there."""
    import ctypes

    malloc, free, madvise = (_of_glibc(name) for name in ("malloc", "free", "madvise"))
    malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    free.restype, free.argtypes = None, [ctypes.c_void_p]
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    start = malloc(size) if size else None
    if start:
        first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
        madvise(first, max(0, start + size - first), _MADV_HUGEPAGE)
        free(start)


def _of_glibc(name: str) -> Any:
    """A function of glibc; None where the C library is another."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # here, because `asrctl --help` has no need of it

    library = ctypes.CDLL(None)
    return getattr(library, name, None) if hasattr(library, "mallopt") else None
