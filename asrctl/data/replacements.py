"""A table of replacements: texts that are written in another way before they are learned (`text.replace`).

All rules are applied at once, from left to right; of those that fit at a place the longest one is. So their order means
nothing, and what a rule has written is not replaced again. A space at an end of a rule is the edge of a word, or of the
text, and stays.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Any, Callable, Dict, List, Mapping, Optional

from asrctl.errors import UsageError
from asrctl.storage.records import is_text

MAX_RULES = 5000
MAX_LENGTH = 200


class Table:
    """Rules in force. rules: {text: what it becomes}, both as `form` writes them."""

    def __init__(self, given: Mapping[str, str], form: Callable[[str], str]) -> None:
        """form: a text as the rules meet it (its case, its language). Raises UsageError."""
        if len(given) > MAX_RULES:
            raise UsageError(f"there are {len(given)} replacements, and the most is {MAX_RULES}", fix="leave some out")
        self.rules: Dict[str, str] = {}
        for key, value in given.items():
            before, after = _formed(key, form, "text"), _formed(value, form, "replacement")
            if not before.strip():
                raise UsageError(
                    f"{key!r} can not be replaced: nothing is left of it by the rules before",
                    fix="leave it out of the table of replacements",
                )
            if self.rules.setdefault(before, after) != after:
                raise UsageError(
                    f"{before!r} is replaced by {self.rules[before]!r} and by {after!r}, as case does not count there",
                    fix="keep one of the two in the table of replacements, or use --case keep",
                )
        self.rules = dict(sorted(self.rules.items()))
        self._keys: List[str] = sorted(self.rules, key=lambda key: (-len(key), key))
        self._pattern = re.compile("|".join(f"({_pattern(key)})" for key in self._keys))

    def __call__(self, text: str, uses: "Optional[Counter[str]]" = None) -> str:
        """A text, in the same form, with its replacements. uses: is added how often each rule was applied."""

        def replaced(found: "re.Match[str]") -> str:
            key = self._keys[(found.lastindex or 1) - 1]
            if uses is not None:
                uses[key] += 1
            value = self.rules[key]
            return value.strip() if key != key.strip() else value

        return self._pattern.sub(replaced, " ".join(text.split()))


def _formed(text: Any, form: Callable[[str], str], what: str) -> str:
    """With single spaces, those at the ends too. Raises UsageError."""
    if not isinstance(text, str) or not is_text(text) or len(text) > MAX_LENGTH:
        raise UsageError(
            f"a {what} of the table of replacements is no text of at most {MAX_LENGTH} characters",
            fix="write TEXT: REPLACEMENT, each in quotes",
        )
    return re.sub(r"\s+", " ", form(unicodedata.normalize("NFC", text)))


def _pattern(key: str) -> str:
    before = r"(?<!\S)" if key.startswith(" ") else ""
    after = r"(?!\S)" if key.endswith(" ") else ""
    return before + re.escape(key.strip()) + after
