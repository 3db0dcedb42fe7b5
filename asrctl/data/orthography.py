"""What is settled in how languages are written: the rules of `text.language`.

Each is a fact of the writing system, with its source. What people disagree on (numbers, punctuation, the forms of alef)
is left to `text.replace` and `text.remove`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Dict, Mapping

from asrctl.data import glyphs

# The Unicode Standard 6.2, "Apostrophes" and "Quotation marks": these are the typographic forms of ' and ".
_QUOTES = {**dict.fromkeys("\u2018\u2019\u201b", "'"), **dict.fromkeys("\u201c\u201d\u201e\u201f", '"')}
# The Unicode Standard 23.2 and 23.8, UAX #9: they break and shape lines, and stand for no sound: soft hyphen, word
# joiner, byte order mark, and the marks of direction.
_FORMAT = "\u00ad\u2060\ufeff\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# The Unicode Standard 23.2: where words are written without spaces between them, this one may stand there.
_ZERO_WIDTH_SPACE, _WITHOUT_SPACES = "\u200b", ("th", "lo", "km", "my")
# UAX #31, 2.3: joiners are spelling in the scripts of glyphs.joins (Persian, the scripts of India), and nowhere else.
_JOINERS = re.compile("(?<=(.))[\u200c\u200d]|^[\u200c\u200d]", re.DOTALL)
# The Unicode Standard 9.2: tashkeel (harakat, shadda, sukun, superscript alef) are optional, tatweel only stretches a
# line. CAMeL Tools and PyArabic take the same ones away. Hamza and madda are letters, and stay.
_TATWEEL, _HARAKAT = "\u0640", "".join(map(chr, range(0x064B, 0x0653)))
# ISIRI 6219: Persian has yeh and keheh of its own; the Arabic ones are typed by keyboards for Arabic.
_PERSIAN = {"\u064a": "\u06cc", "\u0649": "\u06cc", "\u0643": "\u06a9"}
# The Unicode Standard 9.1: points (niqqud) and accents of cantillation are optional in Hebrew. What is punctuation
# among them (maqaf U+05BE, paseq U+05C0, sof pasuq U+05C3, nun hafukha U+05C6) stays. In Yiddish points tell letters
# apart, so `yi` has no such rule.
_POINTS = "".join(chr(code) for code in range(0x0591, 0x05C8) if code not in (0x05BE, 0x05C0, 0x05C3, 0x05C6))
# Ukrainian and Belarusian spell an apostrophe: ' in most texts, U+02BC or U+2019 in others (CLDR, uk and be).
_APOSTROPHE = {"\u02bc": "'"}
# Amtliches Regelwerk der deutschen Rechtschreibung, § 25: sharp s is a letter of its own, and ss in Switzerland.
_SWISS = {"\u00df": "ss", "\u1e9e": "SS"}

_OWN: Mapping[str, Mapping[str, str]] = {
    "ar": dict.fromkeys(_HARAKAT + "\u0670" + _TATWEEL, ""),
    "fa": {**dict.fromkeys(_HARAKAT + _TATWEEL, ""), **_PERSIAN},
    "he": dict.fromkeys(_POINTS, ""),
    "uk": _APOSTROPHE,
    "be": _APOSTROPHE,
    "de-ch": _SWISS,
}


def written(text: str, language: str) -> str:
    """A text in NFC by the rules of a language, in NFC. language: as `languages.canonical` has it."""
    text = text.translate(_table(language))
    if "\u200c" in text or "\u200d" in text:
        text = _JOINERS.sub(lambda found: found.group() if glyphs.joins(found.group(1) or "") else "", text)
    return unicodedata.normalize("NFC", text)


def lower(text: str, language: str = "") -> str:
    """Unicode's SpecialCasing.txt: Turkish and Azeri have an i with a dot and one without."""
    if language in ("tr", "az"):
        text = text.replace("\u0130", "i").replace("I", "\u0131")
    return text.lower()


def upper(text: str, language: str = "") -> str:
    """The same; and § 25 E3 of the German rules: the capital of sharp s is U+1E9E. As SS it would be lost."""
    if language in ("tr", "az"):
        text = text.replace("i", "\u0130")
    if language == "de":
        text = text.replace("\u00df", "\u1e9e")
    return text.upper()


_tables: Dict[str, Dict[int, str]] = {}


def _table(language: str) -> Dict[int, str]:
    if language not in _tables:
        general = {**_QUOTES, **dict.fromkeys(_FORMAT, "")}
        if language not in _WITHOUT_SPACES:
            general[_ZERO_WIDTH_SPACE] = ""
        _tables[language] = str.maketrans({**general, **_OWN.get(language, {})})
    return _tables[language]
