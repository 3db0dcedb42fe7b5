"""Numbers as people say them: nouns that go with a number, and sizes in the unit that fits."""

from __future__ import annotations

from typing import Optional


def noun(number: float, one: str, many: Optional[str] = None) -> str:
    """The form of a word that goes with a number: 1 "error", 2 "errors"; or of a verb: noun(n, "is", "are")."""
    return one if number == 1 else many or f"{one}s"


def count(number: int, one: str, many: Optional[str] = None) -> str:
    """1 -> "1 error", 1234 -> "1234 errors"."""
    return f"{number} {noun(number, one, many)}"


def size(num_bytes: float) -> str:
    """1234567 -> "1.2 MB" (powers of 1000, as disks are sold)."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.0f} {unit}" if unit == "B" or num_bytes >= 99.5 else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"
