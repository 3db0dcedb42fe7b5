"""Changes to training audio: playing speed, loudness, noise, joined utterances; drawn from the generator given."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np

from asrctl.recipe import Augment


def change(samples: np.ndarray, augment: Augment, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """samples (time,) float32 -> a changed copy, (time / speed,) float32."""
    if augment.speed:
        samples = play_at(samples, float(generator.choice(augment.speed)), sample_rate)
    if augment.noise_snr_db is not None:
        samples = add_noise(samples, augment.noise_snr_db, generator)
    if augment.gain_db:
        samples = samples * np.float32(10 ** (generator.uniform(-augment.gain_db, augment.gain_db) / 20))
    return samples


def play_at(samples: np.ndarray, speed: float, sample_rate: int) -> np.ndarray:
    """Speed perturbation (Ko et al. 2015): tempo and pitch change together, as with a tape."""
    if speed == 1.0:
        return samples
    import soxr

    return soxr.resample(samples, sample_rate * speed, sample_rate, quality="LQ").astype(np.float32, copy=False)


def add_noise(samples: np.ndarray, lowest_snr_db: float, generator: np.random.Generator) -> np.ndarray:
    """White noise at a signal-to-noise ratio drawn between `lowest_snr_db` and 40 dB above it."""
    snr_db = generator.uniform(lowest_snr_db, lowest_snr_db + 40)
    level = np.sqrt(np.mean(np.square(samples)) + 1e-12) * 10 ** (-snr_db / 20)
    return samples + (level * generator.standard_normal(len(samples), dtype=np.float32)).astype(np.float32)


def joins(
    indices: np.ndarray, num_samples: np.ndarray, most: int, max_samples: int, generator: np.random.Generator
) -> List[Tuple[int, ...]]:
    """Neighbours of a batch joined into items of 1..`most` utterances, none longer than `max_samples` if it can be."""
    items: List[Tuple[int, ...]] = []
    start = 0
    while start < len(indices):
        count = int(generator.integers(1, most + 1)) if most > 1 else 1
        while count > 1 and int(num_samples[indices[start : start + count]].sum()) > max_samples:
            count -= 1
        items.append(tuple(int(index) for index in indices[start : start + count]))
        start += count
    return items


def joined_labels(rows: Sequence[np.ndarray], delimiter: int) -> np.ndarray:
    """Label ids of several utterances as one text, a word delimiter between them."""
    pieces: List[np.ndarray] = []
    for row in rows:
        if pieces:
            pieces.append(np.array([delimiter], dtype=np.int32))
        pieces.append(np.asarray(row, dtype=np.int32))
    return np.concatenate(pieces)
