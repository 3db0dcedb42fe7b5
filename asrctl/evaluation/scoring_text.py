"""Texts as they are compared where neither case nor punctuation is to count: scoring rules are not training rules.

One rule for all languages, so that rates of different data and models compare: Unicode NFKC and case folding; what is
no letter, mark or number becomes a space, but for an apostrophe within a word; characters that nobody sees go; white
space is folded. Numbers stay as they are written, and so do the words of a tag in brackets.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Dict

# An apostrophe is written in several ways: U+2019, U+02BC where it is a letter, U+FF07 before NFKC.
_APOSTROPHES = dict.fromkeys(map(ord, "\u2019\u02bc\u2018"), "'")
_LOOSE = re.compile(r"(?<!\S)'+|'+(?!\S)")


class _Spoken(Dict[int, Any]):
    """Code point -> what becomes of it, looked up in Unicode once."""

    def __missing__(self, code: int) -> Any:
        category = unicodedata.category(chr(code))
        if code == ord("'") or category[0] in "LMN":
            self[code] = code
        else:  # Cf: what shapes words, and is no border between them
            self[code] = None if category == "Cf" else " "
        return self[code]


_SPOKEN = _Spoken(_APOSTROPHES)


def normalized(text: str) -> str:
    """Words in lower case with single spaces between them."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # The Turkish capital I with a dot folds into an i with a dot above it.
    folded = unicodedata.normalize("NFKC", folded.replace("i\u0307", "i"))
    return " ".join(_LOOSE.sub(" ", folded.translate(_SPOKEN)).split())
