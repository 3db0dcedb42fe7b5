"""Valid files, damaged: by bits, blocks, lengths and structure. A case is a few numbers, so that it can be replayed."""

from __future__ import annotations

import json
import re
import struct
from typing import Any, Callable, List, Sequence, Tuple

# (kind, place, amount): each a whole number; what they mean depends on the file.
Change = Tuple[int, int, int]
WIDEST = 1 << 32
MAX_BYTES = 1 << 20
CHANGE_BYTES = 9

_SIZES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, 2**63 - 1)
_LAYOUTS = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")
# Characters and sequences that text readers trip over: marks, surrogates, overlong forms, controls, line ends, digits.
HORRORS: Tuple[bytes, ...] = (
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\0", b"\x1b[2J",
    b"\r", b"\n", b"\r\n", b"\x0b", b"\x0c", b"\x1c", b"\x85", "\u2028".encode(), "\u2029".encode(),
    "\u202e".encode(), "\ufeff".encode(), "\u200d".encode(), "\u0301".encode() * 40, "\u0130".encode(),
    "\u1e9e\u00df".encode(), "\ufdfa".encode(), "\U0001f469\u200d\U0001f4bb".encode(), "\u0660\u0661".encode(),
    "\uff11".encode(), b'"', b"'", b'""', b",", b"\t", b";", b"|", b":", b": ", b"- ", b"? ", b"#", b"\\", b"%", b"~",
    b"[", b"]", b"{", b"}", b"[" * 3000, b'{"a":' * 3000, b"&a ", b"*a", b"!!python/object/apply:os.system ", b"!!set ",
    b"!!binary ", b"!!timestamp ", b"<<: ", b"---\n", b"...", b"\\ud800", b'"\\ud800"', b"\\u0000", b"null", b"true",
    b"NaN", b"-Infinity", b"1e999", b"-1", b"1_0", b"0x10", b"0b1", b"1:60", b"2001-99-99", b"2001-12-14", b"9" * 5000,
    b"../", b"/etc/passwd", b"~nobody-there/", b"x.tar.gz::", b"::", b"A" * 300, b"a" * 5000, b"=", b".", b" ",
)  # fmt: skip
# What a JSON value may be replaced by.
VALUES: Tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "\ud800",
    "\0", "a" * 5000, "../../x", "/etc/passwd", "~nobody-there", [], {}, [[]], [None], [1, "a"], {"": None}, {"a": {}},
    {"id": "x"}, [{}], ["a", "a"], "\u202e", "1", "step-1", "0" * 12,
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(\.\d+)?")


def apply(data: bytes, changes: Sequence[Change], others: Sequence[bytes]) -> bytes:
    """`data` after all `changes`; `others` are files whose blocks may be mixed in. At most MAX_BYTES long."""
    for kind, place, amount in changes:
        data = KINDS[kind % len(KINDS)](data, place, amount, others)[:MAX_BYTES]
    return data


def changes(data: bytes) -> List[Change]:
    """Bytes as they are drawn -> changes; what is left over is one more."""
    whole = [data[at : at + CHANGE_BYTES].ljust(CHANGE_BYTES, b"\0") for at in range(0, len(data), CHANGE_BYTES)]
    return [(part[0], int.from_bytes(part[1:5], "big"), int.from_bytes(part[5:], "big")) for part in whole]


def _at(data: bytes, place: int) -> int:
    """Half of all places lie in the first 64 bytes, where headers are."""
    if place % 2 and data:
        return (place // 2) % min(len(data), 64)
    return (place // 2) % (len(data) + 1)


def _length(amount: int) -> int:
    return 1 + (amount >> 8) % (4096 if amount % 4 == 0 else 16)


def _flip(data: bytes, place: int, amount: int, others: Sequence[bytes]) -> bytes:
    changed, at = bytearray(data), _at(data, place)
    for offset in range(1 + amount // 8 % 4):
        if at + offset < len(changed):
            changed[at + offset] ^= 1 << (amount + offset) % 8
    return bytes(changed)


def _byte(data: bytes, place: int, amount: int, others: Sequence[bytes]) -> bytes:
    at = _at(data, place)
    return data[:at] + bytes([amount % 256]) + data[at + 1 :]


def _cut(data: bytes, place: int, amount: int, others: Sequence[bytes]) -> bytes:
    return data[: _at(data, place)]


def _remove(data: bytes, place: int, amount: int, others: Sequence[bytes]) -> bytes:
    at = _at(data, place)
    return data[:at] + data[at + _length(amount) :]


def _repeat(data: bytes, place: int, amount: int, others: Sequence[bytes]) -> bytes:
    at, length = _at(data, place), _length(amount)
    return data[:at] + data[at : at + length] * (2 + amount % 30) + data[at + length :]


def _mix(data: bytes, place: int, amount: int, others: Sequence[bytes]) -> bytes:
    other = others[amount % len(others)]
    at, there, length = _at(data, place), _at(other, amount), _length(place)
    if amount % 3 == 0:
        return data[:at] + other[there:]
    return data[:at] + other[there : there + length] + data[at + (length if amount % 3 == 1 else 0) :]


def _horror(data: bytes, place: int, amount: int, others: Sequence[bytes]) -> bytes:
    at, horror = _at(data, place), HORRORS[amount % len(HORRORS)]
    over = len(horror) if amount // len(HORRORS) % 2 else 0
    return data[:at] + horror + data[at + over :]


def _size(data: bytes, place: int, amount: int, others: Sequence[bytes]) -> bytes:
    """A length field (or what stands where one might) blown up."""
    layout = _LAYOUTS[amount % len(_LAYOUTS)]
    width, at = struct.calcsize(layout), _at(data, place)
    value = _SIZES[amount // 8 % len(_SIZES)] % (1 << (8 * width))
    return data[:at] + struct.pack(layout, value) + data[at + width :]


def _number(data: bytes, place: int, amount: int, others: Sequence[bytes]) -> bytes:
    found = list(_NUMBER.finditer(data[:65536]))
    if not found:
        return data
    here = found[place % len(found)]
    # As large as its width allows, in octal too, so that what stands behind it keeps its place; twice as likely.
    widest = b"7" * len(here.group())
    news = (b"-1", b"0", b"1e999", b"9" * 30, b"NaN", b"0.5", b"4294967296", b"1e-9", b"007", b"true", widest, widest)
    new = news[amount % len(news)]
    return data[: here.start()] + new + data[here.end() :]


def _swap(data: bytes, place: int, amount: int, others: Sequence[bytes]) -> bytes:
    at, length = _at(data, place), _length(amount)
    return data[:at] + data[at + length : at + 2 * length] + data[at : at + length] + data[at + 2 * length :]


def _structure(data: bytes, place: int, amount: int, others: Sequence[bytes]) -> bytes:
    """One value of a JSON document, or of one of its lines, replaced, removed or renamed."""
    lines = data.split(b"\n") if data.count(b"\n{") else [data]
    index = amount // 1009 % len(lines)
    try:
        document = json.loads(lines[index])
    except (ValueError, RecursionError):
        return _number(data, place, amount, others)
    holder = [document]
    spots: List[Tuple[Any, Any]] = [(holder, 0)]
    for value, key in spots:
        inner = value[key]
        if isinstance(inner, (dict, list)) and len(spots) < 5000:
            spots.extend((inner, name) for name in (inner if isinstance(inner, dict) else range(len(inner))))
    value, key = spots[place % len(spots)]
    if amount % 5 == 0 and isinstance(value, dict):
        value[str(VALUES[amount // 5 % len(VALUES)])] = value.pop(key)
    elif amount % 7 == 0 and value is not holder:
        del value[key]
    else:
        value[key] = VALUES[amount % len(VALUES)]
    lines[index] = json.dumps(holder[0]).encode()
    return b"\n".join(lines)


Kind = Callable[[bytes, int, int, Sequence[bytes]], bytes]
KINDS: Tuple[Kind, ...] = (
    _structure, _flip, _byte, _cut, _remove, _repeat, _mix, _horror, _size, _number, _swap, _structure, _horror, _size,
)  # fmt: skip
