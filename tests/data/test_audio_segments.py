"""A stretch of a recording is what the whole recording has there, whatever its decoder needs to get there."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import pytest
import soundfile

from asrctl.data.audio import AudioRules, decode
from asrctl.data.audio_segments import Reader

# Quieter than the last of 16 bits hears it.
CLOSE = 1.5
FORMATS: Dict[str, Tuple[str, str, int, int, Dict[str, Any]]] = {
    "mp3 vbr": ("MP3", "MPEG_LAYER_III", 16000, 1, {"bitrate_mode": "VARIABLE", "compression_level": 0.9}),
    "mp3 8 kbit/s": ("MP3", "MPEG_LAYER_III", 24000, 2, {"bitrate_mode": "CONSTANT", "compression_level": 0.99}),
    "mp3 44.1 kHz": ("MP3", "MPEG_LAYER_III", 44100, 1, {"bitrate_mode": "VARIABLE", "compression_level": 0.6}),
    "opus": ("OGG", "OPUS", 16000, 1, {"compression_level": 0.99}),
    "opus stereo": ("OGG", "OPUS", 24000, 2, {"compression_level": 0.9}),
    "vorbis": ("OGG", "VORBIS", 22050, 1, {}),
    "flac": ("FLAC", "PCM_24", 16000, 2, {}),
    "alac": ("CAF", "ALAC_16", 16000, 1, {}),
    "gsm": ("WAV", "GSM610", 8000, 1, {}),
    "adpcm": ("WAV", "IMA_ADPCM", 16000, 1, {}),
    "g721": ("AU", "G721_32", 8000, 1, {}),
}


def voice(rate: int, channels: int, seconds: float = 10.0) -> np.ndarray:
    """(time, channels) float32: a hum with overtones and breath that comes and goes, so that an encoder lends bits."""
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * time)) / rate
    hum = sum(np.sin(k * phase) / k for k in range(1, 18))
    loudness = (np.sin(2 * np.pi * 1.3 * time) > -0.3) * np.abs(np.sin(2 * np.pi * 3.1 * time))
    samples = (0.25 * hum + np.random.default_rng(0).normal(0, 0.08, len(time))) * loudness
    return np.stack([samples] + [0.6 * np.roll(samples, rate // 50)] * (channels - 1), axis=1).astype(np.float32)


@functools.lru_cache(maxsize=None)
def written(name: str) -> Tuple[bytes, int]:
    """A recording in one of FORMATS, and its rate."""
    container, subtype, rate, channels, options = FORMATS[name]
    stream, samples = io.BytesIO(), voice(rate, channels)
    with soundfile.SoundFile(stream, "w", rate, channels, subtype, format=container, **options) as sound:
        for start in range(0, len(samples), 4096):  # more at once is too much for libsndfile's Opus
            sound.write(samples[start : start + 4096])
    return stream.getvalue(), rate


@pytest.mark.parametrize("name", FORMATS)
def test_a_stretch_is_what_the_whole_has_there(name: str, tmp_path: Path) -> None:
    data, rate = written(name)
    (tmp_path / "whole").write_bytes(data)
    rules = AudioRules(sample_rate=rate, max_s=100.0)
    whole = decode(io.BytesIO(data), rules).astype(int)
    for start_s in (0.05, 0.9, 3.217, 8.331):
        stretch = decode(tmp_path / "whole", rules, start_s, start_s + 1.5).astype(int)
        first = round(start_s * rate)
        assert abs(len(stretch) - 1.5 * rate) <= 1
        assert np.abs(stretch - whole[first : first + len(stretch)]).max() <= CLOSE, start_s
    rest = decode(io.BytesIO(data), rules, 8.331).astype(int)
    assert np.abs(rest - whole[round(8.331 * rate) :]).max() <= CLOSE


@pytest.mark.parametrize("name", FORMATS)
def test_the_size_of_the_blocks_does_not_matter(name: str) -> None:
    """soundfile seeks after every block; in an MP3 each next one would begin wrong."""
    data, _ = written(name)
    found = []
    for block in (1000, 1 << 20):
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            found.append(np.concatenate(list(Reader(sound, "float32", block).blocks(0, 1 << 30))))
    assert np.array_equal(*found)


def test_the_end_of_a_file_ends_a_stretch(tmp_path: Path) -> None:
    for name in ("mp3 vbr", "opus", "gsm"):
        data, rate = written(name)
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            total = sound.frames
            found = sum(map(len, Reader(sound, "float32", 4096).blocks(total - 100, 5000)))
        assert found <= 100
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            assert list(Reader(sound, "float32", 4096).blocks(total + 10, 5000)) == []


def test_real_speech_in_opus(real_librispeech: Path) -> None:
    """Its speech half remembers for seconds. At this bit rate it is in use."""
    paths = sorted(real_librispeech.rglob("*.flac"))[:4]
    samples = np.concatenate([soundfile.read(str(path), dtype="float32")[0] for path in paths])
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", 16000, 1, "OPUS", format="OGG", compression_level=0.95) as sound:
        for start in range(0, len(samples), 4096):
            sound.write(samples[start : start + 4096])
    rules = AudioRules(max_s=1000.0)
    whole = decode(io.BytesIO(stream.getvalue()), rules).astype(int)
    for start_s in np.arange(0.7, len(samples) / 16000 - 2, 11.3):
        stretch = decode(io.BytesIO(stream.getvalue()), rules, start_s, start_s + 1.0).astype(int)
        first = round(start_s * 16000)
        assert np.abs(stretch - whole[first : first + len(stretch)]).max() < 33, start_s
