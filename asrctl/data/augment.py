"""Changes to training audio: playing speed, loudness, noise, joined utterances; drawn from the generator given."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np

from asrctl.config.recipe import Augment

# Hearing is linear below about this frequency and logarithmic above (the corner of the mel scale).
_EQ_CORNER_HZ = 700.0
_EQ_KNOTS = 8


def change(samples: np.ndarray, augment: Augment, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """samples (time,) float32 -> a changed copy, (time / speed,) float32."""
    if augment.speed:
        samples = play_at(samples, float(generator.uniform(1 - augment.speed, 1 + augment.speed)), sample_rate)
    if augment.eq_db:
        samples = equalize(samples, augment.eq_db, sample_rate, generator)
    if augment.noise_snr_db is not None and generator.random() < 0.5:
        samples = add_noise(samples, augment.noise_snr_db, generator)
    if augment.gain_db:
        samples = samples * np.float32(10 ** (generator.uniform(-augment.gain_db, augment.gain_db) / 20))
    return samples


def play_at(samples: np.ndarray, speed: float, sample_rate: int) -> np.ndarray:
    """Speed perturbation (Ko et al. 2015): tempo and pitch change together, as with a tape."""
    import soxr

    return soxr.resample(samples, sample_rate * speed, sample_rate, quality="LQ").astype(np.float32, copy=False)


def equalize(samples: np.ndarray, spread_db: float, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """Another microphone or mouth: gains drawn at a few frequencies, evenly spaced by ear, joined by lines in dB."""
    knots = np.linspace(0.0, np.log1p(sample_rate / 2 / _EQ_CORNER_HZ), _EQ_KNOTS)
    gains_db = generator.normal(0.0, spread_db, _EQ_KNOTS)
    spectrum = np.fft.rfft(samples)
    places = np.log1p(np.linspace(0.0, sample_rate / 2, len(spectrum)) / _EQ_CORNER_HZ)
    spectrum *= 10 ** (np.interp(places, knots, gains_db) / 20)
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def add_noise(samples: np.ndarray, lowest_snr_db: float, generator: np.random.Generator) -> np.ndarray:
    """Noise of a random color, at a signal-to-noise ratio between `lowest_snr_db` and 30 dB above it."""
    noise = generator.standard_normal(len(samples), dtype=np.float32)
    noise[1:] += np.float32(generator.uniform(-0.95, 0.95)) * noise[:-1]
    snr_db = generator.uniform(lowest_snr_db, lowest_snr_db + 30)
    level = samples.std() / max(float(noise.std()), 1e-9) * 10 ** (-snr_db / 20)
    return samples + np.float32(level) * noise


def joins(
    indices: np.ndarray, num_samples: np.ndarray, most: int, max_samples: int, generator: np.random.Generator
) -> List[Tuple[int, ...]]:
    """Neighbors of a batch joined into items of 1..`most` utterances, none longer than `max_samples` if it can be."""
    items: List[Tuple[int, ...]] = []
    start = 0
    while start < len(indices):
        count = int(generator.integers(1, most + 1)) if most > 1 else 1
        while count > 1 and int(num_samples[indices[start : start + count]].sum()) > max_samples:
            count -= 1
        items.append(tuple(int(index) for index in indices[start : start + count]))
        start += count
    return items


def joined_labels(rows: Sequence[np.ndarray], delimiter: Optional[int]) -> np.ndarray:
    """Label ids of several utterances as one text, a word delimiter between them where there is one."""
    pieces: List[np.ndarray] = []
    for row in rows:
        if pieces and delimiter is not None:
            pieces.append(np.array([delimiter], dtype=np.int32))
        pieces.append(np.asarray(row, dtype=np.int32))
    return np.concatenate(pieces)
