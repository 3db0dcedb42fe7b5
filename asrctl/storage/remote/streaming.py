"""Files from elsewhere that are read where they lie, by ranges: for what does not fit on the disk.

In the place of such a file lies a small one here that says where it is and which version is meant. So it has a path, a
time and a size like any other, and what is remembered of a file holds for it too; those that read files of this kind
open it through `opened`.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Iterator, NamedTuple, Optional, Tuple

from asrctl.errors import BadData, MissingArtifact
from asrctl.storage import addresses, files
from asrctl.storage.addresses import Address
from asrctl.storage.hashing import file_sha256
from asrctl.storage.json_shape import misfit
from asrctl.storage.remote import failures, open_store
from asrctl.storage.remote.stores import OTHER, Broken, Changed, Info, Patience, Refused, patiently

_MAGIC = b'{"asrctl-stream": 1, '
_MOST_BYTES = 1 << 14
# Of archives and tables, which alone are read by ranges.
_SUFFIXES = (".tar", ".gz", ".tgz", ".parquet", ".arrow")
_FIRST_BYTES, _MOST_AT_ONCE = 1 << 18, 8 << 20
# Of all files together, so that memory stays flat however many are open.
_KEPT_BYTES = 32 << 20


class Unreachable(MissingArtifact):
    """A connection that stays broken: no fault of the data, and nothing is rejected for it."""


class Stand(NamedTuple):
    """What lies here in the place of a file."""

    address: Address
    info: Info


def write(path: Path, address: Address, info: Info) -> None:
    """Put a file in the place of the one that is meant; one that says the same stays as it is."""
    told = {"asrctl-stream": 1, "address": address.shown, "size": info.size, "version": info.version}
    text = json.dumps(told)
    if not files.is_file(path) or path.stat().st_size > _MOST_BYTES or path.read_text("utf-8", "replace") != text:
        files.write_text(path, text)


def stand(path: Path) -> Optional[Stand]:
    """What a file stands for; None for one that is what it is. Raises OSError."""
    # Of any other file nothing is read here: whoever wants it will, and knows what to do where that fails.
    if path.suffix.lower() not in _SUFFIXES or not len(_MAGIC) <= path.stat().st_size <= _MOST_BYTES:
        return None
    with open(path, "rb") as stream:
        head = stream.read(_MOST_BYTES)
    if not head.startswith(_MAGIC):
        return None
    fix = "delete that file and run the command again"
    try:
        told = files.parse_json(head.decode("utf-8"))
    except (ValueError, RecursionError):
        told = None
    problem = misfit(told, {"address": str, "size": (int, type(None)), "version": str})
    if problem is None and not addresses.is_known(told["address"]):
        problem = "address"
    if problem is not None:
        raise BadData(f"{path} is damaged ({problem})", fix=fix)
    return Stand(addresses.parsed(told["address"]), Info(told["size"], told["version"]))


def size_of(path: Path) -> int:
    """Bytes of a file, or of the one that it stands for. Raises OSError."""
    found = stand(path)
    return path.stat().st_size if found is None else found.info.size or 0


def sha256(path: Path) -> str:
    """Of a file's bytes (64 hex digits), wherever they lie. Raises BadData, MissingArtifact, OSError."""
    if stand(path) is None:
        return file_sha256(path)
    hasher = hashlib.sha256()
    with opened(path) as stream:
        for block in iter(lambda: stream.read(_FIRST_BYTES), b""):
            hasher.update(block)
    return hasher.hexdigest()


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file to read from, wherever it lies. Raises BadData, MissingArtifact, OSError."""
    found = stand(path)
    if found is None:
        with open(path, "rb") as stream:
            yield stream
    else:
        yield io.BufferedReader(RangedFile(found), 1 << 16)  # type: ignore[misc]


class _Blocks:
    """The last blocks that were read, of all files."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: "OrderedDict[Tuple[int, int], bytes]" = OrderedDict()
        self._bytes = 0

    def find(self, file: int, at: int) -> Optional[Tuple[int, bytes]]:
        """(where it begins, block) of the block that holds a byte."""
        with self._lock:
            for key, block in self._kept.items():
                if key[0] == file and key[1] <= at < key[1] + len(block):
                    self._kept.move_to_end(key)
                    return key[1], block
        return None

    def put(self, file: int, start: int, block: bytes) -> None:
        with self._lock:
            self._bytes += len(block) - len(self._kept.pop((file, start), b""))
            self._kept[(file, start)] = block
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])


_BLOCKS = _Blocks()
_NUMBERS = iter(range(1, 1 << 62))


class RangedFile(io.RawIOBase):
    """A file elsewhere, of a known size and version. Not for several threads at once.

    What is read in a row comes in ever larger blocks. `read` raises BadData, MissingArtifact.
    """

    def __init__(self, meant: Stand, patience: Patience = Patience()) -> None:
        super().__init__()
        self._patience = patience
        self._address, self._info = meant
        self._number = next(_NUMBERS)
        self.size = self._info.size or 0
        self._at = 0
        self._end, self._length = 0, _FIRST_BYTES  # of the last block

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """All that is asked for, but for the end of the file."""
        wanted = max(0, self.size - self._at) if size < 0 else size
        found = bytearray(min(wanted, max(0, self.size - self._at)))
        have = 0
        while have < len(found):
            have += self.readinto(memoryview(found)[have:])
        return bytes(found)

    def readinto(self, target: Any) -> int:
        if self._at >= self.size:
            return 0
        start, block = _BLOCKS.find(self._number, self._at) or self._fetched()
        inside = self._at - start
        count = min(len(target), len(block) - inside)
        target[:count] = memoryview(block)[inside : inside + count]
        self._at += count
        return count

    def _fetched(self) -> Tuple[int, bytes]:
        """(where it begins, block) of one that begins here."""
        follows = self._at == self._end
        self._length = min(2 * self._length, _MOST_AT_ONCE) if follows else _FIRST_BYTES
        length = min(self._length, self.size - self._at)
        block = _read(self._address, self._at, length, self._info, self._patience)
        self._end = self._at + len(block)
        _BLOCKS.put(self._number, self._at, block)
        return self._at, block


def _read(address: Address, start: int, size: int, info: Info, patience: Patience) -> bytes:
    """Raises BadData, MissingArtifact."""
    store = open_store(address, patience)
    try:
        block = patiently(lambda: store.read(address, start, size, info), patience, _nobody, threading.Event())
    except Broken as error:
        told = failures.broken(address, str(error), 0, None)
        raise Unreachable(told.message, fix=f"{told.fix}; finished shards are kept") from None
    except Changed:
        raise Unreachable(f"{address.shown} has changed since it was listed", fix="run the command again") from None
    except Refused as error:
        told = failures.refused(address, error)
        fix = told.fix if error.what != OTHER else "leave --streaming out, so that it is fetched whole"
        raise Unreachable(told.message, fix=fix) from None
    if len(block) < size:
        raise Unreachable(f"{address.shown} ends too early", fix="run the command again")
    return block


def _nobody(_: str) -> None:
    """Who is told of a connection that is made again."""
