"""Which encoding a file of text is in: UTF-8, UTF-16 and UTF-32 are read, others are named as far as bytes tell."""

from __future__ import annotations

import codecs
import shlex
from pathlib import Path
from typing import Optional

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
_LATIN_SHARE = 0.5
HEAD_BYTES = 4096


class OtherEncoding(ValueError):
    """Bytes that are no Unicode text. likely: what they may be, in words; name: for iconv, where it is known."""

    def __init__(self, likely: str, name: Optional[str] = None) -> None:
        super().__init__(likely)
        self.likely = likely
        self.name = name

    def copied(self, path: Path) -> str:
        """How to make a copy of the file that holds them in UTF-8."""
        if self.name is None:
            return f"save {path} as UTF-8 in the program that wrote it"
        made = path.with_name(f"{path.stem}-utf8{path.suffix}")
        return f"make a copy in UTF-8 and give that: {self._iconv(shlex.quote(str(path)), shlex.quote(str(made)))}"

    def converted(self, path: Path, *, count: int) -> str:
        """How to convert `count` files in place, of which `path` is the first: those in its folder."""
        if self.name is None:
            return f"save {path if count == 1 else f'{path} and its like'} as UTF-8 in the program that wrote it"
        if count == 1:
            old, new = shlex.quote(str(path)), shlex.quote(f"{path}.utf8")
            return f"convert it to UTF-8: {self._iconv(old, new)} && mv {new} {old}"
        # What is UTF-8 already must not be converted once more.
        test = 'iconv -f UTF-8 -t UTF-8 "$f" > /dev/null 2>&1'
        step = self._iconv('"$f"', '"$f.utf8"') + ' && mv "$f.utf8" "$f"'
        files = f"{shlex.quote(str(path.parent))}/*{path.suffix}"
        return f"convert them to UTF-8: for f in {files}; do {test} || {{ {step}; }}; done"

    def _iconv(self, old: str, new: str) -> str:
        return f"iconv -f {self.name} -t UTF-8 {old} > {new}"


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
    head = data[:HEAD_BYTES]
    if b"\0" in head:
        return OtherEncoding("no text, or UTF-16 without a byte order mark")
    if sum(byte >= 0x80 for byte in head) > _LATIN_SHARE * len(head):
        return OtherEncoding("another encoding")
    return OtherEncoding("probably Windows-1252 or Latin-1", "WINDOWS-1252")
