"""Initialize a convolutional encoder with a bank of band-pass filters as its first kernels.

From scratch and with minutes of speech, most of the time would go into learning this.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_LOWEST_HZ, _HIGHEST_SHARE = 60.0, 0.475
_PHASES = 4
# Speech falls off towards high frequencies; bands rise by this power of the frequency to make up for it.
_EMPHASIS = 0.5


def draw(encoder: Any, sample_rate: int) -> None:
    """Set the first two convolutions of a speech model's encoder; later layers and biases stay as they are.

    The first becomes a Gabor bank (Gabor 1946) on the mel scale, four phases to a band. The second's first outputs add
    the four phases of each band up over a Hann window: after a rectifying activation, the energy of that band.
    """
    import torch

    first, second = (layer.conv.weight for layer in encoder.feature_extractor.conv_layers[:2])
    bands = first.shape[0] // _PHASES
    with torch.no_grad():
        first[: bands * _PHASES, 0] = torch.from_numpy(gabor_bank(bands, first.shape[2], sample_rate))
        window = torch.hann_window(second.shape[2] + 2, periodic=False)[1:-1]
        pooled = min(bands, second.shape[0])
        second[:pooled] = 0
        for band in range(pooled):
            second[band, band * _PHASES : (band + 1) * _PHASES] = window / window.sum()


def gabor_bank(bands: int, width: int, sample_rate: int) -> np.ndarray:
    """(bands * 4, width) float32 kernels: Gaussian-windowed cosines at phases 0, 90, 180 and 270 degrees.

    Centers are evenly spaced in mel, 2595 log10(1 + f / 700) (O'Shaughnessy 1987); a band is as wide as the distance
    of its neighbors, and never narrower than the kernel can resolve.
    """
    edges = _from_mel(np.linspace(_to_mel(_LOWEST_HZ), _to_mel(_HIGHEST_SHARE * sample_rate), bands + 2))
    times = (np.arange(width) - (width - 1) / 2) / sample_rate
    rows = []
    for low, center, high in zip(edges, edges[1:], edges[2:]):
        spread_hz = max(high - low, 1.5 * sample_rate / width)
        envelope = np.exp(-0.5 * (1.5 * spread_hz * times) ** 2)
        for phase in range(_PHASES):
            row = envelope * np.cos(2 * np.pi * (center * times + phase / _PHASES))
            row -= row.mean()
            rows.append(row / max(float(np.linalg.norm(row)), 1e-9) * (center / 1000) ** _EMPHASIS)
    return np.asarray(rows, dtype=np.float32).reshape(bands * _PHASES, width)


def _to_mel(frequency_hz: Any) -> Any:
    return 2595 * np.log10(1 + frequency_hz / 700)


def _from_mel(mel: Any) -> Any:
    return 700 * (10 ** (mel / 2595) - 1)
