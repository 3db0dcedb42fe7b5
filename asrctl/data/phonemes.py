"""Texts as phonemes: what `text.phonemes` makes of them, through phonemizer where it is installed, else eSpeak NG.

As wav2vec2phoneme does it (Xu et al. 2021, and Wav2Vec2PhonemeCTCTokenizer of transformers): IPA of eSpeak NG, without
stress marks, punctuation and the marks of a change of language. A phoneme is one label, however many characters write
it (aɪ, tʃ, ɜː). In a text one space stands between phonemes and two between words, so that its words, as error
rates count them, are phonemes; the two are the vocabulary's word delimiter.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import re
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from asrctl.data import speech_synthesis
from asrctl.errors import MissingDependency, UsageError
from asrctl.messages import reasons, suggestions
from asrctl.messages.command_lines import pip_install

# Those that phonemizer takes away, and that are pauses to eSpeak NG.
_PUNCTUATION = re.compile(r"[;:,.!?¡¿—…\"«»“”(){}\[\]]+")
_STRESS = re.compile(r"[ˈˌ'-]+")
# Of a word that eSpeak NG speaks in another language: (en) before it, (de) after it.
_SWITCH = re.compile(r"\([^()]*\)")
_WORD, _PHONE = "  ", " "
# Values of espeak-ng/speak_lib.h: output is retrieved, phonemes are IPA with `_` between them.
_RETRIEVAL, _DONT_EXIT, _UTF8 = 1, 0x8000, 1
_IPA = 0x02 | ord("_") << 8


def units(text: str) -> List[str]:
    """A text of phonemes -> its labels in their order: phonemes, and a space for the border of two words."""
    found: List[str] = []
    for word in text.split(_WORD):
        found += ([_PHONE] if found else []) + word.split()
    return found


def joined(pieces: Sequence[str]) -> str:
    """The way back, for pieces that came out of a model: borders at the ends and next to each other are one or none."""
    words: List[List[str]] = [[]]
    for piece in pieces:
        if piece != _PHONE:
            words[-1].append(piece)
        elif words[-1]:
            words.append([])
    return _WORD.join(_PHONE.join(word) for word in words if word)


def spoken(text: str, language: str) -> str:
    """A text by the other rules -> its phonemes. language: a voice of eSpeak NG, such as en-us.

    Raises MissingDependency where neither library is there, and UsageError for a language that there is not.
    """
    with _lock:
        speaker = _speaker(language)
        words = [word for part in _PUNCTUATION.split(text) for word in speaker(part.strip()) if part.strip()]
    return _WORD.join(_PHONE.join(word) for word in words if word)


def version(language: str) -> str:
    """What makes the phonemes, for the key of data that is made of them. Raises as `spoken`."""
    with _lock:
        return _speaker(language).version


_lock = threading.Lock()
_speakers: Dict[str, Any] = {}


def _speaker(language: str) -> Any:
    if language not in _speakers:
        try:
            import phonemizer  # noqa: F401
        except ImportError:
            _speakers[language] = _Espeak(language)
        else:
            _speakers[language] = _Phonemizer(language)
    return _speakers[language]


def _words(line: str) -> List[List[str]]:
    """What eSpeak NG says of a text, without stress -> the phonemes of each word."""
    plain = _STRESS.sub("", _SWITCH.sub("", line))
    return [[phone for phone in word.split("_") if phone] for word in plain.split()]


class _Phonemizer:
    """The package phonemizer, with the library of espeakng-loader where there is no other."""

    def __init__(self, language: str) -> None:
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper

        quiet = logging.getLogger("asrctl.phonemizer")
        quiet.disabled = True
        if not EspeakBackend.is_available():
            loader = _loader()
            EspeakWrapper.set_library(loader.get_library_path())
            if hasattr(EspeakWrapper, "set_data_path"):
                EspeakWrapper.set_data_path(loader.get_data_path())
        try:
            self._backend = EspeakBackend(language, language_switch="remove-flags", logger=quiet)
        except RuntimeError:
            raise _no_voice(language, list(EspeakBackend.supported_languages())) from None
        self.version = f"espeak {'.'.join(map(str, EspeakBackend.version()))}"

    def __call__(self, text: str) -> List[List[str]]:
        from phonemizer.separator import Separator

        if not text:
            return []
        (line,) = self._backend.phonemize([text], separator=Separator(phone="_", word=" "), strip=True)
        return _words(line)


class _Voice(ctypes.Structure):
    """The beginning of espeak_VOICE. languages: a byte of priority, then a language."""

    _fields_ = [("name", ctypes.c_char_p), ("languages", ctypes.c_char_p), ("identifier", ctypes.c_char_p)]


class _Espeak:
    """eSpeak NG's own function. The library keeps its state in globals: this copy of it is nobody else's."""

    def __init__(self, language: str) -> None:
        folder = Path(tempfile.mkdtemp(prefix="espeak-"))
        self._end = weakref.finalize(self, shutil.rmtree, str(folder), ignore_errors=True)
        self._library = _loaded(folder)
        voices = dict(_voices(self._library))
        name = voices.get(language)
        if name is None or self._library.espeak_SetVoiceByName(name) != 0:
            raise _no_voice(language, list(voices))
        said = self._library.espeak_Info(None) or b""
        self.version = f"espeak {said.decode('ascii', 'replace').split(' ')[0]}"

    def __call__(self, text: str) -> List[List[str]]:
        rest = ctypes.c_char_p(text.encode("utf-8", "replace"))
        lines = []
        while rest.value:  # a clause at a time
            lines.append((self._library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA) or b"").decode("utf-8"))
        return _words(" ".join(lines))


def _loaded(folder: Path) -> ctypes.CDLL:
    """A copy of the library in a folder that is to stay, ready to be given a voice. Raises MissingDependency."""
    carrier, again = _loader(), f"{pip_install('espeakng-loader')} --force-reinstall"
    copy, data = folder / "library", folder / "espeak-ng-data"  # the library's buffer for the path of its data is short
    try:
        shutil.copyfile(carrier.get_library_path(), copy)
        data.symlink_to(carrier.get_data_path())
        library = ctypes.CDLL(str(copy))
    except (OSError, RuntimeError) as error:
        raise MissingDependency(f"eSpeak NG's library does not load ({reasons.reason(error)})", fix=again) from error
    library.espeak_TextToPhonemes.restype = library.espeak_Info.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    if library.espeak_Initialize(_RETRIEVAL, 0, os.fsencode(str(data)), _DONT_EXIT) <= 0:
        raise MissingDependency("eSpeak NG does not start with its voice data", fix=again)
    return library


def _voices(library: ctypes.CDLL) -> Iterator[Tuple[str, bytes]]:
    """(language, what the library calls its voice)."""
    listed = library.espeak_ListVoices(None)
    for number in itertools.count():
        if not listed[number]:
            return
        voice = listed[number].contents
        yield voice.languages[1:].decode("utf-8", "replace"), voice.identifier


def _no_voice(language: str, known: Sequence[str]) -> UsageError:
    usual = [name for name in ("en-us", "en-gb", "de", "es", "it", "cmn", "hi") if name in known]
    meant = suggestions.question(language, known)
    return UsageError(
        f"eSpeak NG speaks no language {language!r}" + (f"; {meant}" if meant else ""),
        fix=f"name one of its {len(known)} languages, such as {', '.join(usual or known[:8])}",
    )


def _loader() -> Any:
    try:
        return speech_synthesis.loader()
    except MissingDependency:
        raise MissingDependency(
            "phoneme targets need the package phonemizer (Python 3.8 or newer) or espeakng-loader",
            fix=pip_install("asrctl[phonemes]"),
        ) from None
