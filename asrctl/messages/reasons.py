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


def reason(error: BaseException, most: int = 200, *, first_line: bool = False) -> str:
    """One line without advice, of at most `most` characters; the kind of error where it says nothing else.

    first_line: for libraries that go on for pages.
    """
    text = str(error).strip()
    if _RUNS_CODE.search(text):
        named = _GLOBAL.search(text)
        objects = f"Python objects ({named.group(1)})" if named else "Python objects"
        return f"it is damaged, or holds {objects} beside its numbers, and asrctl runs no code of a file"
    sentences = [
        " ".join(part.split()) for part in _BETWEEN.split(text.splitlines()[0] if first_line and text else text)
    ]
    told = " ".join(part for part in sentences if part and not _ADVICE.match(part)).rstrip(" .:")
    if not told:
        return type(error).__name__
    return told if len(told) <= most else told[: most - 3].rstrip() + "..."
