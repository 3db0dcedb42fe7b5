"""Letters of a script that is not the corpus' own, such as a Cyrillic letter in an English word."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Dict, FrozenSet, Mapping, NamedTuple, Optional, Tuple

# A script with so many of the letters belongs to the corpus.
_USUAL_SHARE = 0.05
# Scripts that are written together; the first is their name.
_TOGETHER = {
    **dict.fromkeys(
        ["CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "HANGUL", "BOPOMOFO"], "East Asian"
    )
}
_LETTERS = re.compile(r"[^\W\d_]+")
# Letters that stand in texts of any script.
_ANYWHERE = ("MODIFIER", "FEMININE", "MASCULINE")


class Foreign(NamedTuple):
    """Letters of other scripts in a text, in their order; script: of the first; word: that holds it."""

    letters: str
    script: str
    word: str


def script_of(character: str) -> Optional[str]:
    """Latin, Cyrillic ... by the Unicode name; None of what is no letter, or of no script."""
    if unicodedata.category(character)[0] != "L":
        return None
    first = unicodedata.name(character, "").split(" ")[0]
    if not first or first in _ANYWHERE:
        return None
    return _TOGETHER.get(first, first.capitalize())


class Scripts:
    """Of a corpus. characters: {character: count} in all texts."""

    def __init__(self, characters: Mapping[str, int]) -> None:
        self._script: Dict[str, str] = {}
        letters: "Counter[str]" = Counter()
        for character, count in characters.items():
            script = script_of(character)
            if script is not None:
                self._script[character] = script
                letters[script] += count
        total = sum(letters.values())
        self.usual: Tuple[str, ...] = tuple(
            script for script, count in letters.most_common() if count >= _USUAL_SHARE * total
        )
        self._foreign: FrozenSet[str] = frozenset(
            character for character, script in self._script.items() if script not in self.usual
        )
        # Words that mix them are told even where both belong to the corpus: no word is of two of these.
        self._mixes = len([script for script in self.usual if script in ("Latin", "Cyrillic", "Greek")]) > 1

    def find(self, text: str) -> Optional[Foreign]:
        """What in a text is of another script, or None."""
        found = "".join(dict.fromkeys(character for character in text if character in self._foreign))
        if found:
            word = next(word for word in text.split() if found[0] in word)
            return Foreign(found, self._script[found[0]], word)
        return next(filter(None, map(self._mixed, _LETTERS.findall(text))), None) if self._mixes else None

    def _mixed(self, word: str) -> Optional[Foreign]:
        scripts = Counter(self._script[letter] for letter in word if letter in self._script)
        if len(scripts) < 2:
            return None
        rarest = min(scripts, key=lambda script: (scripts[script], script))
        return Foreign("".join(letter for letter in word if self._script.get(letter) == rarest), rarest, word)
