"""Speak text with eSpeak NG, the small formant synthesiser carried by the `espeakng-loader` package.

No system package is needed: the loader brings the shared library and its voice data for Linux and macOS.
The library keeps all its state in C globals (random numbers, pitch flutter, echo), and that state survives
`espeak_Terminate`.  So every request loads the library afresh and unloads it again (about 3 ms): the same request
then gives the same samples, whatever was spoken before it and in which process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, List

from asrctl.errors import MissingDependency
from asrctl.messages import reasons
from asrctl.messages.command_lines import pip_install

if TYPE_CHECKING:
    import numpy

# Values of espeak-ng's public header, espeak-ng/speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_POS_CHARACTER = 1
_CHARS_UTF8 = 1
# The library copies the data path into a buffer of 160 bytes and appends file names to it.
_LONGEST_DATA_PATH_BYTES = 120

_SampleCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_library_in_use = threading.Lock()


@dataclass(frozen=True)
class Voice:
    """How to speak: an eSpeak language voice, optionally with a speaker variant, and three sliders.

    `name` is `LANGUAGE` or `LANGUAGE+VARIANT`, such as `en-us` or `en-gb-scotland+f2`.
    `pitch` and `pitch_range` run from 0 to 99, 50 is the voice's own.
    """

    name: str
    rate_wpm: int = 175
    pitch: int = 50
    pitch_range: int = 50


@dataclass(frozen=True)
class Speech:
    """Mono samples: `pcm` (time,) int16 at `sample_rate_hz`."""

    pcm: numpy.ndarray
    sample_rate_hz: int


def synthesize(text: str, voice: Voice) -> Speech:
    """Speak `text` (plain text, not SSML).

    Raises MissingDependency without the package, or where its library does not load on this machine, and ValueError
    for a voice that the installed data does not have.
    """
    import numpy

    with _library_in_use, _fresh_library() as library:
        chunks: List[bytes] = []

        @_SampleCallback
        def collect(samples, count, events):
            if samples and count > 0:
                chunks.append(ctypes.string_at(samples, count * ctypes.sizeof(ctypes.c_short)))
            return 0

        with _short_data_path() as data_path:
            sample_rate_hz = library.espeak_Initialize(
                _AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(data_path), _INITIALIZE_DONT_EXIT
            )
            if sample_rate_hz <= 0:
                raise _unusable("eSpeak NG does not start with its voice data")
            try:
                library.espeak_SetSynthCallback(collect)
                _choose_voice(library, voice)
                encoded = text.encode("utf-8")
                library.espeak_Synth(encoded, len(encoded) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
                library.espeak_Synchronize()
            finally:
                library.espeak_Terminate()
    return Speech(numpy.frombuffer(b"".join(chunks), dtype=numpy.int16), sample_rate_hz)


def _choose_voice(library: ctypes.CDLL, voice: Voice) -> None:
    # Initializing seeds the library's random numbers from the clock.
    library.espeak_ng_SetRandSeed(1)
    _language, _, variant = voice.name.partition("+")
    # An unknown variant is ignored without a word by the library, so look for its file.
    variant_exists = not variant or (_data_folder() / "voices" / "!v" / variant).is_file()
    if not variant_exists or library.espeak_SetVoiceByName(voice.name.encode("utf-8")) != 0:
        raise ValueError(f"eSpeak NG has no voice {voice.name!r}")
    library.espeak_SetParameter(_PARAMETER_RATE, voice.rate_wpm, 0)
    library.espeak_SetParameter(_PARAMETER_PITCH, voice.pitch, 0)
    library.espeak_SetParameter(_PARAMETER_RANGE, voice.pitch_range, 0)


@contextlib.contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """The shared library with its C globals as they are at start."""
    import _ctypes

    carrier = loader()
    try:
        library = ctypes.CDLL(carrier.get_library_path())
    except OSError as error:
        raise _unusable(f"eSpeak NG's library does not load ({reasons.reason(error)})") from error
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
        ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    try:
        yield library
    finally:
        _ctypes.dlclose(library._handle)


@contextlib.contextmanager
def _short_data_path() -> Iterator[str]:
    """The voice data's folder under a name that fits the library's fixed buffer."""
    data_path = str(_data_folder())
    if len(os.fsencode(data_path)) <= _LONGEST_DATA_PATH_BYTES:
        yield data_path
        return
    with tempfile.TemporaryDirectory(prefix="espeak-") as folder:
        link = Path(folder, "espeak-ng-data")
        link.symlink_to(data_path)
        yield str(link)


def _data_folder() -> Path:
    try:
        return Path(loader().get_data_path())
    except RuntimeError as error:
        raise _unusable("espeakng-loader carries no voice data") from error


def loader():
    """The package that carries the library. Raises MissingDependency."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingDependency(
            "the demo's voices need the package espeakng-loader", fix=pip_install("asrctl[demo]")
        ) from error
    return espeakng_loader


def _unusable(problem: str) -> MissingDependency:
    return MissingDependency(problem, fix=f"{pip_install('espeakng-loader')} --force-reinstall")
