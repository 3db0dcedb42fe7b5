"""A text -> the utterances that are looked for in a recording: its lines, or its sentences."""

from __future__ import annotations

import re
from typing import Iterator, List, NamedTuple, Sequence

BY = ("auto", "lines", "sentences")
_END = re.compile(
    r"[.!?\u2026\u0964\u061f]+[\"'\u201d\u2019\u00bb)\]]*(?=\s|$)|[\u3002\uff01\uff1f]+[\"\u300d\u300f\u201d]*"
)
_PAUSE = re.compile(r"[,;:\u060c]+[\"'\u201d\u2019\u00bb)\]]*$|[\u2013\u2014]$")
_SPACELESS_PAUSE = re.compile(r"(?<=[\uff0c\u3001\uff1b\uff1a])")
# Before a full stop these end no sentence; nor does a single letter.
_SHORT = frozenset(
    ("mr", "mrs", "ms", "dr", "st", "prof", "rev", "gen", "col", "capt", "lt", "sgt", "hon", "messrs", "mme", "mlle")
    + ("vs", "etc", "vol", "e.g", "i.e", "cf")
)
# Utterances of more words are cut: at most so many fit into what training takes by default.
_MOST_WORDS = 40
_LEAST_WORDS = 8
# Lines of more words are paragraphs; where so many lines do not end a sentence, lines are wrapped.
_PARAGRAPH_WORDS, _WRAPPED = 40, 0.3


class Sentence(NamedTuple):
    """line: where it begins in the text, counted from 1."""

    text: str
    line: int


def split(text: str, by: str) -> "tuple[List[Sentence], str]":
    """(utterances, "lines" or "sentences"). by: one of BY; auto goes by how the text is written.

    Where lines are taken, an empty one means nothing; where sentences are, it ends one, so a heading stays alone.
    """
    lines = [" ".join(line.split()) for line in text.splitlines()]
    chosen = _found(lines) if by == "auto" else by
    whole = _lines(lines) if chosen == "lines" else _sentences(lines)
    return [piece for sentence in whole for piece in _short(sentence)], chosen


def _found(lines: Sequence[str]) -> str:
    written = [line for line in lines if line]
    if not any(_END.search(line) for line in written):
        return "lines"
    lengths = sorted(len(line.split()) for line in written)
    if lengths[len(lengths) // 2] > _PARAGRAPH_WORDS:
        return "sentences"
    followed = [line for line, after in zip(lines, lines[1:]) if line and after]
    open_ended = [line for line in followed if not _ends(line)]
    return "sentences" if len(open_ended) > _WRAPPED * len(followed) else "lines"


def _ends(line: str) -> bool:
    return any(found.end() == len(line) for found in _END.finditer(line))


def _lines(lines: Sequence[str]) -> Iterator[Sentence]:
    return (Sentence(line, number) for number, line in enumerate(lines, 1) if line)


def _sentences(lines: Sequence[str]) -> Iterator[Sentence]:
    """Sentences of paragraphs, which empty lines part."""
    words: List[str] = []
    begun = 0
    for number, line in enumerate([*lines, ""], 1):
        if not line and words:
            yield Sentence(" ".join(words), begun)
            words = []
        for start, piece in _pieces(line):
            begun = begun if words else number
            words.append(piece)
            if start is None or not _is_end(words, line[start:]):
                continue
            yield Sentence(" ".join(words), begun)
            words = []


def _pieces(line: str) -> Iterator["tuple[int | None, str]"]:
    """(where it goes on behind, None at the end of a line without a mark, and a piece up to a mark)."""
    before = 0
    for found in _END.finditer(line):
        yield found.end(), line[before : found.end()].strip()
        before = found.end()
    if line[before:].strip():
        yield None, line[before:].strip()


def _is_end(words: Sequence[str], behind: str) -> bool:
    """Whether a mark ends a sentence. behind: the rest of its line."""
    last = words[-1].split()[-1].strip("\"'\u201c\u2018(")
    stem = last[:-1].lower()
    if last.endswith(".") and (stem in _SHORT or (len(stem) == 1 and stem.isalpha())):
        return False
    return not behind.strip()[:1].islower()


def _short(sentence: Sentence) -> List[Sentence]:
    """The same, cut where it is long: at commas and the like, else between words."""
    words = [word for token in sentence.text.split() for word in _unspaced(token)]
    if len(words) <= _MOST_WORDS:
        return [sentence]
    found = []
    while len(words) > _MOST_WORDS:
        pauses = [at for at in range(_LEAST_WORDS, _MOST_WORDS + 1) if _PAUSE.search(words[at - 1])]
        rest = len(words) - _MOST_WORDS
        at = pauses[-1] if pauses else max(_LEAST_WORDS, min(_MOST_WORDS, _MOST_WORDS - max(0, _LEAST_WORDS - rest)))
        found.append(Sentence(" ".join(words[:at]), sentence.line))
        words = words[at:]
    return [*found, Sentence(" ".join(words), sentence.line)]


def _unspaced(token: str) -> List[str]:
    """A token, or its clauses where a script has no spaces."""
    return [part for part in _SPACELESS_PAUSE.split(token) if part]
