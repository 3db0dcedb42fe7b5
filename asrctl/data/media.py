"""Sound of containers that libsndfile does not know (MP4, WebM, AAC ...): by ffmpeg on the PATH, or by PyAV.

Files are strangers' work, and a playlist is a file too: only formats that hold their sound themselves are read, and
nothing but the file itself.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Iterator, List, Optional, Tuple

import numpy as np

from asrctl.data.audio import Rejected
from asrctl.errors import MissingDependency
from asrctl.messages.command_lines import pip_install

# Demuxers of FFmpeg (libavformat) that never lead to other files.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "aac", "ac3", "eac3", "adts", "mp3", "ogg", "flv", "avi", "asf", "amr",
    "amrnb", "amrwb", "mpeg", "mpegts", "wav", "w64", "flac", "caf", "aiff", "au", "ape", "wv", "tta", "tak", "loas",
    "latm", "dts", "mxf", "gsm", "rm", "g722", "oma", "mpc", "mpc8", "shn", "nut",
)  # fmt: skip
_LIMITS = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "file,pipe"}
_NO_SOUND = "it has no sound, only pictures or text"
_AU_HEADER, _BLOCK_BYTES = 24, 1 << 16
_TOLD = 2000
# A sound track that begins later than its file is preceded by silence, up to so many seconds.
_LATEST_START_S = 4 * 3600.0
INSTALL = "install ffmpeg, or "
# What such files begin with, at which place.
_MARKS = (
    (4, b"ftyp"),
    (0, b"\x1aE\xdf\xa3"),
    (0, b"FLV\x01"),
    (8, b"AVI "),
    (0, b"0&\xb2u\x8ef\xcf\x11"),
    (0, b"#!AMR"),
)


class Sound:
    """What a decoder gives. rate: in Hz; blocks: (time, channels) float32 each."""

    def __init__(self, rate: int, channels: int, blocks: Iterator[np.ndarray]) -> None:
        self.rate, self.channels, self.blocks = rate, channels, blocks


def is_container(head: bytes) -> bool:
    """Whether a file that begins so is one of those that are read here. head: at least 12 bytes of it."""
    return any(head[place : place + len(mark)] == mark for place, mark in _MARKS) or is_adts(head)


def is_adts(head: bytes) -> bool:
    """Whether a file is AAC without a container: a frame begins with twelve ones and layer 0 (ISO 13818-7)."""
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0


@contextmanager
def opened(path: Path) -> Iterator[Sound]:
    """The first sound track of a file. Raises Rejected, and MissingDependency where neither decoder is there."""
    program = shutil.which("ffmpeg")
    if program is not None:
        with _by_ffmpeg(program, path) as sound:
            yield sound
        return
    try:
        import av
    except ImportError:
        raise MissingDependency(
            f"{path.name} is a kind of file that libsndfile does not read, and neither ffmpeg nor PyAV is installed",
            fix=INSTALL + pip_install("asrctl[media]"),
        ) from None
    with _by_pyav(av, path) as sound:
        yield sound


# -- the program ffmpeg -----------------------------------------------------------------------------------------------


@contextmanager
def _by_ffmpeg(program: str, path: Path) -> Iterator[Sound]:
    limits = [word for name, value in _LIMITS.items() for word in (f"-{name}", value)]
    # The filter fills what is silent before and between packets, so that times are those of the file.
    filled = ("-af", "aresample=async=1:min_hard_comp=0.1:first_pts=0")
    words = [program, "-nostdin", "-v", "error", *limits, "-i", f"file:{path.absolute()}", "-map", "0:a:0", *filled]
    words += ["-c:a", "pcm_f32be", "-f", "au", "-"]
    with tempfile.TemporaryFile() as told:
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=told) as process:
            try:
                rate, channels = _au_header(process, told)
                yield Sound(rate, channels, _au_blocks(process, told, channels))
            finally:
                process.kill()


def _au_header(process: Any, told: IO[bytes]) -> Tuple[int, int]:
    """(rate, channels), once ffmpeg has found sound. Raises Rejected."""
    header = process.stdout.read(_AU_HEADER)
    if len(header) < _AU_HEADER:
        process.wait()
        raise _refused(_said(told))
    place, _, _, rate, channels = (int.from_bytes(header[at : at + 4], "big") for at in range(4, _AU_HEADER, 4))
    process.stdout.read(place - _AU_HEADER)
    return rate, channels


def _au_blocks(process: Any, told: IO[bytes], channels: int) -> Iterator[np.ndarray]:
    """Raises Rejected at the end where ffmpeg gave up before it."""
    size, rest = 4 * channels, b""
    while True:
        data = process.stdout.read(_BLOCK_BYTES)
        if not data:
            break
        data, rest = rest + data, b""
        whole = len(data) // size * size
        data, rest = data[:whole], data[whole:]
        yield np.frombuffer(data, dtype=">f4").astype(np.float32).reshape(-1, channels)
    if process.wait():
        raise Rejected("unreadable", _last_line(_said(told)))


def _said(told: IO[bytes]) -> str:
    """The end of what ffmpeg has said."""
    told.seek(0, 2)
    told.seek(max(0, told.tell() - _TOLD))
    return told.read().decode("utf-8", "replace").strip()


def _last_line(said: str) -> str:
    lines = said.splitlines()
    return lines[-1].rpartition(": ")[2] if lines else "ffmpeg gave nothing"


def _refused(said: str) -> Rejected:
    if "matches no streams" in said or "does not contain any stream" in said:
        return Rejected("empty", _NO_SOUND)
    return Rejected("unreadable", _last_line(said))


# -- PyAV -------------------------------------------------------------------------------------------------------------


@contextmanager
def _by_pyav(av: Any, path: Path) -> Iterator[Sound]:
    with open(path, "rb") as stream:
        try:
            container = av.open(stream, options=dict(_LIMITS))
        except (av.FFmpegError, ValueError) as error:
            raise Rejected("unreadable", _pyav_words(error)) from None
        with container:
            if not container.streams.audio:
                raise Rejected("empty", _NO_SOUND)
            frames = _pyav_frames(av, container)
            first = next(frames, None)
            if first is None:
                raise Rejected("empty", "no samples")
            track = container.streams.audio[0]
            blocks = _pyav_blocks(av, first, frames, _silence_s(first, container, track))
            yield Sound(first.sample_rate, first.layout.nb_channels, blocks)


def _pyav_frames(av: Any, container: Any) -> Iterator[Any]:
    """Raises Rejected where the decoder gives up; single packets that are damaged are passed over, as ffmpeg does."""
    try:
        for packet in container.demux(container.streams.audio[0]):
            try:
                yield from packet.decode()
            except av.InvalidDataError:
                continue
    except (av.FFmpegError, ValueError) as error:
        raise Rejected("unreadable", _pyav_words(error)) from None


def _silence_s(first: Any, container: Any, track: Any) -> float:
    """Seconds of the file before its sound begins."""
    if first.time is None:
        return 0.0
    began_s = (container.start_time or 0) / 1_000_000
    return min(max(0.0, first.time - min(began_s, first.time)), _LATEST_START_S)


def _pyav_blocks(av: Any, first: Any, frames: Iterator[Any], silence_s: float) -> Iterator[np.ndarray]:
    channels, rate = first.layout.nb_channels, first.sample_rate
    left = round(silence_s * rate)
    while left > 0:
        yield np.zeros((min(left, _BLOCK_BYTES), channels), dtype=np.float32)
        left -= _BLOCK_BYTES
    packed = av.AudioResampler(format="flt", layout=first.layout.name, rate=rate)
    frame: Optional[Any] = first
    while frame is not None:
        frame.pts = None  # what is missing between packets stays missing
        for made in _repacked(av, packed, frame):
            yield made.reshape(-1, channels)
        frame = next(frames, None)
    for made in _repacked(av, packed, None):
        yield made.reshape(-1, channels)


def _repacked(av: Any, packed: Any, frame: Optional[Any]) -> List[np.ndarray]:
    try:
        return [made.to_ndarray() for made in packed.resample(frame)]
    except (av.FFmpegError, ValueError) as error:
        raise Rejected("unreadable", _pyav_words(error)) from None


def _pyav_words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip().rstrip(".") or type(error).__name__
