"""What was probably meant by a word that is not known: one measure for commands, options, keys, names and values.

A wrong guess misleads more than none helps, so what is only somewhat alike is not offered.
"""

from __future__ import annotations

import difflib
import re
from typing import Callable, Iterable, List

_MOST = 3
# What difflib calls alike: one wrong, missing or added letter in four, or two that have changed places.
_ALIKE = 0.77
_SHORTEST = 3


def closest(wrong: str, known: Iterable[str], *, is_typed: bool = True) -> List[str]:
    """The words of `known` that were probably meant by `wrong`, few or none; case, dashes and underscores aside.

    is_typed: whether a person wrote it, who may have shortened a word or thought of a longer one.
    """
    plain = {word: _plain(word) for word in known}
    typed = _plain(wrong)
    if not typed:
        return []
    shortened: List[Callable[[str], bool]] = [
        lambda word: len(typed) >= _SHORTEST and word.startswith(typed),
        lambda word: len(word) >= _SHORTEST and 2 * len(word) >= len(typed) and typed.startswith(word),
        lambda word: _initials(word) == typed,
    ]
    tests: List[Callable[[str], bool]] = [
        lambda word: word == typed,
        *(shortened if is_typed else []),
        lambda word: len(typed) >= _SHORTEST and sorted(word) == sorted(typed),
    ]
    for test in tests:
        found = [word for word in plain if test(plain[word])]
        if found:
            return found if len(found) <= _MOST else []
    alike = difflib.get_close_matches(typed, sorted(set(plain.values())), n=1, cutoff=_ALIKE)
    return [word for word in plain if plain[word] in alike][:_MOST]


def question(wrong: str, known: Iterable[str], show: Callable[[str], str] = repr) -> str:
    """ "did you mean 'x' or 'y'?", or nothing."""
    found = [show(word) for word in closest(wrong, known)]
    return f"did you mean {' or '.join(found)}?" if found else ""


def one_of(wrong: str, known: Iterable[str]) -> str:
    """What to do instead of giving `wrong`: the likeliest of `known`, or any of them."""
    words = list(known)
    meant = question(wrong, words, str)
    return f"{meant} The choices are {', '.join(words)}" if meant else f"use one of {', '.join(words)}"


def _plain(word: str) -> str:
    return re.sub(r"[-_ ]+", "-", word.casefold()).strip("-")


def _initials(word: str) -> str:
    """ "learning-rate" -> "lr"; nothing for a word of one part."""
    parts = word.split("-")
    return "".join(part[:1] for part in parts) if len(parts) > 1 else ""
