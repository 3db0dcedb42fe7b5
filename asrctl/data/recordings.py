"""Recordings of any length as blocks of int16 at one rate, in bounded memory.

The same arithmetic as `audio.decode`, which needs the whole of a recording: channels averaged, resampled by soxr,
rounded to 16 bits. What a whole recording decides (channels that cancel each other, floats beyond 1) is found out by a
first look at it.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from asrctl.data import audio, containers, levels, media
from asrctl.data.audio import RATES_HZ, TOLERANCE_S, Rejected
from asrctl.data.audio_segments import Reader
from asrctl.storage import files

_BLOCK = 2048
_HEAD = 64
_FLOATS = ("FLOAT", "DOUBLE")
FIX_RECORDING = "check the path"


class Recording:
    """A recording that is being read. length_s: by its header, None where that says nothing; is_promised: whether an
    end before that is one that was cut.

    remarks: what is odd about it, as sentences; complete once `blocks` is through.
    """

    def __init__(
        self,
        sample_rate: int,
        length_s: Optional[float],
        is_promised: bool,
        blocks: Iterator[np.ndarray],
        remarks: List[str],
    ) -> None:
        self.sample_rate, self.length_s, self.remarks = sample_rate, length_s, remarks
        self._is_promised, self._blocks = is_promised, blocks

    def blocks(self) -> Iterator[np.ndarray]:
        """(time,) int16 each. What can not be decoded ends the recording, with a remark; Rejected where it is all."""
        taken = 0
        try:
            for block in self._blocks:
                taken += len(block)
                yield block
        except Rejected as lost:
            if not taken:
                raise
            if self.length_s is None or self.length_s - taken / self.sample_rate > TOLERANCE_S:
                self.remarks.append(f"it can not be read to its end ({lost.detail or audio.REASONS[lost.reason]})")
        else:
            if self._is_promised and self.length_s is not None:
                _tell_missing(self.length_s - taken / self.sample_rate, self.remarks)
        if not taken:
            raise Rejected("empty", "no samples")


def _tell_missing(missing_s: float, remarks: List[str]) -> None:
    if missing_s > TOLERANCE_S:
        remarks.append(f"it ends {missing_s:.1f} s before the length that its header promises")


class _Source(NamedTuple):
    """An opened file, as its decoder gives it. blocks: (time, channels) float32 each."""

    rate: int
    channels: int
    is_float: bool
    is_mp3: bool
    length_s: Optional[float]
    blocks: Iterator[np.ndarray]


@contextmanager
def opened(path: Path, sample_rate: int) -> Iterator[Recording]:
    """Raises Rejected for what the content can not give, BadData where there is no such file, OSError, and
    MissingDependency for a container that nothing installed reads."""
    remarks: List[str] = []
    with files.open_regular(path, fix=FIX_RECORDING) as stream:
        if not os.fstat(stream.fileno()).st_size:
            raise Rejected("empty", "the file is empty")
        channel, scale = _looked_at(stream, path, remarks)
        _tell_missing(containers.missing_s(stream), remarks)
        if containers.ogg_is_cut(stream):
            remarks.append("it is cut: its last Ogg page is not whole")
        counts_frames = containers.mp3_counts_frames(stream)
        with _source(stream, path) as source:
            blocks = _converted(source, sample_rate, channel, scale)
            yield Recording(sample_rate, source.length_s, source.is_mp3 and counts_frames, blocks, remarks)


def length_s(path: Path) -> Optional[float]:
    """By its header alone; None where libsndfile does not know the format, or the header says nothing."""
    return audio.duration_s(path)


@contextmanager
def _source(stream: IO[bytes], path: Path) -> Iterator[_Source]:
    """By libsndfile, else by what reads other containers. Raises Rejected, MissingDependency."""
    head = os.pread(stream.fileno(), _HEAD, 0)
    sound, said = (None, "") if media.is_adts(head) and head[1] & 6 == 0 else _by_libsndfile(stream)
    if sound is not None:
        with sound:
            _check_rate(sound.samplerate)
            length = sound.frames / sound.samplerate if 0 <= sound.frames < 1 << 40 else None
            blocks = _told(Reader(sound, "float32", _BLOCK).blocks(0, 1 << 60))
            is_float, is_mp3 = sound.subtype in _FLOATS, sound.format == "MP3"
            yield _Source(sound.samplerate, sound.channels, is_float, is_mp3, length, blocks)
        return
    if not media.is_container(head) and not _reads_more():
        raise Rejected("unreadable", said)
    try:
        with media.opened(path) as found:
            _check_rate(found.rate)
            yield _Source(found.rate, found.channels, True, False, None, found.blocks)
    except Rejected as lost:
        raise Rejected(lost.reason, lost.detail or said) from None


def _reads_more() -> bool:
    """Whether there is a decoder beside libsndfile."""
    import importlib.util

    return shutil.which("ffmpeg") is not None or importlib.util.find_spec("av") is not None


def _by_libsndfile(stream: IO[bytes]) -> Tuple[Any, str]:
    """(an open soundfile.SoundFile, ""), or (None, what libsndfile says)."""
    try:
        return audio.open_sound(stream), ""
    except Rejected as lost:
        return None, lost.detail


def _check_rate(rate: int) -> None:
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise Rejected("bad-rate", f"{rate} Hz")


def _told(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same; what libsndfile says where it gives up is a Rejected."""
    try:
        yield from blocks
    except (RuntimeError, ValueError) as error:
        raise Rejected("unreadable", audio.plain_words(error)) from None


def _looked_at(stream: IO[bytes], path: Path, remarks: List[str]) -> Tuple[Optional[int], float]:
    """(the channel to take, None for their mean; what to divide samples by). Raises Rejected.

    One channel of whole numbers has nothing to find out.
    """
    with _source(stream, path) as source:
        if source.channels == 1 and not source.is_float:
            return None, 1.0
        heard = levels.Levels(source.channels, unbounded=source.is_float)
        try:
            for frames in source.blocks:
                _refuse_not_finite(frames)
                heard.add(frames, frames.mean(axis=1, dtype=np.float32))
        except Rejected as lost:
            if lost.reason != "unreadable":
                raise
    channel, scale = heard.instead(), heard.scale()
    if np.isinf(scale):
        raise Rejected("off-scale", f"up to {heard.peak:.3g}")
    found: Dict[str, bool] = {"one-channel": channel is not None, "scaled": scale != 1.0}
    remarks.extend(audio.REMARKS[name] for name, is_so in found.items() if is_so)
    return channel, scale


def _refuse_not_finite(frames: np.ndarray) -> None:
    if not np.isfinite(frames).all():
        raise Rejected("not-finite", audio.REASONS["not-finite"])


def _converted(source: _Source, rate: int, channel: Optional[int], scale: float) -> Iterator[np.ndarray]:
    """(time,) int16 at `rate`."""
    import soxr

    resampler = None if source.rate == rate else soxr.ResampleStream(source.rate, rate, 1, "float32", "HQ")
    factor = np.float32(32768.0 / scale)
    for frames in source.blocks:
        _refuse_not_finite(frames)
        mono = frames[:, channel or 0] if channel is not None or frames.shape[1] == 1 else None
        mono = frames.mean(axis=1, dtype=np.float32) if mono is None else mono
        if resampler is not None:
            mono = resampler.resample_chunk(np.ascontiguousarray(mono), last=False)
        yield _rounded(mono, factor)
    if resampler is not None:
        yield _rounded(resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True), factor)


def _rounded(samples: np.ndarray, factor: np.float32) -> np.ndarray:
    return np.clip(np.rint(samples * factor), -32768, 32767).astype(np.int16)
