"""Decoding: whatever libsndfile reads becomes (time,) int16 at one rate, or is refused with a reason."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Dict

import numpy as np
import pytest
import soundfile

from asrctl.data.audio import REASONS, AudioRules, Rejected, decode, duration_s, num_frames

RULES = AudioRules()


def tone(seconds: float, rate: int = 16000, hertz: float = 440.0) -> np.ndarray:
    """(time,) float64 in [-0.5, 0.5]."""
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def write(path: Path, samples: np.ndarray, rate: int = 16000, subtype: str = "PCM_16") -> Path:
    soundfile.write(str(path), samples, rate, subtype=subtype)
    return path


def reason(source, rules: AudioRules = RULES, **stretch: float) -> str:
    with pytest.raises(Rejected) as refused:
        decode(source, rules, **stretch)
    assert refused.value.reason in REASONS
    return refused.value.reason


def test_int16_at_the_right_rate_is_read_as_it_is(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32767, 5000, dtype=np.int16)
    assert np.array_equal(decode(write(tmp_path / "a.wav", samples), RULES), samples)
    assert np.array_equal(decode(write(tmp_path / "a.flac", samples), RULES), samples)


def test_exactly_the_longest_duration_is_kept(tmp_path: Path) -> None:
    """In floating point 2.01 * 16000 is a little less than 32160."""
    path = write(tmp_path / "a.wav", tone(2.1)[:32160])
    assert len(decode(path, AudioRules(max_s=2.01))) == 32160


@pytest.mark.parametrize(
    ("name", "subtype", "error"),
    [
        ("a.wav", "PCM_U8", 260),
        ("a.wav", "PCM_24", 1),
        ("a.wav", "PCM_32", 1),
        ("a.wav", "FLOAT", 1),
        ("a.wav", "DOUBLE", 1),
        ("a.wav", "ULAW", 700),
        ("a.aiff", "PCM_16", 1),
        ("a.flac", "PCM_24", 1),
        ("a.au", "PCM_16", 1),
        ("a.caf", "PCM_16", 1),
        ("a.w64", "PCM_16", 1),
        ("a.ogg", "VORBIS", 1500),
    ],
)
def test_every_encoding_gives_the_same_sound(tmp_path: Path, name: str, subtype: str, error: int) -> None:
    wanted = np.rint(tone(0.5) * 32768).astype(np.int64)
    decoded = decode(write(tmp_path / name, tone(0.5), subtype=subtype), RULES)
    assert decoded.dtype == np.int16
    assert len(decoded) == len(wanted)
    assert np.abs(decoded - wanted).max() <= error


def test_channels_are_averaged(tmp_path: Path) -> None:
    stereo = np.stack([tone(0.2), np.zeros(3200)], axis=1)
    decoded = decode(write(tmp_path / "a.wav", stereo), RULES)
    assert np.abs(decoded - np.rint(tone(0.2) / 2 * 32768)).max() <= 1


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_other_rates_are_resampled(tmp_path: Path, rate: int) -> None:
    decoded = decode(write(tmp_path / "a.wav", tone(1.0, rate), rate), RULES)
    assert abs(len(decoded) - 16000) <= 1
    middle = slice(2000, 14000)
    assert np.abs(decoded[middle] - np.rint(tone(1.0) * 32768)[middle]).max() < 60


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    samples = tone(0.5)
    samples[100] = bad
    assert reason(write(tmp_path / "a.wav", samples, subtype="FLOAT")) == "not-finite"


def test_a_stream_gives_what_the_file_gives(tmp_path: Path) -> None:
    for name in ("a.flac", "a.wav", "a.ogg"):
        path = write(tmp_path / name, tone(0.5), subtype="VORBIS" if name == "a.ogg" else "PCM_16")
        assert np.array_equal(decode(io.BytesIO(path.read_bytes()), RULES), decode(path, RULES))


def test_the_names_of_files_do_not_matter(tmp_path: Path) -> None:
    for name in ("a.raw", "a", "a.mp3", "ä b\n.txt"):
        path = write(tmp_path / "a.wav", tone(0.5)).rename(tmp_path / name)
        assert len(decode(path, RULES)) == 8000


# -- durations --------------------------------------------------------------------------------------------------------


def test_durations_are_limited_on_both_sides(tmp_path: Path) -> None:
    rules = AudioRules(min_s=0.5, max_s=1.0)
    assert reason(write(tmp_path / "a.wav", tone(0.499)), rules) == "too-short"
    assert len(decode(write(tmp_path / "b.wav", tone(0.5)), rules)) == 8000
    assert len(decode(write(tmp_path / "c.wav", tone(1.0)), rules)) == 16000
    assert reason(write(tmp_path / "d.wav", np.append(tone(1.0), 0.0)), rules) == "too-long"
    for rate in (8000, 44100):
        assert abs(len(decode(write(tmp_path / f"{rate}.wav", tone(1.0, rate), rate), rules)) - 16000) <= 1
        assert reason(write(tmp_path / f"{rate}-long.wav", tone(1.01, rate), rate), rules) == "too-long"


def test_a_stretch_is_cut_out(tmp_path: Path) -> None:
    samples = np.rint(tone(3.0) * 32767).astype(np.int16)
    for name in ("a.wav", "a.flac"):
        path = write(tmp_path / name, samples)
        assert np.array_equal(decode(path, RULES, 0.5, 1.25), samples[8000:20000])
        assert np.array_equal(decode(path, RULES, 0.5, None), samples[8000:])
        assert np.array_equal(decode(path, RULES, None, 1.25), samples[:20000])
        assert np.array_equal(decode(path, AudioRules(max_s=1.0), 1.0, 2.0), samples[16000:32000])
    assert len(decode(write(tmp_path / "b.wav", tone(3.0, 8000), 8000), RULES, 1.0, 2.0)) == 16000


def test_a_stretch_outside_the_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(1.0))
    assert reason(path, start_s=1.0) == "outside"
    assert reason(path, start_s=0.5, end_s=2.0) == "outside"
    assert len(decode(path, RULES, 0.5, 1.05)) == 8000
    assert reason(path, AudioRules(max_s=0.3), start_s=0.1, end_s=0.9) == "too-long"


def test_a_long_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    samples = np.tile(np.arange(-8000, 8000, dtype=np.int16), 600)
    write(path, samples)
    assert reason(path, AudioRules(max_s=1.0)) == "too-long"
    assert np.array_equal(decode(path, RULES, 599.0, 600.0), samples[:16000])


# -- broken files -----------------------------------------------------------------------------------------------------


def test_files_that_are_no_audio_are_unreadable(tmp_path: Path) -> None:
    for content in (b"", b"\0" * 1000, b"RIFF", b"fLaC" + b"\0" * 100, b"hello " * 500, b"OggS" + b"\xff" * 400):
        path = tmp_path / "a.wav"
        path.write_bytes(content)
        assert reason(path) == "unreadable"


def test_a_file_without_samples_is_empty(tmp_path: Path) -> None:
    assert reason(write(tmp_path / "a.wav", np.zeros(0))) == "empty"


def test_a_wav_that_promises_more_than_it_holds_is_truncated(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.wav", tone(2.0)).read_bytes()
    path = tmp_path / "cut.wav"
    path.write_bytes(whole[: len(whole) // 2])
    assert reason(path) == "truncated"
    path.write_bytes(whole[:-1000])  # 31 ms are forgiven
    assert len(decode(path, RULES)) == 31500


def test_a_wav_that_was_streamed_is_taken_as_it_is(tmp_path: Path) -> None:
    whole = bytearray(write(tmp_path / "a.wav", tone(2.0)).read_bytes())
    struct.pack_into("<I", whole, 40, 0xFFFFFFFF)
    struct.pack_into("<I", whole, 4, 0xFFFFFFFF)
    (tmp_path / "streamed.wav").write_bytes(bytes(whole))
    assert len(decode(tmp_path / "streamed.wav", RULES)) == 32000


def packed(container: str, subtype: str = "", seconds: float = 2.0) -> bytearray:
    """Noise, of which no part is much smaller than another."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds * 16000))
    soundfile.write(stream, noise, 16000, format=container, subtype=subtype or None)
    return bytearray(stream.getvalue())


def streamed() -> Dict[str, bytearray]:
    """Whole recordings of 2 s whose header does not say how long they are, as programs write them into a pipe."""
    found = {}
    for name, size in (("sox.wav", 0x7FFFF000), ("unknown.wav", 0xFFFFFFFF)):
        found[name] = packed("WAV")
        struct.pack_into("<I", found[name], 40, size)
    found["unknown.w64"] = packed("W64")
    struct.pack_into("<Q", found["unknown.w64"], found["unknown.w64"].find(b"data") + 16, 2**63 - 1)
    for size in (0x7F000008, 0xFFFFFFFF):
        found[f"{size}.aiff"] = packed("AIFF")
        struct.pack_into(">I", found[f"{size}.aiff"], found[f"{size}.aiff"].find(b"SSND") + 4, size)
    found["unknown.au"] = packed("AU")
    struct.pack_into(">I", found["unknown.au"], 8, 0xFFFFFFFF)
    return found


@pytest.mark.parametrize("name", list(streamed()))
def test_what_was_streamed_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(streamed()[name])
    assert len(decode(tmp_path / name, RULES)) == 32000


@pytest.mark.parametrize("container", ["WAV", "RF64", "W64", "AIFF", "AU", "NIST"])
def test_the_last_milliseconds_are_forgiven(tmp_path: Path, container: str) -> None:
    (tmp_path / "a").write_bytes(packed(container)[:-1000])  # 31 ms
    assert len(decode(tmp_path / "a", RULES)) == 31500
    (tmp_path / "a").write_bytes(packed(container)[:-6400])
    assert reason(tmp_path / "a") == "truncated"


def test_an_mp3_that_does_not_count_its_frames_is_taken_as_it_is(tmp_path: Path) -> None:
    whole = packed("MP3")
    second = whole.find(whole[:2], 2)
    assert b"Info" in whole[:second] or b"Xing" in whole[:second]
    for data in (whole[second:], whole[second : second + len(whole) // 2]):
        (tmp_path / "a.mp3").write_bytes(data)
        assert len(decode(tmp_path / "a.mp3", RULES)) > 8000


def test_tags_do_not_count(tmp_path: Path) -> None:
    """Before and behind an MP3, behind an Ogg file."""
    first, last = b"ID3\x03\0\0\0\0\x01\x00" + bytes(128), b"TAG" + bytes(125)
    (tmp_path / "a.mp3").write_bytes(first + packed("MP3") + last)
    assert len(decode(tmp_path / "a.mp3", RULES)) == 32000
    (tmp_path / "a.mp3").write_bytes(first + packed("MP3")[:-6000])
    assert reason(tmp_path / "a.mp3") == "truncated"
    (tmp_path / "a.ogg").write_bytes(packed("OGG") + last)
    assert len(decode(tmp_path / "a.ogg", RULES)) == 32000


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_file_without_its_last_page_may_be_a_stream(tmp_path: Path, subtype: str) -> None:
    whole = packed("OGG", subtype, seconds=5.0)
    (tmp_path / "a.ogg").write_bytes(whole[: whole.rfind(b"OggS")])
    assert len(decode(tmp_path / "a.ogg", RULES)) > 16000
    (tmp_path / "a.ogg").write_bytes(whole[:-1])
    assert reason(tmp_path / "a.ogg") == "truncated"


def test_a_wav_that_claims_forty_hours_is_refused_at_once(tmp_path: Path) -> None:
    header = bytearray(write(tmp_path / "a.wav", tone(0.1)).read_bytes())
    struct.pack_into("<I", header, 24, 4000)
    struct.pack_into("<I", header, 28, 8000)
    struct.pack_into("<I", header, 40, 40 * 3600 * 8000)
    (tmp_path / "claims.wav").write_bytes(bytes(header))
    assert reason(tmp_path / "claims.wav") == "truncated"


def test_half_a_flac_is_unreadable_and_a_lost_last_block_is_forgiven(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, 4096 * 11 + 1000, dtype=np.int16)
    whole = write(tmp_path / "a.flac", samples).read_bytes()
    path = tmp_path / "cut.flac"
    path.write_bytes(whole[: len(whole) // 2])
    assert reason(path) == "unreadable"
    path.write_bytes(whole[:-50])
    decoded = decode(path, RULES)
    assert len(samples) - 1600 <= len(decoded) < len(samples)
    assert np.array_equal(decoded, samples[: len(decoded)])


def test_absurd_rates_are_refused(tmp_path: Path) -> None:
    whole = bytearray(write(tmp_path / "a.wav", tone(0.1)).read_bytes())
    for rate in (1, 999, 2_000_000_000):
        struct.pack_into("<I", whole, 24, rate)
        (tmp_path / "rate.wav").write_bytes(bytes(whole))
        assert reason(tmp_path / "rate.wav") in ("bad-rate", "unreadable")


def test_a_missing_file_is_the_disks_fault_not_the_contents(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "none.wav", RULES)


def test_what_a_header_says_of_the_duration(tmp_path: Path) -> None:
    assert duration_s(write(tmp_path / "a.flac", tone(1.5))) == 1.5
    (tmp_path / "b.wav").write_bytes(b"nothing")
    assert duration_s(tmp_path / "b.wav") is None
    assert duration_s(tmp_path / "missing.wav") is None


# -- frames -----------------------------------------------------------------------------------------------------------


def test_frames_are_those_of_the_model() -> None:
    torch = pytest.importorskip("torch")
    kernels, strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
    for samples in (1, 399, 400, 401, 719, 720, 16000, 123457):
        frames = torch.zeros(1, 1, samples)
        for kernel, stride in zip(kernels, strides):
            if frames.shape[-1] < kernel:
                frames = frames[..., :0]
                break
            frames = torch.nn.functional.max_pool1d(frames, kernel, stride)
        assert num_frames(samples) == frames.shape[-1]


def test_frames_follow_the_geometry() -> None:
    assert num_frames(399) == 0
    assert num_frames(400) == 1
    assert num_frames(16000) == 49
    assert num_frames(10, (10,), (5,)) == 1
    assert num_frames(16000, (10, 8, 4, 4, 4), (5, 4, 2, 2, 4)) == 49
