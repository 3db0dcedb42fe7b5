"""Which encoding a file of text is in: UTF-8, UTF-16 and UTF-32 are read, others are named as far as bytes tell."""

from __future__ import annotations

import codecs
import shlex
from pathlib import Path

# UTF-32's mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Of every second byte, where a file without a mark is taken for UTF-16: its letters from the first 256 code points.
_ZEROS = 0.4
# More bytes above ASCII than this are no Latin alphabet in one byte a letter.
_LATIN_SHARE = 0.3
HEAD_BYTES = 4096


class OtherEncoding(ValueError):
    """Bytes that are no Unicode text. likely: what they may be, in words; name: for iconv."""

    def __init__(self, likely: str, name: str) -> None:
        super().__init__(likely)
        self.likely = likely
        self.name = name


def encoding_of(head: bytes) -> str:
    """The codec for a text that begins with these bytes; UTF-8 where they do not tell of another."""
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec
    even, odd = head[::2].count(0), head[1::2].count(0)
    if not even and odd and odd >= _ZEROS * len(head) / 2:
        return "utf-16-le"
    if not odd and even and even >= _ZEROS * len(head) / 2:
        return "utf-16-be"
    return "utf-8-sig"


def decode(data: bytes) -> str:
    """A whole text. Raises OtherEncoding."""
    try:
        return data.decode(encoding_of(data[:HEAD_BYTES]))
    except UnicodeDecodeError:
        raise likely_encoding(data) from None


def likely_encoding(data: bytes) -> OtherEncoding:
    """What bytes that are not Unicode may be instead."""
    share = sum(byte >= 0x80 for byte in data[:HEAD_BYTES]) / max(1, len(data[:HEAD_BYTES]))
    if share > _LATIN_SHARE or b"\0" in data:
        return OtherEncoding("an encoding that asrctl does not know", "ENCODING")
    return OtherEncoding("probably Windows-1252 (or Latin-1)", "WINDOWS-1252")


def conversion(path: Path, other: OtherEncoding) -> str:
    """The command that writes a copy of a text in UTF-8."""
    copy = path.with_name(f"{path.stem}-utf8{path.suffix}")
    return f"iconv -f {other.name} -t UTF-8 {shlex.quote(str(path))} > {shlex.quote(str(copy))}"
