"""Samples that can not be speech as they stand: nothing, channels that cancel each other, another scale."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np
import pytest
import soundfile

from asrctl.data.audio import REMARKS, AudioRules, Rejected, decode

RATE = 16000


def speech(rate: int = RATE, seconds: float = 1.0) -> np.ndarray:
    """(time,) float64 whose largest sample is 0.5: syllables with silence between them."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 1, len(time))
    samples = (np.sin(2 * np.pi * 180 * time) + 0.2 * noise) * (np.sin(2 * np.pi * 4 * time) > 0)
    return 0.5 * samples / np.abs(samples).max()


def heard(path: Path, samples: np.ndarray, subtype: str = "PCM_16", rate: int = RATE) -> Tuple[np.ndarray, List[str]]:
    """(what is decoded, what is remarked)."""
    soundfile.write(str(path), samples, rate, subtype=subtype)
    told: List[str] = []
    return decode(path, AudioRules(), remark=lambda name, detail: told.append(name)).astype(int), told


def reason(path: Path, samples: np.ndarray, subtype: str = "PCM_16", rate: int = RATE) -> Optional[str]:
    with pytest.raises(Rejected) as refused:
        heard(path, samples, subtype, rate)
    return refused.value.reason


def wanted(samples: np.ndarray) -> np.ndarray:
    return np.rint(samples * 32768)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("level", [0.0, 0.25, -1.0])
def test_one_and_the_same_sample_is_silent(tmp_path: Path, rate: int, channels: int, level: float) -> None:
    assert reason(tmp_path / "a.wav", np.full((rate, channels), level), rate=rate) == "silent"


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_rounding_and_dither_are_silent(tmp_path: Path, subtype: str) -> None:
    dither = np.random.default_rng(0).integers(-1, 2, RATE) / 32768
    assert reason(tmp_path / "a.wav", dither, subtype) == "silent"


def test_samples_of_16_bits_at_the_wrong_end_of_32_are_silent(tmp_path: Path) -> None:
    soundfile.write(str(tmp_path / "a.wav"), wanted(speech()).astype(np.int32), RATE, subtype="PCM_32")
    with pytest.raises(Rejected, match="silent"):
        decode(tmp_path / "a.wav", AudioRules())


def test_a_stretch_of_silence_is_silent_and_the_rest_is_not(tmp_path: Path) -> None:
    soundfile.write(str(tmp_path / "a.wav"), np.concatenate([np.zeros(RATE), speech()]), RATE)
    assert len(decode(tmp_path / "a.wav", AudioRules())) == 2 * RATE
    with pytest.raises(Rejected, match="silent"):
        decode(tmp_path / "a.wav", AudioRules(), 0.0, 1.0)


def test_quiet_speech_is_speech(tmp_path: Path) -> None:
    decoded, told = heard(tmp_path / "a.wav", speech() / 1000)
    assert 14 <= np.abs(decoded).max() <= 17 and not told


# -- channels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [-1.0, -0.98, -0.8, -1.2])
@pytest.mark.parametrize("rate", [16000, 48000])
def test_channels_that_cancel_give_the_louder_one(tmp_path: Path, other: float, rate: int) -> None:
    one = speech(rate)
    decoded, told = heard(tmp_path / "a.wav", np.stack([one, other * one], axis=1), rate=rate)
    assert told == ["one-channel"] and "one-channel" in REMARKS
    louder = max(1.0, abs(other))
    # What resampling leaves out of the noise belongs to no peak.
    assert np.abs(decoded).max() == pytest.approx(0.5 * louder * 32768, rel=0.02 if rate == RATE else 0.4)
    soundfile.write(str(tmp_path / "b.wav"), np.clip(louder * one, -1, 1), rate)
    assert np.corrcoef(decoded, decode(tmp_path / "b.wav", AudioRules()))[0, 1] ** 2 > 0.999


def test_noise_and_an_offset_do_not_hide_it(tmp_path: Path) -> None:
    one = speech()
    noise = np.random.default_rng(1).normal(0, 0.005, (len(one), 2))
    for offset in (0.0, 0.3):
        stereo = np.stack([one, -one], axis=1) + noise + offset
        decoded, told = heard(tmp_path / "a.wav", stereo)
        assert told == ["one-channel"]
        assert np.corrcoef(decoded, one)[0, 1] > 0.99


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_channels_that_do_not_cancel_are_averaged(tmp_path: Path, channels: int) -> None:
    """The same, one alone, independent ones, and some that are partly against each other."""
    one, generator = speech(), np.random.default_rng(2)
    others = generator.normal(0, 0.1, (len(one), channels))
    for stereo in (
        np.stack([one] * channels, axis=1),
        np.stack([one] + [np.zeros(len(one))] * (channels - 1), axis=1),
        others,
        np.stack([one] + [-0.4 * one / (channels - 1)] * (channels - 1), axis=1),
    ):
        decoded, told = heard(tmp_path / "a.wav", stereo)
        assert not told
        assert np.abs(decoded - wanted(stereo.mean(axis=1))).max() <= 2


# -- scale ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("full", [4.0, 2.0**15, 2.0**23, 2.0**31])
def test_floats_in_another_scale_are_scaled(tmp_path: Path, subtype: str, full: float) -> None:
    samples = 1.9 * speech()
    decoded, told = heard(tmp_path / "a.wav", samples * full, subtype)
    assert told == ["scaled"]
    assert np.abs(decoded - wanted(samples)).max() <= 1


def test_quiet_whole_numbers_as_floats_keep_their_scale(tmp_path: Path) -> None:
    decoded, told = heard(tmp_path / "a.wav", np.rint(speech() * 2000), "FLOAT", rate=48000)
    assert told == ["scaled"]
    assert 0 < np.abs(decoded).max() <= 1100


def test_other_channels_and_another_scale_at_once(tmp_path: Path) -> None:
    one = np.rint(speech() * 30000)
    decoded, told = heard(tmp_path / "a.wav", np.stack([one, -one], axis=1), "FLOAT")
    assert told == ["one-channel", "scaled"]
    assert np.array_equal(decoded, one)


def test_single_peaks_are_clipped_not_wrapped(tmp_path: Path) -> None:
    samples = speech()
    samples[[100, 200, 300, 400]] = 1.5, -1.5, 30000.0, -30000.0
    decoded, told = heard(tmp_path / "a.wav", samples, "FLOAT")
    assert not told
    assert decoded[[100, 200, 300, 400]].tolist() == [32767, -32768, 32767, -32768]
    assert np.abs(decoded - wanted(speech()))[500:].max() <= 1


def test_no_scale_is_as_large(tmp_path: Path) -> None:
    assert reason(tmp_path / "a.wav", speech() * 1e30, "FLOAT") == "off-scale"
    assert reason(tmp_path / "a.wav", speech() * 1e300, "DOUBLE") == "not-finite"


def test_a_square_wave_is_what_clipping_leaves(tmp_path: Path) -> None:
    assert reason(tmp_path / "a.wav", np.clip(speech() * 1000, -1, 1)) == "clipped"
    loud, told = heard(tmp_path / "a.wav", np.clip(speech() * 2.5, -1, 1))
    assert loud.max() == 32767 and not told
