"""Numbers about one utterance's samples: level, clipping, silence, bandwidth. All that audits know of its sound."""

from __future__ import annotations

from typing import NamedTuple, Tuple

import numpy as np

# Frames of about 32 ms: a few periods of a low voice, and shorter than most sounds.
_FRAME_S = 0.032
# The loudest frames, of which one is the reference: fewer than a click makes, more than a word is short.
_LOUD_SHARE, _LOUD_MOST = 0.05, 5
# Speech lies within about 30 dB of its loudest frames (ITU-T P.56 takes what is 15.9 dB below the mean of speech, whose
# peaks lie 10 to 15 dB above that mean); what is less is pauses and the room.
_ACTIVE_DB = 30.0
_FLOOR_DB = -120.0
FULL = 32768.0
# Equal neighbors at full scale, or at the recording's own peak where it was clipped before it was made quieter.
_RAIL = 32700
_TOP_SHARE, _FLAT_SHARE = 0.97, 0.002
# Below the strongest frequency, in dB: the sound of real recordings goes on to the end of the band at that distance
# (106 of 106 of LibriSpeech do at 60), what was cut off has nothing left.
_BAND_DB, _FLOOR_MARGIN_DB = 55.0, 6.0
# How much the sound must drop across an edge for it to be a filter's: slopes of speech are 9 dB at most there.
_STEP_DB = 15.0
_NEAR_HZ, _FAR_HZ = 200.0, 700.0
_TELEPHONE_HZ, _TELEPHONE_SHARE_DB = 4000.0, -30.0
# A sketch of a recording: energies in bands that telephones have too, each a tenth of an octave or more wide, over
# sixteenths of its length; what is 40 dB below the loudest does not count, as codecs leave it out.
_SKETCH_HZ, _SKETCH_BANDS, _SKETCH_PARTS, _SKETCH_DB = (150.0, 3600.0), 16, 16, 40.0
SKETCH = _SKETCH_BANDS * _SKETCH_PARTS

MEASURES = np.dtype(
    [
        ("sentence", "u8"),
        ("audio", "u8"),
        ("seconds", "f4"),
        ("active_s", "f4"),
        ("characters", "i4"),
        ("level", "f4"),
        ("top", "f4"),
        ("range", "f4"),
        ("clipped", "f4"),
        ("leading_s", "f4"),
        ("trailing_s", "f4"),
        ("gap_s", "f4"),
        ("edge_hz", "f4"),
    ]
)


class Sound(NamedTuple):
    """active_s: without pauses. level: of speech, in dBFS (RMS of the frames that are not pauses). top: the loudest
    frames'; range: from there to the quietest. clipped: share of the samples. leading_s, trailing_s, gap_s: the silence
    before, after and the longest within. edge_hz: where a filter has cut off all that is higher; half the sample rate
    where none has. sketch: (SKETCH,) float32 of length 1; two recordings are the same where the product of their
    sketches is near 1, whatever codec or gain came between.
    """

    active_s: float
    level: float
    top: float
    range: float
    clipped: float
    leading_s: float
    trailing_s: float
    gap_s: float
    edge_hz: float
    sketch: np.ndarray


def frame_samples(sample_rate: int) -> int:
    return 1 << int(round(np.log2(_FRAME_S * sample_rate)))


def measure(pcm: np.ndarray, sample_rate: int) -> Sound:
    """pcm: (time,) int16, at least one sample."""
    size = frame_samples(sample_rate)
    frames = _frames(pcm, size)
    power = np.einsum("ft,ft->f", frames, frames) / size
    levels, top, active = _activity(power)
    leading, trailing, gap = _silences(active)
    frame_s = size / sample_rate
    spectra = _spectra(frames)
    return Sound(
        active_s=float(np.count_nonzero(active)) * frame_s,
        level=_speech_level(power, active),
        top=top,
        range=top - float(levels.min()),
        clipped=clipped_share(pcm),
        leading_s=leading * frame_s,
        trailing_s=trailing * frame_s,
        gap_s=gap * frame_s,
        edge_hz=_edge_hz(spectra[active].mean(axis=0), size, sample_rate),
        sketch=_sketch(spectra, sample_rate / size),
    )


def speech_level(pcm: np.ndarray, sample_rate: int) -> float:
    """The `level` of `measure`, without the rest of it, which takes longer. pcm: (time,) int16, at least one sample."""
    size = frame_samples(sample_rate)
    frames = _frames(pcm, size)
    power = np.einsum("ft,ft->f", frames, frames) / size
    return _speech_level(power, _activity(power)[2])


def _activity(power: np.ndarray) -> Tuple[np.ndarray, float, np.ndarray]:
    """(levels in dBFS, the loudest frames', which frames are no pause). power: (frames,)."""
    levels = 10 * np.log10(power + 10 ** (_FLOOR_DB / 10))
    loud = min(_LOUD_MOST, int(np.ceil(_LOUD_SHARE * len(levels))))
    top = float(np.sort(levels)[-loud])
    return levels, top, levels > top - _ACTIVE_DB


def _speech_level(power: np.ndarray, active: np.ndarray) -> float:
    return float(10 * np.log10(power[active].mean() + 10 ** (_FLOOR_DB / 10)))


def _frames(pcm: np.ndarray, size: int) -> np.ndarray:
    """(frames, size) float32 around 0; full scale is 1. What is shorter than a frame is filled up with zeros."""
    samples = pcm.astype(np.float32) / np.float32(FULL)
    samples -= samples.mean()
    count = max(1, len(samples) // size)
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    return samples[: count * size].reshape(count, size)


def _silences(active: np.ndarray) -> Tuple[int, int, int]:
    """Frames before the first active one, after the last, and of the longest pause between."""
    places = np.flatnonzero(active)
    if not len(places):
        return len(active), 0, 0
    gaps = np.diff(places) - 1
    return int(places[0]), int(len(active) - 1 - places[-1]), int(gaps.max()) if len(gaps) else 0


def clipped_share(pcm: np.ndarray) -> float:
    """Samples in flat tops: three neighbors or more that are as good as equal, at full scale or at the peak.

    pcm: (time,) int16.
    """
    size = np.abs(pcm.astype(np.int32))
    peak = int(size.max())
    places = np.flatnonzero(size[1:-1] >= min(_RAIL, _TOP_SHARE * peak)) + 1
    if not len(places) or not peak:
        return 0.0
    step = max(1.0, _FLAT_SHARE * peak)
    near = pcm.astype(np.int32)
    flat = (np.abs(near[places] - near[places - 1]) <= step) & (np.abs(near[places + 1] - near[places]) <= step)
    return float(np.count_nonzero(flat)) / len(pcm)


def _window(size: int) -> np.ndarray:
    return np.hanning(size).astype(np.float32)


def _spectra(frames: np.ndarray) -> np.ndarray:
    """(frames, size) -> (frames, size / 2 + 1) power."""
    spectra = np.fft.rfft(frames * _window(frames.shape[1]), axis=1)
    return spectra.real**2 + spectra.imag**2


def _sketch(spectra: np.ndarray, bin_hz: float) -> np.ndarray:
    edges = np.geomspace(*_SKETCH_HZ, _SKETCH_BANDS + 1) / bin_hz
    starts = np.round(edges).astype(np.int64)
    bands = np.add.reduceat(spectra[:, : starts[-1]], np.minimum(starts[:-1], spectra.shape[1] - 1), axis=1)
    # Of fewer frames than parts, some parts have the same one.
    count = len(bands)
    ends = np.arange(_SKETCH_PARTS + 1) * count // _SKETCH_PARTS
    parts = np.stack([bands[first : max(last, first + 1)].mean(axis=0) for first, last in zip(ends[:-1], ends[1:])])
    decibel = 10 * np.log10(parts + parts.max() * 10 ** (-_SKETCH_DB / 10) + 1e-20)
    decibel -= decibel.mean(axis=0, keepdims=True)
    length = float(np.linalg.norm(decibel))
    return (decibel / length if length > 0 else decibel).astype(np.float32).ravel()


def _edge_hz(power: np.ndarray, size: int, sample_rate: int) -> float:
    """Where the band ends that speech fills. power: (bins,), the mean over frames of `size` samples."""
    highest, window = sample_rate / 2, _window(size)
    hz = np.arange(len(power)) * sample_rate / size
    # What rounding to 16 bits leaves everywhere: a twelfth of a step squared.
    floor = float((window**2).sum()) / 12 / FULL**2
    decibel = 10 * np.log10(power + floor * 1e-3)
    peak = decibel.max()
    down = min(_BAND_DB, peak - 10 * np.log10(floor) - _FLOOR_MARGIN_DB)
    edge = float(hz[np.flatnonzero(decibel > peak - down)[-1]])
    if _step(power, hz, edge) >= _STEP_DB and edge < highest - _NEAR_HZ:
        return edge
    if highest > 1.2 * _TELEPHONE_HZ and _is_telephone(power, hz):
        return _TELEPHONE_HZ
    return highest


def _step(power: np.ndarray, hz: np.ndarray, edge: float) -> float:
    """By how many dB the sound is weaker above an edge than below it."""
    below = power[(hz >= edge - _FAR_HZ) & (hz <= edge - _NEAR_HZ)]
    above = power[(hz >= edge + _NEAR_HZ) & (hz <= edge + _FAR_HZ)]
    if not len(below) or not len(above):
        return 0.0
    return float(10 * np.log10((below.mean() + 1e-20) / (above.mean() + 1e-20)))


def _is_telephone(power: np.ndarray, hz: np.ndarray) -> bool:
    """Whether nothing but rounding is above 4 kHz, however quiet the recording."""
    low = power[(hz > 100) & (hz < _TELEPHONE_HZ - _NEAR_HZ / 2)].sum()
    high = power[hz > _TELEPHONE_HZ + _NEAR_HZ].sum()
    share = 10 * np.log10((high + 1e-20) / (low + 1e-20))
    return bool(share <= _TELEPHONE_SHARE_DB and _step(power, hz, _TELEPHONE_HZ) >= _STEP_DB)
