"""How much of the sound that a file promises is not in it: libsndfile decodes what is there and keeps silent.

Only what can be decided is: where a header says nothing definite, as that of a recording that was streamed, nothing is
missing. Formats that libsndfile itself refuses when they are cut (FLAC, CAF) are none of ours.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import IO, Callable, Dict, Iterator, Literal, Tuple

_CHUNKS = 64
# Sizes of 32 bits that programs write into a header when they stream and do not know the end; sox has the lowest.
_STREAMED_BYTES = 0x7F000000
_STREAMED_BYTES_64 = 1 << 62
_UNKNOWN = 0xFFFFFFFF
# Bytes of a sample by the encodings of .au files that have as many for each.
_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
_AU_HEADER, _SPHERE_HEADER, _OGG_HEADER = 24, 1024, 27
_OGG_PAGE = _OGG_HEADER + 255 + 255 * 255
_XING_WITHIN = 64


@dataclass(frozen=True)
class _Layout:
    """Of a file made of chunks: where the first begins, bytes of a name and of a size, and what the size counts."""

    first: int
    name: int
    size: int
    order: Literal["little", "big"]
    header_counts: bool
    align: int


_RIFF = _Layout(12, 4, 4, "little", False, 2)
_AIFF = _Layout(12, 4, 4, "big", False, 2)
_WAVE64 = _Layout(40, 16, 8, "little", True, 8)


def missing_s(stream: IO[bytes]) -> float:
    """Seconds that a header of WAV, RF64, Wave64, AIFF, AU or SPHERE promises beyond the end of the file; else 0."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    known = _KNOWN.get(stream.read(4))
    return known(stream, end) if known is not None else 0.0


def ogg_is_cut(stream: IO[bytes]) -> bool:
    """Whether an Ogg file ends within a page. (Streams that were recorded end without the flag that marks an end.)"""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if stream.read(4) != b"OggS":
        return False
    stream.seek(max(0, end - _OGG_PAGE))
    tail = stream.read(_OGG_PAGE)
    page = tail[tail.rfind(b"OggS\0") :] if b"OggS\0" in tail else b""
    segments = page[_OGG_HEADER : _OGG_HEADER + page[26]] if len(page) >= _OGG_HEADER else b""
    whole = _OGG_HEADER + page[26] + sum(segments) if len(page) >= _OGG_HEADER else _OGG_HEADER
    return bool(page) and len(page) < whole


def mp3_counts_frames(stream: IO[bytes]) -> bool:
    """Whether an MP3 file says how many frames it has (a Xing or Info header); without, its length is a guess."""
    stream.seek(0)
    start = stream.read(10)
    if start[:3] == b"ID3" and len(start) == 10:
        size = sum(byte << shift for byte, shift in zip(start[6:], (21, 14, 7, 0)))
        stream.seek(10 + size + (10 if start[5] & 16 else 0))
    else:
        stream.seek(0)
    frame = stream.read(_XING_WITHIN)
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    return frame[:1] == b"\xff" and place > 0 and bool(frame[place + 4 : place + 8][3:4] and frame[place + 7] & 1)


def _chunks(stream: IO[bytes], end: int, layout: _Layout) -> Iterator[Tuple[bytes, int, int]]:
    """(first four bytes of the name, bytes of content, place of the content)."""
    position = layout.first
    for _ in range(_CHUNKS):
        if position >= end:
            return
        stream.seek(position)
        header = stream.read(layout.name + layout.size)
        size = int.from_bytes(header[layout.name :], layout.order) - (len(header) if layout.header_counts else 0)
        if len(header) < layout.name + layout.size or size < 0:
            return
        yield header[:4], size, position + len(header)
        position += len(header) + size + -size % layout.align


def _missing_wave_s(stream: IO[bytes], end: int, layout: _Layout = _RIFF) -> float:
    bytes_per_second, most, large = 0, _STREAMED_BYTES if layout.size == 4 else _STREAMED_BYTES_64, 0
    for name, size, place in _chunks(stream, end, layout):
        if name == b"ds64":
            large = int.from_bytes(stream.read(16)[8:], "little")
        elif name == b"fmt ":
            bytes_per_second = int.from_bytes(stream.read(12)[8:12], "little")
        elif name == b"data":
            if large and size == _UNKNOWN:
                size, most = large, _STREAMED_BYTES_64
            return (place + size - end) / bytes_per_second if bytes_per_second and size < most else 0.0
    return 0.0


def _missing_wave64_s(stream: IO[bytes], end: int) -> float:
    return _missing_wave_s(stream, end, _WAVE64)


def _missing_aiff_s(stream: IO[bytes], end: int) -> float:
    seconds = 0.0
    for name, size, place in _chunks(stream, end, _AIFF):
        if name == b"COMM":
            common = stream.read(18)
            frames, exponent = int.from_bytes(common[2:6], "big"), int.from_bytes(common[8:10], "big") - 16383
            # The rate is a float of 80 bits; those of sound lie between 1 and 2^20 Hz.
            rate = int.from_bytes(common[10:18], "big") / 2.0 ** (63 - exponent) if 0 <= exponent < 20 else 0.0
            seconds = frames / rate if rate else 0.0
        elif name == b"SSND":
            return (place + size - end) / size * seconds if 0 < size < _STREAMED_BYTES else 0.0
    return 0.0


def _missing_au_s(stream: IO[bytes], end: int) -> float:
    stream.seek(0)
    header = stream.read(_AU_HEADER)
    place, size, encoding, rate, channels = (int.from_bytes(header[i : i + 4], "big") for i in range(4, 24, 4))
    bytes_per_second = _AU_BYTES.get(encoding, 0) * rate * channels
    return (place + size - end) / bytes_per_second if bytes_per_second and size < _STREAMED_BYTES else 0.0


def _missing_sphere_s(stream: IO[bytes], end: int) -> float:
    stream.seek(0)
    header = stream.read(_SPHERE_HEADER)
    found = dict(re.findall(rb"^(\w+) -i (\d{1,10})$", header, re.MULTILINE))
    names = (b"sample_count", b"sample_n_bytes", b"channel_count", b"sample_rate")
    count, width, channels, rate = (int(found.get(name, 0)) for name in names)
    if b"shorten" in header or header[8:15] != b"   1024" or not (width and channels and rate):
        return 0.0
    return (_SPHERE_HEADER + count * width * channels - end) / (width * channels * rate)


_KNOWN: Dict[bytes, Callable[[IO[bytes], int], float]] = {
    b"RIFF": _missing_wave_s,
    b"RF64": _missing_wave_s,
    b"riff": _missing_wave64_s,
    b"FORM": _missing_aiff_s,
    b".snd": _missing_au_s,
    b"NIST": _missing_sphere_s,
}
