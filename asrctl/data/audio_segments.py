"""Blocks of a sound file from any place on, as decoding the whole file gives them.

Seeking finds a place, but some decoders need what led to it. An MP3 frame borrows bits from frames before it (the bit
reservoir), and the speech half of Opus predicts from what it decoded last. So decoding begins earlier, and what comes
before the stretch is dropped.
"""

from __future__ import annotations

from typing import Any, Iterator, List, Optional

import numpy as np

# How far back the bits of an MP3 frame can begin: 511 bytes, or 255 at the low rates of MPEG-2. The smallest frames
# (32 kbit/s, or 8 kbit/s at 24 kHz) hold so few that this is 0.4 s, or 6 s.
_LOW_MPEG_RATE = 32000
_MPEG_S, _LOW_MPEG_S = 1.0, 8.0
# Opus promises no such limit; most of it is settled after seconds, some only after ten.
_OPUS_S = 2.0
_SAME = 1e-5


class Reader:
    """An open soundfile.SoundFile, read on and on.

    soundfile by itself seeks after every read, to where it is already: in an MP3 each block would begin wrong.
    """

    def __init__(self, sound: Any, dtype: str, block: int) -> None:
        """dtype: "int16" or "float32". block: most frames of a block."""
        self._sound = sound
        self._can_seek = sound.seekable()
        sound.seekable = lambda: False
        self._dtype = dtype
        self._block = block
        self._position = 0

    def blocks(self, first: int, wanted: int) -> Iterator[np.ndarray]:
        """(time, channels) each: `wanted` frames from frame `first` on in all, fewer where the file ends.

        Raises RuntimeError where libsndfile gives up.
        """
        if first and self._can_seek and self._sound.subtype == "OPUS":
            return self._settled(first, wanted)
        return self._from(first, self._lead(), wanted)

    def _lead(self) -> int:
        """Frames to decode before a stretch."""
        if not self._sound.subtype.startswith("MPEG_LAYER"):
            return 0
        rate = self._sound.samplerate
        return int(rate * (_LOW_MPEG_S if rate < _LOW_MPEG_RATE else _MPEG_S))

    def _from(self, first: int, lead: int, wanted: int) -> Iterator[np.ndarray]:
        start = max(0, first - lead)
        if start != self._position and self._can_seek:
            self._sound.seek(start)
            self._position = start
        for _ in self._read(first - self._position):
            pass
        yield from self._read(wanted)

    def _read(self, wanted: int) -> Iterator[np.ndarray]:
        while wanted > 0:
            # A length that is only promised may be too small: then libsndfile itself reads no further.
            most = max(1, self._sound.frames - self._position)
            frames = np.empty((min(self._block, wanted, most), self._sound.channels), dtype=self._dtype)
            count = self._sound.buffer_read_into(frames, self._dtype)
            if count < 0:
                raise RuntimeError("the decoder has lost its place")
            if not count:
                return
            self._position += count
            wanted -= count
            yield frames[:count]

    def _settled(self, first: int, wanted: int) -> Iterator[np.ndarray]:
        """The stretch, once two decodings that began at different places agree on it; else the one from the start."""
        lead, before = int(_OPUS_S * self._sound.samplerate), None
        while True:
            parts: List[np.ndarray] = list(self._from(first, lead, wanted))
            frames = np.concatenate(parts) if parts else None
            if lead >= first or _agree(before, frames):
                break
            before, lead = frames, 2 * lead
        if frames is not None:
            yield frames


def _agree(one: Optional[np.ndarray], other: Optional[np.ndarray]) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    return bool(np.abs(one - other).max() < _SAME)
