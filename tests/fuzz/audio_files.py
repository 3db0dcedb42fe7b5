"""Small valid audio files of every container and encoding that libsndfile writes and reads back."""

from __future__ import annotations

import io
from typing import Dict, List, Tuple

import numpy as np
import soundfile

_RATE = 16000
# Written in this process and for nothing else: RAW has no header, SD2 wants two files.
_SKIPPED = ("RAW", "SD2")
# Parser -> containers; the rest is `audio-other`.
MAIN = {
    "audio-wav": ("WAV", "WAVEX"),
    "audio-flac": ("FLAC",),
    "audio-ogg": ("OGG",),
    "audio-mp3": ("MP3",),
    "audio-aiff": ("AIFF",),
    "audio-au": ("AU",),
    "audio-caf": ("CAF",),
    "audio-w64": ("W64", "RF64"),
    "audio-sphere": ("NIST", "VOC"),
}


def seeds() -> Dict[str, List[Tuple[str, bytes]]]:
    """{parser: [(file name, bytes)]}: each encoding once, in mono or stereo, an eighth of a second long."""
    homes = {container: parser for parser, containers in MAIN.items() for container in containers}
    found: Dict[str, List[Tuple[str, bytes]]] = {}
    for container in soundfile.available_formats():
        if container in _SKIPPED:
            continue
        for number, subtype in enumerate(soundfile.available_subtypes(container)):
            for data in _written(container, subtype, channels=1 + number % 2):
                found.setdefault(homes.get(container, "audio-other"), []).append(("a.bin", data))
    found["audio-wav"].append(("a.bin", _with_chunks(found["audio-wav"][0][1])))
    return found


def _written(container: str, subtype: str, channels: int) -> List[bytes]:
    """The file, in the first shape that the encoding takes; nothing where this libsndfile can not write it."""
    for rate, width in ((_RATE, channels), (_RATE, 1), (8000, 1), (22050, 1), (44100, 1)):
        samples = 0.3 * np.sin(np.arange(rate // 8) / 9.0)[:, None] * np.ones((1, width))
        stream = io.BytesIO()
        try:
            soundfile.write(stream, samples, rate, format=container, subtype=subtype)
            soundfile.read(io.BytesIO(stream.getvalue()))
        except (RuntimeError, ValueError, TypeError):
            continue
        return [stream.getvalue()]
    return []


def _with_chunks(wav: bytes) -> bytes:
    """The same sound with chunks between header and samples, as recorders write them."""
    extra = b"LIST" + (26).to_bytes(4, "little") + b"INFOINAM" + (14).to_bytes(4, "little") + b"a recording\0\0\0"
    extra += b"cue " + (28).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"\1\0\0\0" * 6
    body = wav[12:36] + extra + wav[36:]
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WAVE" + body
