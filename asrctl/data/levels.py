"""Signal levels of a recording, which tell samples that can not be speech as they stand."""

from __future__ import annotations

from typing import Optional

import numpy as np

# Channels that have nothing in common sum up to as much power as all of them together. Where less than a tenth of that
# is left (of two equal channels: correlated below -0.9), they cancel each other.
_CANCELED = 0.1
# More samples beyond full scale than this are no single peaks. Zeros do not count: silence is in every scale.
_BEYOND_SHARE = 0.01
# Up to here sound was only amplified too much; beyond, it is in the scale of whole numbers of 16, 24 or 32 bits.
_HOT = 16.0
_WHOLE_NUMBERS = (2.0**15, 2.0**23, 2.0**31)
# Steps of 16 bits between the lowest and the highest sample: no louder than rounding, or dither.
_ROUNDING = 2
_CLIPPED_SHARE = 0.5
_FULL = 32767


class Levels:
    """Running sums over the blocks of a recording."""

    def __init__(self, channels: int, unbounded: bool) -> None:
        """unbounded: whether samples may lie beyond full scale and mean it, as in files of floating point."""
        self._unbounded = unbounded
        self._count = 0
        self._sums = np.zeros(channels + 1)
        self._squares = np.zeros(channels + 1)
        self._lowest, self._highest = np.inf, -np.inf
        self.peak = 0.0
        self._beyond = self._heard = 0

    def add(self, frames: np.ndarray, mono: np.ndarray) -> None:
        """frames: (time, channels) float32 or int16; mono: (time,), what is made of them."""
        if not len(mono):
            return
        self._lowest = min(self._lowest, float(mono.min()))
        self._highest = max(self._highest, float(mono.max()))
        if frames.shape[1] > 1:
            wide = np.concatenate([frames, mono[:, None]], axis=1, dtype=np.float64)
            self._count += len(wide)
            self._sums += wide.sum(axis=0)
            self._squares += np.einsum("tc,tc->c", wide, wide)
        if self._unbounded:
            size = np.abs(frames)
            self.peak = max(self.peak, float(size.max()))
            self._beyond += int(np.count_nonzero(size > 1.0))
            self._heard += int(np.count_nonzero(size))

    @property
    def is_flat(self) -> bool:
        """Whether every sample is the same."""
        return self._lowest >= self._highest

    def instead(self) -> Optional[int]:
        """The channel to take where the channels cancel each other: the loudest. None where they do not."""
        if not self._count:
            return None
        power = np.maximum(0.0, self._squares / self._count - (self._sums / self._count) ** 2)
        channels, mixed = power[:-1], power[-1]
        expected = channels.sum() / len(channels) ** 2
        return int(np.argmax(channels)) if mixed < _CANCELED * expected else None

    def scale(self) -> float:
        """What to divide the samples by: 1, or what full scale was, where too many of them lie beyond it.

        inf where no scale of sound is as large.
        """
        if self._beyond <= _BEYOND_SHARE * self._heard:
            return 1.0
        if self.peak <= _HOT:
            return float(2.0 ** np.ceil(np.log2(self.peak)))
        return next((full for full in _WHOLE_NUMBERS if self.peak <= full), np.inf)


def is_silent(pcm: np.ndarray) -> bool:
    """Whether nothing is left of a recording once it is rounded. pcm: (time,) int16."""
    return int(pcm.max()) - int(pcm.min()) <= _ROUNDING


def is_clipped(pcm: np.ndarray) -> bool:
    """Whether most samples that are not 0 are at full scale. pcm: (time,) int16."""
    at_full = np.count_nonzero(pcm >= _FULL) + np.count_nonzero(pcm <= -_FULL)
    return bool(at_full > _CLIPPED_SHARE * np.count_nonzero(pcm))
