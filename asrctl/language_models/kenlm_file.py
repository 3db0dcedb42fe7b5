"""KenLM's binary files, of all its kinds: the header and the words are read here, KenLM's own library does the rest."""

from __future__ import annotations

import importlib.util
import json
import mmap
import select
import struct
import subprocess
import sys
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from asrctl.errors import BadData, MissingDependency
from asrctl.language_models.ngram import LN_10
from asrctl.language_models.vocabulary import SPECIAL, UNK, UNK_ID
from asrctl.messages.command_lines import pip_install
from asrctl.storage import files

# How they begin (KenLM, lm/binary_format.cc).
MAGIC = b"mmap lm http://kheafield.com/code"
_VERSION = b" format version 5\n\0"
# struct Sanity: the magic filled up to 8 bytes, three floats, two word numbers and their padding, a 64-bit number.
_SANITY = struct.Struct("<56sfffIIIQ")
_TEST_VALUES = (0.0, 1.0, -0.5, 1, 0xFFFFFFFF, 0, 1)
# struct FixedWidthParameters: order, probing multiplier, kind, whether the words are there, version of the search.
_FIXED = struct.Struct("<B3xfI?3xI")
_KINDS = ("probing", "rest probing", "trie", "quantized trie", "array trie", "quantized array trie")
_MOST_ORDERS = 16
# KenLM stands for what a model without <unk> gives to a word that it does not have by this; arpa.py by -10.
_NO_UNKNOWN, _UNKNOWN = -99.0, -10.0
# A reply takes microseconds a word, and seconds where a disk is slow; a damaged table can be searched for ever.
_MOST_WAIT_S = 120
_FIX = "make it again with KenLM's build_binary, or give the ARPA file it was made from"


@dataclass(frozen=True)
class _Header:
    """order: of the model. words: how many it has. kind: of _KINDS. has_words: whether these stand in the file."""

    order: int
    words: int
    kind: str
    has_words: bool


def is_binary(path: Path) -> bool:
    """Whether a file begins as one. Raises BadData where there is no regular file."""
    with files.open_regular(path, fix=_FIX) as stream:
        return stream.read(len(MAGIC)) == MAGIC


def check(path: Path) -> None:
    """Raises MissingDependency without KenLM's library, and BadData where the header says that it can not be read."""
    with files.open_regular(path, fix=_FIX) as stream:
        header = _header(path, stream)
    if not header.has_words:
        raise BadData(f"{path} was made without its words (build_binary -v)", fix="make it again without -v")
    if importlib.util.find_spec("kenlm") is None:
        raise MissingDependency(
            f"{path} is a binary file of KenLM, whose library is not installed", fix=pip_install("asrctl[kenlm]")
        )


class KenlmModel:
    """What a search asks of an n-gram model, as ngram.NgramModel answers it. Raises BadData, MissingDependency."""

    def __init__(self, path: Path) -> None:
        check(path)
        self._path = path
        with files.open_regular(path, fix=_FIX) as stream:
            texts = _words(path, stream, _header(path, stream))
        self.words: List[str] = [*SPECIAL, *(word for word in texts if word not in SPECIAL)]
        self.ids: Dict[str, int] = {word: number for number, word in enumerate(self.words)}
        self._process = _started(path)
        weakref.finalize(self, _ended, self._process)
        first = self._answer()
        if not isinstance(first, list):
            raise self._damaged()
        self.order, self.begin = first

    def id(self, word: str) -> int:
        return self.ids.get(word, UNK_ID)

    def score(self, states: np.ndarray, words: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """(pairs,) states and word numbers -> natural logarithms of the probabilities, float64, and the next states."""
        asked = [(state, self.words[word]) for state, word in zip(states.tolist(), words.tolist())]
        if not asked:
            return np.zeros(0), np.zeros(0, dtype=np.int64)
        try:
            self._stdin.write(json.dumps(asked) + "\n")
            self._stdin.flush()
        except OSError:
            raise self._damaged() from None
        logs, reached = zip(*self._answer())
        found = np.array(logs, dtype=np.float64)
        unknown = (words == UNK_ID) & (found <= _NO_UNKNOWN)
        if not np.isfinite(found).all():
            raise self._damaged()
        return np.where(unknown, found + 100.0 + _UNKNOWN, found) * LN_10, np.array(reached, dtype=np.int64)

    @property
    def _stdin(self) -> IO[str]:
        if self._process.stdin is None:
            raise self._damaged()
        return self._process.stdin

    def _answer(self) -> Any:
        stream = self._process.stdout
        ready = stream is not None and select.select([stream], [], [], _MOST_WAIT_S)[0]
        line = stream.readline() if stream is not None and ready else ""
        try:
            return json.loads(line)
        except ValueError:
            raise self._damaged() from None

    def _damaged(self) -> BadData:
        return BadData(f"{self._path} is damaged, or of another version of KenLM", fix=_FIX)


def _started(path: Path) -> "subprocess.Popen[str]":
    worker = Path(__file__).with_name("kenlm_worker.py")
    return subprocess.Popen(
        [sys.executable, str(worker), str(path.absolute())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )


def _ended(process: "subprocess.Popen[str]") -> None:
    process.kill()  # it holds nothing that could be lost
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:  # what was not written yet, to one that has gone
                continue
    process.wait()


def _header(path: Path, stream: IO[bytes]) -> _Header:
    """Raises BadData where it is none that KenLM of today writes on a machine of today."""
    stream.seek(0)
    sanity, fixed = stream.read(_SANITY.size), stream.read(_FIXED.size)
    if not sanity.startswith(MAGIC):
        raise BadData(f"{path} is no binary file of KenLM", fix=_FIX)
    if len(fixed) < _FIXED.size:
        raise BadData(f"{path} was cut", fix=_FIX)
    if not sanity.startswith(MAGIC + _VERSION) or _SANITY.unpack(sanity)[1:] != _TEST_VALUES:
        raise BadData(f"{path} was written by a version of KenLM, or on a machine, of another kind", fix=_FIX)
    order, _, kind, has_words, _ = _FIXED.unpack(fixed)
    counts = stream.read(8 * order)
    if not 0 < order <= _MOST_ORDERS or kind >= len(_KINDS) or len(counts) < 8 * order:
        raise BadData(f"{path} is damaged (its header makes no sense)", fix=_FIX)
    return _Header(order, struct.unpack("<Q", counts[:8])[0], _KINDS[kind], bool(has_words))


def _words(path: Path, stream: IO[bytes], header: _Header) -> Sequence[str]:
    """The words at the end of the file, each ended by a zero byte; <unk> is the first."""
    first = f"{UNK}\0".encode()
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        at: int = view.rfind(first)
        found: Optional[List[bytes]] = None
        while at >= 0 and found is None:
            texts = bytes(view[at:]).split(b"\0")
            if texts[-1] == b"" and len(texts) - 1 == header.words:
                found = texts[:-1]
            elif len(texts) > header.words + 1:
                break
            at = view.rfind(first, 0, at)  # a word that only ends like this
    try:
        if found is not None:
            return [word.decode("utf-8") for word in found]
    except UnicodeDecodeError:
        raise BadData(f"{path} has words that are no UTF-8", fix="make it again from a text in UTF-8") from None
    raise BadData(f"{path} was cut: its {header.words:,} words are not at its end", fix=_FIX)
