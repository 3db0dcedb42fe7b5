"""How Python has to have been started: with file names in UTF-8, and with docstrings.

In a locale that is not UTF-8 Python takes every name apart and puts it together by that locale, so a list in UTF-8
would name other files than those on disk, or none at all. Python has a mode in which names are UTF-8 whatever the
locale; it can only begin in it. Without docstrings (`python -OO`, PYTHONOPTIMIZE=2) commands have no help, and
transformers, which reads its own docstrings, can not be imported.
"""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path
from typing import List, Optional

from asrctl.errors import BadData

# `sys.flags.optimize` of -OO.
_WITHOUT_DOCSTRINGS = 2


def begin_well() -> None:
    """Begin this program again where Python was started otherwise than it has to be. A terminal keeps its encoding."""
    names_are_utf8 = is_utf8(sys.getfilesystemencoding()) or bool(sys.flags.utf8_mode)
    if names_are_utf8 and sys.flags.optimize < _WITHOUT_DOCSTRINGS:
        return
    program, typed = _program(), _typed()
    if typed is None and names_are_utf8:
        typed = [os.fsencode(word) for word in sys.argv[1:]]
    if not sys.executable or not program or typed is None:
        return
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]  # as multiprocessing does

    environment = dict(os.environb)
    environment.pop(b"PYTHONOPTIMIZE", None)
    flags = [flag for flag in _args_from_interpreter_flags() if not flag.startswith("-O")]
    if not names_are_utf8:
        flags += ["-X", "utf8"]
        if sys.stdout is not None and sys.stdout.encoding:
            environment.setdefault(b"PYTHONIOENCODING", f"{sys.stdout.encoding}:backslashreplace".encode())
    os.execve(sys.executable, [*map(os.fsencode, [sys.executable, *flags, *program]), *typed], environment)


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
