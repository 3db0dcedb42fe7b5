"""Another microphone or channel: equalizer, missing high frequencies, clipping."""

from __future__ import annotations

import numpy as np

# Hearing is linear below about this frequency and logarithmic above (the corner of the mel scale).
_EQ_CORNER_HZ = 700.0
_EQ_KNOTS = 8
# Slopes of Butterworth filters: 12 to 96 dB an octave.
_LOWEST_ORDER, _HIGHEST_ORDER = 2, 16
# Up to this share of an utterance's samples is clipped: beyond a tenth, speech is rarely used as it is.
_CLIPPED = 0.1


def equalize(samples: np.ndarray, spread_db: float, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """Another microphone or mouth: gains drawn at a few frequencies, evenly spaced by ear, joined by lines in dB."""
    knots = np.linspace(0.0, np.log1p(sample_rate / 2 / _EQ_CORNER_HZ), _EQ_KNOTS)
    gains_db = generator.normal(0.0, spread_db, _EQ_KNOTS)
    spectrum = np.fft.rfft(samples)
    places = np.log1p(np.linspace(0.0, sample_rate / 2, len(spectrum)) / _EQ_CORNER_HZ)
    spectrum *= 10 ** (np.interp(places, knots, gains_db) / 20)
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def low_pass(samples: np.ndarray, lowest_hz: float, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """A narrower band: a Butterworth magnitude without its phase, at a cutoff between `lowest_hz` and Nyquist.

    Cutoffs are drawn evenly on a logarithmic scale.
    """
    nyquist_hz = sample_rate / 2
    cutoff_hz = np.exp(generator.uniform(np.log(min(lowest_hz, nyquist_hz)), np.log(nyquist_hz)))
    order = int(generator.integers(_LOWEST_ORDER, _HIGHEST_ORDER + 1))
    spectrum = np.fft.rfft(samples)
    places = np.linspace(0.0, nyquist_hz, len(spectrum)) / cutoff_hz
    spectrum /= np.sqrt(1.0 + places ** (2 * order))
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def clip(samples: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Recorded too loud: what lies above a level is cut to it, up to a tenth of the samples."""
    level = np.quantile(np.abs(samples), 1.0 - generator.uniform(0.0, _CLIPPED))
    return np.clip(samples, -level, level)
