"""Words of a text -> the labels in which a model says them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from asrctl.data import glyphs
from asrctl.data.subwords import SubwordEncoder
from asrctl.data.text import TextRules, Vocabulary

_APOSTROPHES = "'\u2019\u02bc\u2018`"
# Signs between two words that are written as one.
_HYPHENS = "-\u2010\u2011\u2012\u2013\u2014\u2015/\u2026"


class Word(NamedTuple):
    """text: as it stands in the text, or as the rules write it where they change words. labels: ids, none for what has
    no sound, such as a dash."""

    text: str
    labels: Tuple[int, ...]


class Speller:
    """Texts in a model's labels. rules: those by which its training transcripts were written.

    What the model has in the other case alone, or without an accent, is taken as that. unknown: {letter or digit that
    it has not: count}, which are left out; letters: how many there were in all.
    """

    def __init__(self, vocabulary: Vocabulary, rules: Optional[TextRules]) -> None:
        self._vocabulary = vocabulary
        self._rules = rules or TextRules(case="keep", word_delimiter=vocabulary.word_delimiter or "|")
        self._encoder = vocabulary.encoder()
        self._known = set(vocabulary.letters)
        self.unknown: "Counter[str]" = Counter()
        self.letters = 0

    def __call__(self, text: str) -> List[Word]:
        return [Word(shown, self._labels(written)) for shown, written in self._words(text)]

    def _words(self, text: str) -> Iterator[Tuple[str, Sequence[str]]]:
        """(word as shown, its units) of each."""
        rules, shown = self._rules, text.split()
        written = rules.apply(text)
        if rules.phonemes is not None:
            words = written.split("  ")
            same = len(words) == len(shown)
            return ((shown[at] if same else word, rules.units(word)) for at, word in enumerate(words) if word)
        each = [rules.apply(word) for word in shown]
        if " ".join(filter(None, each)) == written:
            return zip(shown, each)
        return ((word, word) for word in written.split())

    def _labels(self, units: Sequence[str]) -> Tuple[int, ...]:
        vocabulary = self._vocabulary
        if self._rules.phonemes is not None:
            self.letters += len(units)
            self.unknown.update(unit for unit in units if unit not in self._known)
            return tuple(vocabulary.letters[unit] for unit in units if unit in self._known)
        spelled = " ".join("".join(map(self._spelled, units)).split())
        ids, _ = self._encoder(spelled) if spelled else ([], {})
        skipped = {vocabulary.unk_id, vocabulary.blank_id}
        return tuple(index for index in ids if index not in skipped)

    def _spelled(self, character: str) -> str:
        """What a character of a word is written as: itself, another case, a space, or nothing."""
        if character.isspace():
            return " "
        is_letter = glyphs.kind(character) in ("letter", "mark", "digit")
        self.letters += is_letter
        alike = _APOSTROPHES if character in _APOSTROPHES else ""
        bare = unicodedata.normalize("NFD", character)[:1]
        for way in (character, character.lower(), character.upper(), *alike, bare, bare.lower(), bare.upper()):
            if all(map(self._knows, way)):
                return way
        if is_letter:
            self.unknown[character] += 1
        return " " if character in _HYPHENS else ""

    def _knows(self, character: str) -> bool:
        if isinstance(self._encoder, SubwordEncoder):
            return self._encoder.knows(character)
        return character in self._known
