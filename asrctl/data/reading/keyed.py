"""Files of lines "KEY VALUE", as Kaldi and others write them: read in their order, looked up in flat memory.

Kaldi sorts all its files by key, byte by byte (kaldi-asr.org/doc/data_prep.html). So two of them are gone through side
by side; only where one is not sorted is it kept in memory.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterator, NamedTuple, Optional

from asrctl.data.reading import encodings, non_text
from asrctl.errors import BadData
from asrctl.storage import files

_MAX_LINE = 1 << 20
_SPACE = re.compile("[ \t]+")
_FIX = "check that this is a file of Kaldi"


class Line(NamedTuple):
    """number: in its file, from 1. value: without space around it; "" where there is only a key."""

    number: int
    key: str
    value: str


def lines(path: Path, *, names_files: bool = False) -> Iterator[Line]:
    """Those with a key. names_files: file names need not be UTF-8. Raises BadData."""
    number = 0
    with files.open_regular(path, fix=_FIX) as stream:
        non_text.refuse_other(path, stream.read(non_text.HEAD_BYTES))
        stream.seek(0)
        for raw in iter(lambda: stream.readline(_MAX_LINE), b""):
            number += 1
            if len(raw) >= _MAX_LINE:
                raise BadData(f"{path}, line {number} is longer than a line can be", fix=_FIX)
            parts = _SPACE.split(_decoded(path, number, raw, names_files).strip(), maxsplit=1)
            if parts[0]:
                yield Line(number, parts[0], parts[1] if len(parts) > 1 else "")


def _decoded(path: Path, number: int, raw: bytes, names_files: bool) -> str:
    raw = raw[3:] if number == 1 and raw.startswith(b"\xef\xbb\xbf") else raw
    try:
        return raw.decode("utf-8", "surrogateescape" if names_files else "strict").replace("\0", "")
    except UnicodeDecodeError:
        other = encodings.likely_encoding(raw)
        message = f"{path} is not UTF-8 but {other.likely} (line {number})"
        raise BadData(message, fix=other.converted(path, count=1)) from None


class Lookup:
    """Values by key: in flat memory where both the file and the questions are in the order of the keys."""

    def __init__(self, path: Path, *, names_files: bool = False) -> None:
        """Of a file that may be missing: then it has no key. names_files: as in `lines`.

        Raises BadData where a key comes twice.
        """
        self.is_there = files.is_file(path)
        self._lines = lines(path, names_files=names_files) if self.is_there else iter(())
        self._all: Dict[str, Line] = {}  # lines that came by and that nobody has asked for
        is_sorted = not self.is_there or _is_sorted(path, names_files)
        self._next = next(self._lines, None)
        if not is_sorted:
            self._keep_rest(path)

    def get(self, key: str) -> Optional[str]:
        """The value, once; None where there is no such key."""
        wanted = _order(key)
        while self._next is not None and _order(self._next.key) <= wanted:
            self._all[self._next.key] = self._next
            self._next = next(self._lines, None)
        found = self._all.pop(key, None)
        return None if found is None else found.value

    def rest(self) -> Iterator[Line]:
        """The lines that nobody has asked for."""
        yield from self._all.values()
        if self._next is not None:
            yield self._next
        yield from self._lines

    def _keep_rest(self, path: Path) -> None:
        while self._next is not None:
            if self._next.key in self._all:
                raise _twice(path, self._next)
            self._all[self._next.key] = self._next
            self._next = next(self._lines, None)


def _is_sorted(path: Path, names_files: bool) -> bool:
    before = b""
    for line in lines(path, names_files=names_files):
        key = _order(line.key)
        if key == before:
            raise _twice(path, line)
        if key < before:
            return False
        before = key
    return True


def _twice(path: Path, line: Line) -> BadData:
    return BadData(f"{path}, line {line.number}: {line.key} comes again", fix="leave one of the lines out")


def _order(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
