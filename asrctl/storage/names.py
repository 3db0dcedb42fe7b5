"""Names that people give to data, runs and vocabularies: they become names of files, on any file system."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from asrctl.errors import UsageError

# With what is put before and behind it, a file's name has at most 255 bytes.
_MOST_BYTES = 150


def valid_name(name: str, what: str = "name") -> str:
    """`name` if it can be a file name everywhere. Raises UsageError."""
    if not is_valid_name(name):
        raise UsageError(
            f"{name!r} can not be used as a {what}",
            fix="use letters, digits, '-', '_', '+' and '.', starting with a letter or digit",
        )
    return name


def is_valid_name(name: str) -> bool:
    """Whether `name` can be a file name everywhere."""
    starts = bool(name) and name[0] not in ".-" and not _is_mark(name[0])
    return starts and all(c.isalnum() or c in "-_.+" or _is_mark(c) for c in name) and _fits(name)


def made_of(text: str, kept: str, *, is_short: bool = False) -> str:
    """A name as a text gives it: '-' stands for each character (is_short: each run of them) that no name takes.

    kept: what stays beside letters, digits and their marks. It may still be empty, too long, or begin with '-'.
    """
    composed = unicodedata.normalize("NFC", text)
    plain = "".join(
        here if here.isalnum() or here in kept or (_is_mark(here) and (before.isalnum() or _is_mark(before))) else "\0"
        for before, here in zip("\0" + composed, composed)
    )
    return re.sub("\0+" if is_short else "\0", "-", plain)


def _is_mark(character: str) -> bool:
    """A vowel or accent of its own, as most words of Hindi or Thai have them; not those that nobody sees."""
    is_mark = unicodedata.category(character)[0] == "M"
    return is_mark and not unicodedata.name(character, "").startswith(
        ("VARIATION", "COMBINING GRAPHEME", "MONGOLIAN F")
    )


def is_text(path: Path) -> bool:
    """Whether a path is UTF-8 as it stands and where its links lead; Arrow and safetensors open no other."""
    try:
        os.path.realpath(str(path)).encode("utf-8")
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def require_text(path: Path, fix: str) -> Path:
    """`path`. Raises UsageError where it is not UTF-8, so that libraries could not open what lies there."""
    if not is_text(path):
        raise UsageError(f"the path {path.absolute()} is not UTF-8, and what lies there can not be opened", fix=fix)
    return path


def shortened(name: str) -> str:
    """As much of the beginning of a name as fits; a character of most scripts takes two to four bytes."""
    return name.encode("utf-8", "replace")[:_MOST_BYTES].decode("utf-8", "ignore")


def is_plain_name(name: str) -> bool:
    """Whether a name that stands in a file can be an entry of a folder, and leads nowhere else."""
    return bool(name) and not set(name) & set("/\\\0") and name not in (".", "..") and _fits(name)


def _fits(name: str) -> bool:
    return len(name.encode("utf-8", "surrogatepass")) <= _MOST_BYTES
