"""What people do with a line that asrctl has printed: they type it as it stands."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any, List, Sequence

from .program import Result, run_here


def type_line(line: str, *more: Any) -> Result:
    """Run a printed command: `asrctl ...`, or `cd FOLDER && asrctl ...`."""
    here = Path.cwd()
    *before, last = line.split(" && ")
    try:
        for words in map(shlex.split, before):
            assert words[0] == "cd", line
            os.chdir(words[1])
        program, *words = shlex.split(last)
        assert program == "asrctl", line
        return run_here(*words, *more)
    finally:
        os.chdir(here)


def next_lines(done: Result) -> List[str]:
    """What is printed as next, the most useful first."""
    lines = [line for line in done.succeeded().stdout.splitlines() if line.startswith("next")]
    assert lines, done.stdout
    return [line.split(None, 1)[1] for line in lines]


def following(done: Result) -> List[str]:
    """The words of the first command that is printed as next."""
    return shlex.split(next_lines(done)[0])[1:]


def typed(done: Result, *more: Any) -> Result:
    return type_line(next_lines(done)[0], *more)


def in_backticks(text: str) -> List[str]:
    """What a message gives to type: whole commands, or options for the command that failed."""
    return [part for part in re.findall(r"`([^`]+)`", text) if part.startswith(("asrctl ", "cd ", "-"))]


def repaired(failed: Sequence[Any], advice: str) -> Result:
    """Follow one piece of advice of the command `asrctl FAILED`: type it, or the options instead of the failed ones."""
    if not advice.startswith("-"):
        return type_line(advice)
    option, *value = shlex.split(advice)
    words = [str(word) for word in failed]
    key = value[0].partition("=")[0] if option == "--set" else None
    for place in reversed(range(len(words) - 1)):
        is_meant = words[place] == option and (key is None or words[place + 1].partition("=")[0] == key)
        if value and is_meant:
            del words[place : place + 2]
    return run_here(*words, option, *value)
