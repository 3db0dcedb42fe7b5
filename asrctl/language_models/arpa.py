"""ARPA files, as SRILM, KenLM and others write them (plain or .gz)."""

from __future__ import annotations

import gzip
import io
import math
import re
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Dict, Iterator, List, NoReturn, Tuple

import numpy as np

from asrctl.errors import BadData
from asrctl.language_models.ngram import NgramModel, Table
from asrctl.language_models.vocabulary import BOS, BOS_ID, EOS, EOS_ID, SPECIAL, UNK, UNK_ID, Words
from asrctl.messages import reasons
from asrctl.storage import packed

_FIX = "give a whole ARPA file, such as `asrctl lm TEXT` or lmplz writes"
_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)")
_SECTION = re.compile(r"\\(\d+)-grams:")
_MOST_ORDERS = 16
# What parts words (KenLM, lm/read_arpa.cc); other white space belongs to them.
_BLANKS = " \t\r\n"
# Comments stand before the counts.
_HEAD_BYTES = 1 << 16
# log10 of what a model that knows no <unk> gives to words that it does not have: lower than any word of a real model.
_UNKNOWN = -10.0
# Other spellings of the special words.
_SPELLINGS = {"<UNK>": UNK, "<S>": BOS, "</S>": EOS}


def write(model: NgramModel, path: Path, *, as_gzip: bool = False) -> None:
    """Write a model. as_gzip: packed."""
    size = len(model.words)
    texts: List[str] = []
    with _opened_to_write(path, as_gzip=as_gzip) as stream:
        stream.write("\\data\\\n")
        for place, table in enumerate(model.tables):
            stream.write(f"ngram {place + 1}={len(table)}\n")
        for place, table in enumerate(model.tables):
            stream.write(f"\n\\{place + 1}-grams:\n")
            context, word = np.divmod(table.keys, size)
            words = [model.words[number] for number in word.tolist()]
            texts = [f"{texts[at]} {last}" for at, last in zip(context.tolist(), words)] if place else words
            is_last = place + 1 == len(model.tables)
            for text, log10, backoff in zip(texts, table.log10.tolist(), table.backoff.tolist()):
                stream.write(f"{log10:.7g}\t{text}\n" if is_last else f"{log10:.7g}\t{text}\t{backoff:.7g}\n")
        stream.write("\n\\end\\\n")


@contextmanager
def _opened_to_write(path: Path, *, as_gzip: bool) -> Iterator[IO[str]]:
    with open(path, "wb") as binary:
        # Without the time and the name, so that equal models give equal bytes.
        raw: Any = gzip.GzipFile(filename="", mode="wb", fileobj=binary, mtime=0) if as_gzip else binary
        with io.TextIOWrapper(raw, encoding="utf-8") as stream:
            yield stream


def read(path: Path) -> NgramModel:
    """Raises BadData where the file is none, is cut, or does not hold as many n-grams as it says."""
    try:
        with packed.opened(path, fix=_FIX) as stream:
            return _Reader(path, io.TextIOWrapper(stream, encoding="utf-8")).model()
    except UnicodeDecodeError as error:
        raise BadData(f"{path} is no ARPA file ({reasons.reason(error)})", fix=_FIX) from None


def is_arpa(path: Path) -> bool:
    """Whether a file begins as one, packed or not."""
    try:
        with packed.opened(path, fix=_FIX) as stream:
            return b"\\data\\" in stream.read(_HEAD_BYTES)
    except BadData:
        return False


class _Reader:
    """One file, read section by section."""

    def __init__(self, path: Path, stream: IO[str]) -> None:
        self._path = path
        self._lines: Iterator[Tuple[int, str]] = enumerate((line.strip(_BLANKS) for line in stream), 1)
        self._number = 0
        self._words = Words()

    def model(self) -> NgramModel:
        counts = self._header()
        tables: List[Table] = []
        for order, wanted in enumerate(counts, 1):
            rows, logs, backoffs = self._section(order, wanted, order == len(counts))
            tables.append(self._table(order, rows, logs, backoffs, tables))
        if self._next() != "\\end\\":
            self._refuse("\\end\\ is missing, so the file was cut")
        return NgramModel(self._words.listed(), tables)

    def _refuse(self, why: str) -> NoReturn:
        raise BadData(f"{self._path}, line {self._number}: {why}", fix=_FIX)

    def _next(self) -> str:
        """The next line that is not empty; "" at the end."""
        for number, line in self._lines:
            self._number = number
            if line:
                return line
        return ""

    def _header(self) -> List[int]:
        while True:  # what comes before \data\ is a comment
            line = self._next()
            if line == "\\data\\":
                break
            if not line:
                self._refuse("there is no \\data\\, so it is no ARPA file")
        counts: List[int] = []
        line = self._next()
        while True:
            found = _COUNT.fullmatch(line)
            if found is None:
                break
            if int(found[1]) != len(counts) + 1 or len(counts) == _MOST_ORDERS:
                self._refuse(f"the count of {found[1]}-grams does not follow that of {len(counts)}-grams")
            counts.append(int(found[2]))
            line = self._next()
        if not counts or line != "\\1-grams:":
            self._refuse("\\1-grams: and its counts are missing")
        return counts

    def _section(self, order: int, wanted: int, is_last: bool) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows (grams, order) of word numbers, log10 probabilities, log10 back-off weights)."""
        if order > 1:
            found = _SECTION.fullmatch(self._next())
            if found is None or int(found[1]) != order:
                self._refuse(f"\\{order}-grams: is missing, or the section before has more n-grams than it says")
        rows: List[List[int]] = []
        logs: List[float] = []
        backoffs: List[float] = []
        ids = self._words.ids
        for _ in range(wanted):
            line = self._next()
            if not line or line.startswith("\\"):
                self._refuse(f"there are {len(rows)} of {wanted} {order}-grams")
            parts = line.replace("\t", " ").split(" ")
            parts = [part for part in parts if part]
            if not order + 1 <= len(parts) <= order + 2:
                self._refuse(f"{len(parts)} fields in a line of {order}-grams")
            logs.append(self._log10(parts[0]))
            backoffs.append(self._log10(parts[-1]) if len(parts) == order + 2 else 0.0)
            words = [_SPELLINGS.get(word, word) for word in parts[1 : order + 1]]
            if order == 1:
                self._words.numbered(words)
            elif not all(word in ids for word in words):
                self._refuse(f"{' '.join(words)} holds a word that is no 1-gram")
            rows.append([ids[word] for word in words])
        return np.array(rows, dtype=np.int64).reshape(-1, order), np.array(logs), np.array(backoffs)

    def _log10(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            self._refuse(f"{text!r} is no number")
        if math.isnan(value) or value == math.inf:
            self._refuse(f"{text} is no logarithm of a probability")
        return max(value, -99.0)

    def _table(
        self, order: int, rows: np.ndarray, logs: np.ndarray, backoffs: np.ndarray, tables: List[Table]
    ) -> Table:
        size = len(self._words)
        if order == 1:
            return self._single_words(rows[:, 0], logs, backoffs)
        context, suffix = self._place(rows[:, :-1], tables, size), self._place(rows[:, 1:], tables, size)
        missing = np.flatnonzero((context < 0) | (suffix < 0))
        if len(missing):
            words = self._words.listed()
            gram = " ".join(words[number] for number in rows[missing[0]])
            raise BadData(
                f"{self._path} has the {order}-gram {gram!r} without its first or last {order - 1} words", fix=_FIX
            )
        keys = context * size + rows[:, -1]
        places = np.argsort(keys, kind="stable")
        if len(keys) and (np.diff(keys[places]) == 0).any():
            raise BadData(f"{self._path} has a {order}-gram twice", fix=_FIX)
        return Table(keys[places], logs[places].astype(np.float32), backoffs[places].astype(np.float32), suffix[places])

    def _single_words(self, words: np.ndarray, logs: np.ndarray, backoffs: np.ndarray) -> Table:
        size = len(self._words)
        if len(np.unique(words)) < len(words):
            raise BadData(f"{self._path} has a word twice", fix=_FIX)
        log10, backoff = np.full(size, -99.0, dtype=np.float32), np.zeros(size, dtype=np.float32)
        log10[UNK_ID] = _UNKNOWN
        log10[words], backoff[words] = logs, backoffs
        if log10[EOS_ID] <= -99.0:
            raise BadData(f"{self._path} gives no sentence an end: {EOS} is missing", fix=_FIX)
        log10[BOS_ID] = -99.0
        return Table(np.arange(size, dtype=np.int64), log10, backoff, np.zeros(size, dtype=np.int64))

    def _place(self, rows: np.ndarray, tables: List[Table], size: int) -> np.ndarray:
        """Where n-grams of one order are in its table, -1 where they are not."""
        places = rows[:, 0]
        for column in range(1, rows.shape[1]):
            keys = tables[column].keys
            wanted = np.where(places < 0, -1, places * size + rows[:, column])
            found = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
            places = (
                np.where((keys[found] == wanted) & (wanted >= 0), found, -1) if len(keys) else np.full(len(rows), -1)
            )
        return places


def known_words(model: Any) -> Dict[str, int]:
    """{word: number} of those of the text, without the special ones. model: anything with `ids`, as NgramModel has."""
    return {word: number for word, number in model.ids.items() if word not in SPECIAL}
