"""Single characters of transcripts: what they are, and how each is shown and typed."""

from __future__ import annotations

import re
import unicodedata
from typing import Iterable, Optional

# Unseen like those of the categories below, though Unicode calls them letters, marks or symbols.
_ALSO_UNSEEN = frozenset(
    [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)]
)
_UNSEEN = ("Cf", "Cc", "Co", "Cn", "Cs", "Zl", "Zp")
_UNNAMED = {"Cc": "CONTROL CHARACTER", "Co": "PRIVATE USE", "Cn": "UNASSIGNED", "Cs": "HALF A CHARACTER"}
# Joiners that are spelling where letters join by themselves: Arabic, and the scripts of India and its neighbors.
_JOINERS = "\u200c\u200d"
_JOINING = (
    *("ARABIC", "SYRIAC", "MONGOLIAN", "DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI", "ORIYA", "TAMIL", "TELUGU"),
    *("KANNADA", "MALAYALAM", "SINHALA", "KHMER"),
)
# Scripts whose letters are taken for each other's.
_ALIKE = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "FULLWIDTH", "MATHEMATICAL")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})")


def kind(character: str) -> str:
    """letter, mark (combining), digit, sign (punctuation and symbols), space or unseen."""
    if len(character) > 1:  # a phoneme
        return "letter"
    category = unicodedata.category(character)
    if category in _UNSEEN or ord(character) in _ALSO_UNSEEN:
        return "unseen"
    return {"L": "letter", "M": "mark", "N": "digit", "Z": "space"}.get(category[0], "sign")


def is_spelling(character: str, letters: Iterable[str]) -> bool:
    """Whether an unseen character belongs to how words of these letters are written."""
    return character in _JOINERS and any(map(joins, letters))


def joins(letter: str) -> bool:
    """Whether a letter or mark is of a script whose letters join by themselves, so that joiners are its spelling."""
    return unicodedata.name(letter, "").split(" ")[0] in _JOINING if letter else False


def code_point(character: str) -> str:
    return " ".join(f"U+{ord(one):04X}" for one in character)


def name(character: str) -> str:
    """Unicode's name of it."""
    if len(character) > 1:
        return "PHONEME"
    return unicodedata.name(character, "") or _UNNAMED.get(unicodedata.category(character), "UNNAMED")


def shown(character: str) -> str:
    """The character where it can be seen by itself, else its code point; the space is a word."""
    if character == " ":
        return "space"
    return code_point(character) if kind(character) in ("unseen", "mark", "space") else character


def counted(character: str, count: int) -> str:
    """'é' U+00E9 x3, or U+200B x3 (ZERO WIDTH SPACE) where it can not be seen by itself."""
    if shown(character) == character:
        return f"{character!r} {code_point(character)} x{count}"
    return f"{code_point(character)} x{count} ({name(character)})"


def script(letter: str) -> Optional[str]:
    """Latin, Cyrillic ... where its letters can be taken for those of another script; else None."""
    first = unicodedata.name(letter, "").split(" ")[0]
    return first.capitalize() if first in _ALIKE and unicodedata.category(letter)[0] == "L" else None


def typed(characters: Iterable[str]) -> str:
    """Characters as --remove takes them: what can not be seen stands as \\u200b. None comes first that is an option."""
    every = sorted(set(characters))
    plain = [one for one in every if shown(one) == one]
    last = [one for one in "-\\" if one in plain]
    return "".join([_escape(one) for one in every if one not in plain] + [p for p in plain if p not in last] + last)


def can_be_typed(character: str) -> bool:
    """Whether `typed` can spell it: half a character has no place in any file."""
    return not 0xD800 <= ord(character) < 0xE000


def untyped(text: str) -> str:
    """What was typed, with \\u200b and \\U0001f600 as the characters that they stand for."""

    def character(found: "re.Match[str]") -> str:
        number = int(found.group(1) or found.group(2), 16)
        return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else found.group()

    return _ESCAPE.sub(character, text)


def quoted(characters: Iterable[str]) -> str:
    """The same as a value in YAML."""
    every = set(characters)
    plain = typed(every - {"\\"})
    return '"' + plain.replace('"', '\\"') + ("\\\\" if "\\" in every else "") + '"'


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
