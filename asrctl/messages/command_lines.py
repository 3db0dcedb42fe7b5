"""Commands as messages print them: to be typed as they stand.

In a message, what stands in `backticks` can be typed: a whole command, or options for the command that failed. A word
in CAPITALS is for the reader to fill in.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Collection, List, Sequence, Tuple

DEFAULT_ROOT = "asr-workspace"
ROOT_VARIABLE = "ASRCTL_WORKSPACE"
_COMMAND = re.compile(r"`(asrctl [a-z][^`]*)`")
_PLACE = re.compile(r"(^|\s)(-w|--workspace)(\s|=)")
_SHORT = {"-p": "--preset", "-w": "--workspace", "-v": "--verbose", "-o": "--output"}


def shown(words: Sequence[str]) -> str:
    """The words as a shell reads them."""
    return " ".join(shlex.quote(word) for word in words)


def pip_install(package: str) -> str:
    """What installs a package where this program runs, whatever `pip` is on the PATH."""
    return shown((sys.executable or "python3", "-m", "pip", "install", package))


def without(words: Sequence[str], options: Collection[str], flags: Collection[str] = ()) -> List[str]:
    """The words of a command without these options, each of which takes a value, and without these flags."""
    left: List[str] = []
    rest = iter(words)
    for word in rest:
        name, has_value, _ = word.partition("=")
        name = _SHORT.get(name, name)
        if name in options:
            if not has_value:
                next(rest, None)
        elif name not in flags:
            left.append(word)
    return left


def place(root: Path) -> Tuple[str, ...]:
    """The words that name a workspace; none for the default.

    A variable that makes it the default may be another one in the next shell, so it does not count.
    """
    plain = str(root) == DEFAULT_ROOT == os.environ.get(ROOT_VARIABLE, DEFAULT_ROOT)
    return () if plain else ("--workspace", str(root))


def placed(text: str, root: Path) -> str:
    """A message whose commands are about the workspace in `root`."""

    words = place(root)

    def add(found: "re.Match[str]") -> str:
        line = found.group(1)
        named = not words or "--help" in line or _PLACE.search(line)
        return f"`{line}`" if named else f"`{line} {shown(words)}`"

    return _COMMAND.sub(add, text)
