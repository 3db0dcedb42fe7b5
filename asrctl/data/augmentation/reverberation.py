"""A room around the speaker: simulated, or by recorded impulse responses."""

from __future__ import annotations

from typing import Optional

import numpy as np

from asrctl.data.augmentation.recordings import Recordings

_SOUND_M_S = 343.0
# A living room to a small hall, in meters; reverberation times of furnished rooms, in seconds.
_SMALLEST_M, _LARGEST_M = (3.0, 3.0, 2.3), (10.0, 8.0, 4.0)
_RT60_S = (0.15, 0.7)
_FROM_WALLS_M, _FROM_SPEAKER_M = 0.5, (0.5, 3.0)
# Echoes are followed one by one for so long; after that they are too dense to be told apart.
_EARLY_S = 0.06
_LONGEST_S = 2.0
# 60 dB as a power of e: the decay by which a reverberation time is defined.
_DECAY = 3 * np.log(10.0)
# What a recorded response holds before its direct sound, at most: its own rise.
_RISE_S = 0.001


def simulated(sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """The impulse response of a random room, (time,) float32, its direct sound at 0.

    Early echoes by the image method (Allen and Berkley 1979, equation 10, one reflection coefficient for all walls, by
    Eyring's formula from the reverberation time), then exponentially decaying noise (Polack 1988).
    """
    size = generator.uniform(_SMALLEST_M, _LARGEST_M)
    rt60_s = float(generator.uniform(*_RT60_S))
    volume, surface = size.prod(), 2 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    # Eyring 1930: RT60 = 0.161 V / (-S ln(1 - absorption)).
    reflection = np.sqrt(np.exp(-0.161 * volume / (surface * rt60_s)))
    source, listener = _places(size, generator)
    early = _images(size, source, listener, reflection, sample_rate)
    first = int(np.flatnonzero(early)[0])
    time_s = np.arange(len(early), int(min(rt60_s, _LONGEST_S) * sample_rate)) / sample_rate
    tail = generator.standard_normal(len(time_s)) * np.exp(-_DECAY * (time_s - _EARLY_S) / rt60_s)
    dense = early[len(early) // 2 :]
    tail *= np.sqrt(np.square(dense).mean())
    return np.concatenate([early, tail])[first:].astype(np.float32)


def _places(size: np.ndarray, generator: np.random.Generator) -> "tuple[np.ndarray, np.ndarray]":
    """(speaker, listener): off the walls, and as far from each other as people and microphones are."""
    source = generator.uniform(_FROM_WALLS_M, size - _FROM_WALLS_M)
    direction = generator.standard_normal(3)
    distance = generator.uniform(*_FROM_SPEAKER_M)
    listener = source + direction / np.linalg.norm(direction) * distance
    return source, np.clip(listener, _FROM_WALLS_M, size - _FROM_WALLS_M)


def _images(
    size: np.ndarray, source: np.ndarray, listener: np.ndarray, reflection: float, sample_rate: int
) -> np.ndarray:
    """Echoes of the first `_EARLY_S` seconds, each at its nearest sample."""
    most = int(np.ceil(_EARLY_S * _SOUND_M_S / (2 * size.min()))) + 1
    orders = np.arange(-most, most + 1)
    squares, bounces = [], []
    for axis in range(3):
        for_axis = [(2 * orders * size[axis] + sign * source[axis] - listener[axis]) for sign in (1, -1)]
        squares.append(np.square(np.concatenate(for_axis)))
        bounces.append(np.concatenate([np.abs(2 * orders), np.abs(2 * orders - 1)]))
    distances = np.sqrt(squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :])
    counts = bounces[0][:, None, None] + bounces[1][None, :, None] + bounces[2][None, None, :]
    samples = np.rint(distances * (sample_rate / _SOUND_M_S)).astype(np.int64)
    length = int(_EARLY_S * sample_rate)
    heard = samples < length
    distances = np.maximum(distances[heard], 0.1)
    return np.bincount(samples[heard], weights=reflection ** counts[heard] / distances, minlength=length)


def recorded(recordings: Recordings, sample_rate: int, generator: np.random.Generator) -> Optional[np.ndarray]:
    """One of the recorded responses, (time,) float32, from its direct sound on; None where it can not be read."""
    recording = recordings.draw(generator)
    response = recordings.read(recording, sample_rate, 0.0, min(recording.length_s, _LONGEST_S), channel=0)
    if response is None:
        return None
    return response[max(0, int(np.argmax(np.abs(response))) - int(_RISE_S * sample_rate)) :]


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """samples (time,) float32 in a room: as long as before, as loud as before, and where it was in time."""
    length = len(samples) + len(response) - 1
    size = 1 << (length - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    return (wet * (samples.std() / max(float(wet.std()), 1e-9))).astype(np.float32)
