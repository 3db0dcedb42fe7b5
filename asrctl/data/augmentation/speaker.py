"""Another voice: playing speed moves tempo and pitch, the length of the vocal tract moves formants."""

from __future__ import annotations

import numpy as np

# Frames of 32 ms every 8 ms, and an envelope of the cepstrum's first 2 ms: below the pitch period of any voice under
# 500 Hz, so it holds the formants and no harmonics (Oppenheim and Schafer, Discrete-Time Signal Processing, ch. 13).
_FRAME_S, _HOPS, _LIFTER_S = 0.032, 4, 0.002
# The warping is linear up to here and bends to meet the Nyquist frequency (Jaitly and Hinton 2013, section 3).
_BEND_HZ = 4800.0
_FLOOR = 1e-5


def play_at(samples: np.ndarray, speed: float, sample_rate: int) -> np.ndarray:
    """Speed perturbation (Ko et al. 2015): tempo and pitch change together, as with a tape."""
    import soxr

    return soxr.resample(samples, sample_rate * speed, sample_rate, quality="LQ").astype(np.float32, copy=False)


def samples_at(num_samples: int, speed: float, sample_rate: int) -> int:
    """How many samples `play_at` gives."""
    return round(num_samples * sample_rate / (sample_rate * speed))


def warp_formants(samples: np.ndarray, factor: float, sample_rate: int) -> np.ndarray:
    """Vocal-tract-length perturbation: (time,) float32 -> the same voice with formants at `factor` times their places.

    Jaitly and Hinton (2013) warp the filter bank of the features. A model that hears the waveform needs it there, so
    each frame is filtered by the ratio of its warped spectral envelope to its own; pitch and timing stay.
    """
    frame = 1 << int(np.ceil(np.log2(_FRAME_S * sample_rate)))
    hop = frame // _HOPS
    window = np.hanning(frame + 1)[:-1].astype(np.float32)
    padded = np.concatenate([np.zeros(frame, np.float32), samples, np.zeros(2 * frame, np.float32)])
    starts = np.arange(0, len(padded) - frame, hop)
    spectra = np.fft.rfft(padded[starts[:, None] + np.arange(frame)] * window)
    spectra *= _envelope_ratio(np.abs(spectra), factor, sample_rate, frame)
    frames = np.fft.irfft(spectra, frame).astype(np.float32) * window
    changed = np.zeros(len(padded), np.float32)
    for part in range(_HOPS):  # frames of one part do not overlap
        rows = frames[part::_HOPS].reshape(-1)
        changed[part * hop : part * hop + len(rows)] += rows
    return changed[frame : frame + len(samples)] / np.float32((window**2).sum() / hop)


def _envelope_ratio(magnitudes: np.ndarray, factor: float, sample_rate: int, frame: int) -> np.ndarray:
    """magnitudes (frames, bins) -> the gain of each bin, the same shape."""
    floor = _FLOOR * max(float(magnitudes.max(initial=0.0)), 1e-9)
    cepstra = np.fft.irfft(np.log(np.maximum(magnitudes, floor)))
    kept = int(_LIFTER_S * sample_rate)
    cepstra[:, kept : frame - kept + 1] = 0.0
    envelopes = np.fft.rfft(cepstra).real  # natural logarithms
    places = warped(np.arange(envelopes.shape[1]) * (sample_rate / frame), 1.0 / factor, sample_rate / 2) * (
        frame / sample_rate
    )
    below = np.minimum(places.astype(np.int64), envelopes.shape[1] - 2)
    share = (places - below)[None, :]
    moved = envelopes[:, below] * (1 - share) + envelopes[:, below + 1] * share
    return np.exp(moved - envelopes)


def warped(hz: np.ndarray, factor: float, nyquist_hz: float) -> np.ndarray:
    """Where frequencies come to lie: times `factor` up to a bend, then straight to the Nyquist frequency.

    Jaitly and Hinton 2013, equation 1, with its bend at 4800 Hz, or at as much of a lower sample rate's band.
    """
    bend = min(_BEND_HZ, 0.6 * nyquist_hz) * min(factor, 1.0) / factor
    slope = (nyquist_hz - bend * factor) / (nyquist_hz - bend)
    return np.where(hz <= bend, hz * factor, nyquist_hz - slope * (nyquist_hz - hz))
