"""What a library says of its failure, as part of a sentence of ours.

Libraries advise what is right for whoever writes a program: to let a file run its code, to trust a stranger, to install
something. For the users of this one it is wrong, and some of it is dangerous, so advice is left out.
"""

from __future__ import annotations

import re

_RUNS_CODE = re.compile(
    r"weights[_ ]only|trust_remote_code|allow_pickle|unpickl|safe_globals|arbitrary code", re.IGNORECASE
)
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
# How a sentence begins that tells somebody what to do.
_ADVICE = re.compile(
    r"(please|try|consider|check|make sure|ensure|see|you (can|may|should|need)|"
    r"to (do|fix|disable|enable|use|run|force)|if you|pip install|install|set|pass|use|for more|note|run)\b",
    re.IGNORECASE,
)
# Where one sentence ends and another begins; not in 2.0, nor in a file's name.
_BETWEEN = re.compile(r"(?<=[.!?])\s+(?=[A-Z(`'\"\d])|\n+")


def reason(error: BaseException, most: int = 200) -> str:
    """One line without advice, of at most `most` characters; the kind of error where it says nothing else."""
    return _told(error, str(error).strip(), most)


def first_line(error: BaseException, most: int = 200) -> str:
    """The same of the first line alone, for libraries that go on for pages."""
    return _told(error, str(error).strip().partition("\n")[0], most)


def _told(error: BaseException, text: str, most: int) -> str:
    whole = str(error)
    if _RUNS_CODE.search(whole):
        named = _GLOBAL.search(whole)
        objects = f"Python objects ({named.group(1)})" if named else "Python objects"
        return f"it is damaged, or holds {objects} beside its numbers, and asrctl runs no code of a file"
    sentences = [" ".join(part.split()) for part in _BETWEEN.split(text)]
    told = " ".join(part for part in sentences if part and not _ADVICE.match(part)).rstrip(" .:")
    if not told:
        return type(error).__name__
    if len(told) <= most:
        return told
    # Never half an address.
    return f"{told[: most - 2].rpartition(' ')[0] or told[: most - 3]}..."
