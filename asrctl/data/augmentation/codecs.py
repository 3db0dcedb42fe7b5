"""Speech that went through a telephone or a lossy file, by libsndfile's own encoders."""

from __future__ import annotations

import io
from typing import Any, Callable, Dict, List

import numpy as np

_TELEPHONE_HZ = 8000
# The band of a telephone (ITU-T G.712), and how steep its edges are here: one half of a cosine.
_BAND_HZ, _EDGE_HZ = (300.0, 3400.0), 100.0
_BLOCK = 16000


def _telephone(samples: np.ndarray, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """300 to 3400 Hz at 8000 samples a second, by the mu-law, the A-law (ITU-T G.711) or GSM 06.10."""
    law = ("ULAW", "ALAW", "GSM610")[int(generator.integers(3))]
    return _by_telephone(samples, sample_rate, law)


def _gsm(samples: np.ndarray, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """The same, GSM 06.10 always."""
    return _by_telephone(samples, sample_rate, "GSM610")


def _opus(samples: np.ndarray, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """Opus at 8 to 50 kbit/s (measured at 16 kHz with libsndfile 1.2)."""
    # It knows these rates alone.
    rate = min((rate for rate in (8000, 12000, 16000, 24000, 48000) if rate >= sample_rate), default=48000)
    return _coded(samples, sample_rate, rate, "OGG", "OPUS", compression_level=generator.uniform(0.82, 1.0))


def _mp3(samples: np.ndarray, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """MP3 with a quality between libsndfile's best and nearly its worst: 30 to 66 kbit/s at 16 kHz."""
    known = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
    rate = min((rate for rate in known if rate >= sample_rate), default=48000)
    return _coded(samples, sample_rate, rate, "MP3", "MPEG_LAYER_III", compression_level=generator.uniform(0.0, 0.95))


def _vorbis(samples: np.ndarray, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """Ogg Vorbis: 30 to 82 kbit/s at 16 kHz."""
    return _coded(samples, sample_rate, sample_rate, "OGG", "VORBIS", compression_level=generator.uniform(0.0, 1.0))


CODECS: Dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "telephone": _telephone,
    "gsm": _gsm,
    "opus": _opus,
    "mp3": _mp3,
    "vorbis": _vorbis,
}
_FORMATS = {"opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"), "vorbis": ("OGG", "VORBIS")}


def code(samples: np.ndarray, name: str, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """samples (time,) float32 -> what is left of them, as long as before."""
    coded = CODECS[name](samples, sample_rate, generator)
    return coded[: len(samples)] if len(coded) >= len(samples) else np.pad(coded, (0, len(samples) - len(coded)))


def missing(names: "tuple[str, ...]") -> List[str]:
    """Those of the codecs that this libsndfile can not write."""
    import soundfile

    return [name for name in names if name in _FORMATS and not soundfile.check_format(*_FORMATS[name])]


def _by_telephone(samples: np.ndarray, sample_rate: int, law: str) -> np.ndarray:
    spectrum = np.fft.rfft(samples)
    hz = np.linspace(0.0, sample_rate / 2, len(spectrum))
    low, high = _BAND_HZ
    inside = np.clip(np.minimum(hz - low, high - hz) / _EDGE_HZ + 0.5, 0.0, 1.0)
    narrow = np.fft.irfft(spectrum * np.sin(inside * np.pi / 2) ** 2, len(samples)).astype(np.float32)
    return _coded(narrow, sample_rate, _TELEPHONE_HZ, "WAV", law)


def _coded(samples: np.ndarray, sample_rate: int, rate: int, form: str, subtype: str, **options: Any) -> np.ndarray:
    """Encoded at `rate` and decoded again. Peaks beyond full scale are kept below it meanwhile."""
    import soundfile
    import soxr

    peak = max(1.0, float(np.abs(samples).max(initial=0.0)))
    scaled = (samples / np.float32(peak)).astype(np.float32, copy=False)
    if rate != sample_rate:
        scaled = soxr.resample(scaled, sample_rate, rate)
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, 1, format=form, subtype=subtype, **options) as sound:
        for start in range(0, len(scaled), _BLOCK):  # Vorbis of a long block takes more stack than there may be
            sound.write(scaled[start : start + _BLOCK])
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32")
    if rate != sample_rate:
        decoded = soxr.resample(decoded, rate, sample_rate)
    return (decoded * np.float32(peak)).astype(np.float32, copy=False)
