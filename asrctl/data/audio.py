"""Decode with libsndfile, mix down, resample with soxr: anything readable -> (time,) int16 at one rate.

A file's own word on its length is never trusted: blocks are read until the longest allowed duration is passed.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Callable, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from asrctl.data import containers, conv_lengths, levels
from asrctl.data.audio_segments import Reader
from asrctl.errors import BadData
from asrctl.storage import files

# Kernels and strides of the convolutional encoder of wav2vec 2.0, HuBERT, WavLM and XLS-R: one frame per 320 samples,
# the first after 400 (Baevski et al. 2020, section 4.1).
CONV_KERNELS = (10, 3, 3, 3, 3, 2, 2)
CONV_STRIDES = (5, 2, 2, 2, 2, 2, 2)

# Why an utterance is not used; the words of `rejects.jsonl`.
REASONS = {
    "no-audio": "the audio file is missing, not a regular file, or can not be read",
    "no-transcript": "the transcript is missing, empty, or not UTF-8",
    "unreadable": "libsndfile can not decode the file",
    "truncated": "the file ends before the length that it promises",
    "empty": "the file or stretch holds no samples",
    "outside": "the stretch lies outside the file",
    "no-channel": "the file has fewer channels than the one that is asked for",
    "bad-rate": "the sample rate is none of speech",
    "not-finite": "the samples hold NaN or infinity",
    "silent": "all samples are the same, or no louder than rounding",
    "clipped": "most samples are at full scale: the sound was amplified, or scaled, far too much",
    "off-scale": "the samples are larger than in any scale of sound",
    "too-short": "below the shortest duration, or too short for one frame of the model",
    "too-long": "above the longest duration",
    "dropped": "left out by --drop",
    "ctc-impossible": "more labels (and repeats) than frames of the model",
}

# What is told of an utterance that is used; the words of `remarks.jsonl`.
REMARKS = {
    "one-channel": "the channels cancel each other, so the loudest one is taken instead of their mean",
    "scaled": "the samples are floats beyond 1, so they are divided by their full scale",
}

# Shorter ends than this are forgiven: a last block that an encoder did not finish costs no word.
TOLERANCE_S = 0.1
RATES_HZ = (1000, 768000)
_BLOCK_VALUES = 1 << 19
_SMALL_BLOCK = 256
# Formats whose samples may lie beyond full scale.
_FLOATS = ("FLOAT", "DOUBLE")

Remark = Callable[[str, str], None]


def _unheard(name: str, detail: str) -> None:
    """What a remark is told where nobody asks."""


class Rejected(Exception):
    """This utterance can not be used; `reason` is one of REASONS, `detail` says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class _NotDecodable(Exception):
    """libsndfile gave up; `samples` (time,) is what it had decoded until then."""


@dataclass(frozen=True)
class AudioRules:
    """What comes out: samples per second, and the durations that are kept, in seconds."""

    sample_rate: int = 16000
    min_s: float = 0.0
    max_s: float = 20.0


def num_frames(samples: int, kernels: Sequence[int] = CONV_KERNELS, strides: Sequence[int] = CONV_STRIDES) -> int:
    """Frames that the convolutional encoder makes of `samples`."""
    return int(conv_lengths.after_each(samples, kernels, strides)[-1])


def decode(
    source: Union[Path, IO[bytes]],
    rules: AudioRules,
    start_s: Optional[float] = None,
    end_s: Optional[float] = None,
    remark: Remark = _unheard,
    *,
    channel: Optional[int] = None,
) -> np.ndarray:
    """A file, or the stretch from start_s to end_s of it -> (time,) int16 at `rules.sample_rate`.

    channel: the one to take, counted from 0; None is the mean of all.
    remark: is called with one of REMARKS and a detail where the samples are not taken as they stand.
    Raises Rejected for what the content can not give, OSError for what the disk can not.
    """
    want = _Want(rules, start_s or 0.0, end_s, remark, channel)
    if not isinstance(source, (str, os.PathLike)):
        return _decode_stream(source, want)
    with open(source, "rb") as stream:
        return _decode_stream(stream, want)


def duration_s(path: Path) -> Optional[float]:
    """What the file's header says of its length, in seconds; None where it says nothing sensible."""
    found = header(path)
    return found.length_s if found is not None else None


class Header(NamedTuple):
    """What a file says of itself. length_s: None where that is nothing sensible."""

    frames: int
    length_s: Optional[float]
    channels: int


def header(path: Union[Path, str]) -> Optional[Header]:
    """Of a regular file that libsndfile can open; None of any other."""
    import soundfile

    try:
        with files.open_regular(Path(path), fix="") as stream, soundfile.SoundFile(
            stream.fileno(), closefd=False
        ) as sound:
            length_s = sound.frames / sound.samplerate if 0 <= sound.frames < 1 << 40 else None
            return Header(sound.frames, length_s, sound.channels)
    except (BadData, OSError, RuntimeError, TypeError, ValueError):
        return None


def length_s(content: bytes) -> Optional[float]:
    """`duration_s` of a file whose bytes these are."""
    found = shape(content)
    return found[0] if found is not None else None


def shape(content: bytes) -> Optional[Tuple[float, int]]:
    """(seconds, channels) of a file whose bytes these are, by its header; None where that says nothing sensible."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            return (sound.frames / sound.samplerate, sound.channels) if 0 <= sound.frames < 1 << 40 else None
    except (OSError, RuntimeError, ValueError):
        return None


@dataclass(frozen=True)
class _Want:
    """What `decode` was asked for. channel: to be taken alone; None is the mean of all."""

    rules: AudioRules
    start_s: float
    end_s: Optional[float]
    remark: Remark
    channel: Optional[int] = None


def _decode_stream(stream: IO[bytes], want: _Want) -> np.ndarray:
    import soundfile

    if want.end_s is None:
        _refuse_cut(containers.missing_s(stream))
        if containers.ogg_is_cut(stream):
            raise Rejected("truncated", "its last Ogg page is cut")
    try:
        return _decode_blocks(stream, want, _BLOCK_VALUES)
    except _NotDecodable as first:
        # The block that failed may begin with good samples: once more, in small ones.
        try:
            return _decode_blocks(stream, want, _SMALL_BLOCK, salvage=True)
        except (_NotDecodable, soundfile.SoundFileError):
            raise Rejected("unreadable", str(first)) from None


def _refuse_cut(missing_s: float) -> None:
    """missing_s: seconds that the file promises and does not hold."""
    if missing_s > TOLERANCE_S:
        raise Rejected("truncated", f"{missing_s:.2f} s are missing at the end")


def open_sound(stream: IO[bytes]) -> Any:
    """A soundfile.SoundFile over an open file, whose descriptor it does not close. Raises Rejected."""
    import soundfile

    stream.seek(0)
    handle: Any = stream
    if isinstance(stream, io.BufferedReader):
        # By descriptor, libsndfile reads by itself, without a call into Python for each block.
        handle = stream.fileno()
        os.lseek(handle, 0, os.SEEK_SET)
    try:
        return soundfile.SoundFile(handle, closefd=False)
    except (RuntimeError, TypeError, ValueError) as error:
        is_pointer = isinstance(handle, int) and files.is_lfs_pointer(os.pread(handle, 64, 0))
        raise Rejected("unreadable", "a git-lfs pointer" if is_pointer else plain_words(error)) from None


def _decode_blocks(stream: IO[bytes], want: _Want, block: int, salvage: bool = False) -> np.ndarray:
    with open_sound(stream) as sound:
        rate, channels = sound.samplerate, sound.channels
        if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
            raise Rejected("bad-rate", f"{rate} Hz")
        if want.channel is not None and want.channel >= channels:
            has = "1 channel" if channels == 1 else f"{channels} channels"
            raise Rejected("no-channel", f"channel {want.channel} of a file with {has}, counted from 0")
        promised, sound_format = sound.frames, sound.format
        first, wanted = _span(want, rate, promised)
        sink = _Sink(sound, want)
        taken, error = _pump(sound, sink, first, wanted, max(1, block // channels))
    if error is not None:
        missing_s = (min(promised - first, wanted) - taken) / rate
        if not salvage or missing_s > TOLERANCE_S or not taken:
            raise _NotDecodable(error)
    if not taken:
        raise Rejected("empty", "no samples")
    is_whole = want.start_s == 0.0 and want.end_s is None
    if is_whole and taken < wanted and sound_format == "MP3" and containers.mp3_counts_frames(stream):
        _refuse_cut((promised - taken) / rate)
    if want.end_s is not None and taken < wanted - TOLERANCE_S * rate:
        raise Rejected("outside", f"the file ends at {(first + taken) / rate:.2f} s")
    instead = sink.levels.instead() if want.channel is None else None
    if instead is not None:
        want.remark("one-channel", f"channel {instead + 1} of {channels}")
        return _decode_blocks(stream, replace(want, channel=instead), block, salvage)
    pcm = sink.finish()
    _check_duration(len(pcm), taken >= wanted and want.end_s is None, want.rules)
    return _audible(pcm, sink.levels)


def _span(want: _Want, rate: int, promised: int) -> Tuple[int, int]:
    """(first frame, frames wanted) of the source; without an end, one more than the longest duration has."""
    rules = want.rules
    first = round(want.start_s * rate)
    if first and first >= promised:
        raise Rejected("outside", f"the file ends at {promised / rate:.2f} s")
    if want.end_s is None:
        return first, int(rules.max_s * rate) + max(1, rate // rules.sample_rate + 1)
    if want.end_s - want.start_s > rules.max_s + 1.0 / rules.sample_rate:
        raise Rejected("too-long", f"{want.end_s - want.start_s:.2f} s")
    return first, max(0, round(want.end_s * rate) - first)


def _pump(sound: Any, sink: "_Sink", first: int, wanted: int, block: int) -> Tuple[int, Optional[str]]:
    """Read from frame `first` on; (frames taken, what libsndfile said if it gave up)."""
    taken = 0
    try:
        for frames in Reader(sound, sink.dtype, block).blocks(first, wanted):
            taken += len(frames)
            sink.add(frames)
    except (RuntimeError, ValueError) as error:
        return taken, plain_words(error)
    return taken, None


def _audible(pcm: np.ndarray, heard: levels.Levels) -> np.ndarray:
    """The same, (time,) int16. Raises Rejected where it can not be speech."""
    if heard.is_flat:
        raise Rejected("silent", "every sample is the same")
    if levels.is_silent(pcm):
        raise Rejected("silent", f"all samples lie between {pcm.min()} and {pcm.max()} of 32767")
    if levels.is_clipped(pcm):
        raise Rejected("clipped")
    return pcm


def _check_duration(samples: int, cut: bool, rules: AudioRules) -> None:
    seconds = samples / rules.sample_rate
    if cut or samples > round(rules.max_s * rules.sample_rate):
        raise Rejected("too-long", f"more than {rules.max_s:g} s")
    if seconds < rules.min_s:
        raise Rejected("too-short", f"{seconds:.3f} s")


class _Sink:
    """Collects decoded blocks: channels averaged, resampled where the rate differs, rounded to int16 at the end."""

    def __init__(self, sound: Any, want: _Want) -> None:
        rate, target_rate = sound.samplerate, want.rules.sample_rate
        self._direct = sound.channels == 1 and sound.subtype == "PCM_16" and rate == target_rate
        self.dtype = "int16" if self._direct else "float32"
        channels = sound.channels if want.channel is None else 1
        self.levels = levels.Levels(channels, unbounded=sound.subtype in _FLOATS)
        self._want = want
        self._parts: List[np.ndarray] = []
        self._resampler: Any = None
        if rate != target_rate:
            import soxr

            self._resampler = soxr.ResampleStream(rate, target_rate, 1, dtype="float32", quality="HQ")

    def add(self, frames: np.ndarray) -> None:
        """frames: (time, channels) of `dtype`."""
        if self._direct:
            self._parts.append(frames[:, 0])
            self.levels.add(frames, frames[:, 0])
            return
        channel = self._want.channel
        if channel is not None:  # what is on the others is of no account
            frames = frames[:, channel : channel + 1]
        if not np.isfinite(frames).all():
            raise Rejected("not-finite")
        mono = frames.mean(axis=1, dtype=np.float32) if frames.shape[1] > 1 else frames[:, 0]
        self.levels.add(frames, mono)
        self._push(np.ascontiguousarray(mono), last=False)

    def finish(self) -> np.ndarray:
        """(time,) int16. Raises Rejected."""
        if self._resampler is not None:
            self._push(np.zeros(0, dtype=np.float32), last=True)
        samples = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
        if self._direct:
            return samples
        scale = self.levels.scale()
        if np.isinf(scale):
            raise Rejected("off-scale", f"up to {self.levels.peak:.3g}")
        if scale != 1.0:
            self._want.remark("scaled", f"divided by {scale:g}")
        return np.clip(np.rint(samples * (32768.0 / scale)), -32768, 32767).astype(np.int16)

    def _push(self, mono: np.ndarray, *, last: bool) -> None:
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono, last=last)
        self._parts.append(mono)


def plain_words(error: Exception) -> str:
    """libsndfile's words, without the file object's address in them."""
    text = str(error).rsplit(": ", 1)[-1].strip().rstrip(".")
    return text or type(error).__name__
