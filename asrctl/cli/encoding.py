"""File names in a locale that is not UTF-8.

There Python takes every name apart and puts it together by that locale, so a list in UTF-8 would name other files than
those on disk, or none at all. Python has a mode in which names are UTF-8 whatever the locale; it can only begin in it.
"""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path
from typing import List, Optional

from asrctl.errors import BadData


def begin_in_utf8() -> None:
    """Begin this program again in Python's UTF-8 mode where names are not UTF-8. The terminal keeps its encoding."""
    if is_utf8(sys.getfilesystemencoding()) or sys.flags.utf8_mode:
        return
    program, typed = _program(), _typed()
    if not sys.executable or not program or typed is None:
        return
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]  # as multiprocessing does

    environment = dict(os.environb)
    if sys.stdout is not None and sys.stdout.encoding:
        environment.setdefault(b"PYTHONIOENCODING", f"{sys.stdout.encoding}:backslashreplace".encode())
    words = [sys.executable, *_args_from_interpreter_flags(), "-X", "utf8", *program]
    os.execve(sys.executable, [*map(os.fsencode, words), *typed], environment)


def _program() -> List[str]:
    """What names this program on Python's command line; nothing where it was not started from a file or module."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return ["-m", spec.parent or spec.name]
    return [sys.argv[0]] if sys.argv and Path(sys.argv[0]).is_file() else []


def _typed() -> Optional[List[bytes]]:
    """The words after the program's name, as typed: not every locale gives back the bytes that it was given."""
    try:
        with open("/proc/self/cmdline", "rb") as stream:  # of Linux; elsewhere names are UTF-8 anyway
            words = stream.read().split(b"\0")[:-1]
    except OSError:
        return None
    return words[len(words) - len(sys.argv) + 1 :]


def is_utf8(encoding: Optional[str]) -> bool:
    return codecs.lookup(encoding or "ascii").name == "utf-8"


def unknown_letters(error: BaseException) -> Optional[BadData]:
    """What to tell where a name has letters that this locale does not have, and nobody could begin in another."""
    encoding = sys.getfilesystemencoding()
    if not isinstance(error, UnicodeEncodeError) or is_utf8(encoding):
        return None
    if codecs.lookup(error.encoding).name != codecs.lookup(encoding).name:
        return None
    return BadData(
        f"{error.object!a} can not be the name of a file in this locale ({encoding})",
        fix="run the command again with LC_ALL=C.UTF-8, or in another UTF-8 locale",
    )
