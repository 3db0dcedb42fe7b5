"""Tar archives read as a stream: nothing is unpacked, no member can touch the disk, no declared size is trusted.

Our own reader, because Python's tarfile reads whatever a header declares into memory and keeps every member it has
seen. It knows what speech archives hold: regular files under ustar, GNU long and pax names. Links, devices, sparse and
other members are passed over.
"""

from __future__ import annotations

import gzip
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Callable, Iterator, Optional, Set, Tuple

from asrctl.errors import BadData
from asrctl.messages import reasons
from asrctl.runtime.os_errors import naming
from asrctl.storage import files
from asrctl.storage.remote import streaming

MAX_AUDIO_BYTES = 1 << 26
MAX_TEXT_BYTES = 1 << 24
# A member above this is no utterance, and passing over it would take minutes (10 GB of zeros are 10 MB of gzip).
_MAX_MEMBER_BYTES = 1 << 30
_MAX_NAME_BYTES = 1 << 16
# Speech hardly compresses, silence does: only beyond the first quarter of a gigabyte is growth looked at.
_FREE_BYTES = 1 << 28
_MOST_GROWTH = 200
_BLOCK = 512
_SKIP = 1 << 20
_REGULAR = (b"0", b"\0", b"7")


class Damaged(BadData):
    """An archive that can be read up to a place, and no further."""


@dataclass(frozen=True)
class Member:
    """A regular file in an archive; `read(limit)` gives its bytes, once, before the next member is asked for."""

    name: str
    size: int
    read: Callable[[int], bytes]


def members(path: Path) -> Iterator[Member]:
    """The regular files of a tar or tar.gz, in their order. Raises BadData where it is damaged, OSError."""
    with streaming.opened(path) as raw, _unpacked(path, raw) as stream:
        position = _Position(path, raw, stream)
        long_name: Optional[str] = None
        while True:
            header = position.header()
            if header is None:
                position.check_rest()
                return
            name, kind, size = header
            if kind in (b"L", b"x"):
                long_name = _long_name(position, kind, size) or long_name
                continue
            if kind not in _REGULAR:
                position.skip(size)
                long_name = long_name if kind == b"g" else None
                continue
            position.begin(size)
            yield Member(_clean(long_name or name), size, position.read)
            position.end()
            long_name = None


@contextmanager
def _unpacked(path: Path, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    magic = raw.read(64)
    raw.seek(0)
    if files.is_lfs_pointer(magic):
        raise files.lfs_pointer(path)
    if magic[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream  # type: ignore[misc]
    else:
        yield raw


class _Position:
    """Where we are in the stream: between members, or inside one with `left` bytes to go."""

    def __init__(self, path: Path, raw: IO[bytes], stream: IO[bytes]) -> None:
        self._path = path
        self._raw = raw
        self._stream = stream
        self._unpacked_bytes = 0
        self._left = 0
        self._padding = 0

    def header(self) -> Optional[Tuple[str, bytes, int]]:
        """(name, type, size) of the next member, None at the end."""
        block = self._exactly(_BLOCK, at_end=True)
        if block is None or not block.strip(b"\0"):
            return None
        stored = _number(block[148:156])
        total = sum(block) - sum(block[148:156]) + 8 * 32
        size = _number(block[124:136])
        if stored != total or size is None or size < 0:
            raise self._damaged("a header does not match its checksum")
        name = block[:100].split(b"\0")[0]
        prefix = block[345:500].split(b"\0")[0] if block[257:263] == b"ustar\0" else b""
        full = prefix + b"/" + name if prefix else name
        return full.decode("utf-8", "replace"), block[156:157], size

    def check_rest(self) -> None:
        """Read the padding after the last member: only at its very end does gzip compare its checksum."""
        try:
            self._stream.read(_SKIP)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(reasons.reason(error)) from None

    def begin(self, size: int) -> None:
        self._left, self._padding = size, -size % _BLOCK

    def read(self, limit: int) -> bytes:
        """The rest of the member, `limit` bytes at most."""
        data = self._exactly(min(limit, self._left)) or b""
        self._left -= len(data)
        return data

    def end(self) -> None:
        if self._left > _MAX_MEMBER_BYTES:
            raise self._damaged(f"it holds a member of {self._left} bytes, which no utterance needs")
        left, self._left = self._left + self._padding, 0
        while left:
            left -= len(self._exactly(min(left, _SKIP)) or b"")

    def skip(self, size: int) -> None:
        self.begin(size)
        self.end()

    def _exactly(self, count: int, at_end: bool = False) -> Optional[bytes]:
        try:
            with naming(self._path):
                data = self._stream.read(count)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(reasons.reason(error)) from None
        self._unpacked_bytes += len(data)
        if self._unpacked_bytes > _FREE_BYTES + _MOST_GROWTH * self._raw.tell():
            raise self._damaged(f"it unpacks to more than {_MOST_GROWTH} times its size, which no speech does")
        if len(data) < count:
            if at_end and not data:
                return None
            raise self._damaged("it ends in the middle of a member")
        return data

    def _damaged(self, what: str) -> Damaged:
        return Damaged(f"{self._path} is damaged: {what}", fix="delete the archive and fetch it again")


def _number(digits: bytes) -> Optional[int]:
    """Octal text, or GNU's base 256 for large sizes."""
    if digits[:1] == b"\x80":
        return int.from_bytes(digits[1:], "big")
    text = digits.strip(b" \0")
    return int(text, 8) if text and all(byte in b"01234567" for byte in text) else 0 if not text else None


def _long_name(position: _Position, kind: bytes, size: int) -> Optional[str]:
    """The name in a GNU long-name or pax header; None where it holds none, or is too long to be one."""
    position.begin(size)
    data = position.read(_MAX_NAME_BYTES)
    position.end()
    if kind == b"L":
        return data.split(b"\0")[0].decode("utf-8", "replace")
    while data:
        length, _, rest = data.partition(b" ")
        if not length.isdigit() or int(length) <= len(length) + 1 or int(length) > len(data):
            return None
        record = data[len(length) + 1 : int(length)].rstrip(b"\n")
        if record.startswith(b"path="):
            return record[5:].decode("utf-8", "replace")
        data = data[int(length) :]
    return None


def _clean(name: str) -> str:
    """A member's name as we compare it: without `./` in front."""
    while name.startswith("./"):
        name = name[2:]
    return name


class MemberReader:
    """Reads chosen members of one archive; those asked for in the archive's order cost one pass.

    Members that are not there cost one more in all, however many they are.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names: Optional[Set[str]] = None  # of all members that can be read, once a pass has come to their end
        self._problem: Optional[Exception] = None
        self._members = self._pass()
        self._last: Tuple[str, bytes] = ("", b"")  # several stretches of one recording may be asked for

    def read(self, name: str) -> bytes:
        """A member's bytes, MAX_AUDIO_BYTES at most. Raises BadData where it is not there or damaged, OSError."""
        if name and name == self._last[0]:
            return self._last[1]
        for _ in range(2):
            if self._names is not None and name not in self._names:
                break
            for member in self._members:
                if member.name == name:
                    self._last = (name, member.read(MAX_AUDIO_BYTES))
                    return self._last[1]
            self._members = self._pass()
        if self._problem is not None:
            raise self._problem.with_traceback(None)
        raise BadData(f"{self.path} holds no {name}", fix="correct the list, or fetch the archive again")

    def _pass(self) -> Iterator[Member]:
        """The members from the first on, as far as they can be read."""
        names: Set[str] = set()
        try:
            for member in members(self.path):
                names.add(member.name)
                yield member
        except (BadData, OSError) as error:
            self._problem = error
        self._names = names
