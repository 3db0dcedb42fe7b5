"""The objects of a file of JSON: a line for each, packed by gzip or not, or all in one array."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any, Dict, Iterator

from asrctl.errors import BadData
from asrctl.storage import files, packed

_MAX_LINE = 1 << 24
# An array is read as a whole: what is larger is written a line for each, as everybody does.
_MAX_ARRAY = 1 << 30
_PIECE = 1 << 20


def objects_of(path: Path) -> Iterator[Dict[str, Any]]:
    """In their order, of lines in flat memory. Raises BadData."""
    fix = "check that this is a manifest, or make it again"
    with packed.opened(path, fix=fix) as stream:
        yield from _parsed(path, stream, fix)


def _parsed(path: Path, stream: IO[bytes], fix: str) -> Iterator[Dict[str, Any]]:
    first = True
    for number, line in enumerate(iter(lambda: stream.readline(_MAX_LINE), b""), 1):
        if first and line.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
            yield from _array(path, line + _rest(stream), fix)
            return
        if line.strip():
            first = False
            yield _checked(path, f"{path}, line {number}", line, fix)


def _rest(stream: IO[bytes]) -> bytes:
    """All that is left, a byte more than may be at most: in pieces, as a read takes the room for all it may give."""
    pieces, left = [], _MAX_ARRAY + 1
    while left > 0:
        piece = stream.read(min(left, _PIECE))
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _array(path: Path, data: bytes, fix: str) -> Iterator[Dict[str, Any]]:
    if len(data) > _MAX_ARRAY:
        raise BadData(f"{path} is too large for one array of JSON", fix="write it as JSON lines")
    try:
        found = files.parse_json(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadData(f"{path} is not valid JSON ({error})", fix=fix) from None
    for number, value in enumerate(found, 1):
        if not isinstance(value, dict):
            raise BadData(f"{path}, entry {number} is no object", fix=fix)
        yield value


def _checked(path: Path, where: str, line: bytes, fix: str) -> Dict[str, Any]:
    try:
        value = files.parse_json(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadData(f"{where} is not valid JSON ({error})", fix=fix) from None
    if not isinstance(value, dict):
        raise BadData(f"{where} is no object", fix=fix)
    return value
