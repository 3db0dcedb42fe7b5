"""Noise under speech: made, or taken from recordings."""

from __future__ import annotations

import numpy as np

from asrctl.data.augmentation.recordings import Recordings

# The best signal-to-noise ratio that is drawn lies so far above the worst.
_RANGE_DB = 30.0


def add_made(samples: np.ndarray, lowest_snr_db: float, generator: np.random.Generator) -> np.ndarray:
    """Noise of a random color, at a signal-to-noise ratio between `lowest_snr_db` and 30 dB above it."""
    noise = generator.standard_normal(len(samples), dtype=np.float32)
    noise[1:] += np.float32(generator.uniform(-0.95, 0.95)) * noise[:-1]
    return _mixed(samples, noise, lowest_snr_db, generator)


def add_recorded(
    samples: np.ndarray,
    recordings: Recordings,
    lowest_snr_db: float,
    sample_rate: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """A stretch of one of the recordings, at such a ratio; a recording that is shorter is repeated."""
    recording = recordings.draw(generator)
    wanted_s = len(samples) / sample_rate
    start_s = float(generator.uniform(0.0, max(0.0, recording.length_s - wanted_s)))
    stretch = recordings.read(recording, sample_rate, start_s, min(wanted_s, recording.length_s))
    return samples if stretch is None else _mixed(samples, _filled(stretch, len(samples)), lowest_snr_db, generator)


def _filled(stretch: np.ndarray, length: int) -> np.ndarray:
    return stretch[:length] if len(stretch) >= length else np.resize(stretch, length)


def _mixed(samples: np.ndarray, noise: np.ndarray, lowest_snr_db: float, generator: np.random.Generator) -> np.ndarray:
    """Both powers are means over the whole utterance."""
    snr_db = generator.uniform(lowest_snr_db, lowest_snr_db + _RANGE_DB)
    level = samples.std() / max(float(noise.std()), 1e-9) * 10 ** (-snr_db / 20)
    return samples + np.float32(level) * noise
