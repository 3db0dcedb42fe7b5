"""Which recordings `asrctl transcribe` is asked for: files, what lies in folders, or what comes in on stdin."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Iterator, List, Optional, Sequence

from asrctl.data.reading import file_names
from asrctl.errors import BadData, MissingArtifact, UsageError
from asrctl.storage import files

STDIN = "-"
_FIX = "name recordings, or a folder that holds some"


@dataclass(frozen=True)
class Source:
    """A recording. path: where it is. name: how it is shown, and its output is called: from the folder that was typed,
    or the name of the file. is_stdin: it came in there, and lies in a temporary file."""

    path: Path
    name: str
    is_stdin: bool = False


def find(typed: Sequence[str], stdin: Optional[Path]) -> List[Source]:
    """The recordings, in the order in which they were typed, those of a folder by name; none twice.

    stdin: the file that what comes in there was put into. Raises MissingArtifact, BadData, UsageError.
    """
    if not typed:
        raise UsageError("no recording is named", fix=_FIX)
    found: List[Source] = []
    for word in typed:
        path = files.expanded(word)
        if word == STDIN:
            found.append(Source(stdin or path, "stdin", is_stdin=True))
        elif files.is_folder(path):
            found += _in_folder(path)
        elif files.is_file(path):
            found.append(Source(path, path.name))
        elif os.path.lexists(str(path)):
            raise BadData(f"{word} is no regular file", fix="name a recording; of a pipe, `-` takes what comes in")
        else:
            raise MissingArtifact(f"there is no {word}", fix="check the path")
    return list({os.path.realpath(str(source.path)): source for source in reversed(found)}.values())[::-1]


def _in_folder(folder: Path) -> List[Source]:
    """Recordings at any depth, by what their names end in. Raises BadData where there is none."""
    found = []
    for root, folders, names in os.walk(str(folder), followlinks=False):
        folders[:] = sorted(name for name in folders if not file_names.is_hidden(name))
        for name in sorted(names):
            path = Path(root) / name
            if file_names.is_audio(name) and not file_names.is_hidden(name) and files.is_file(path):
                found.append(Source(path, PurePosixPath(path.relative_to(folder)).as_posix()))
    if not found:
        endings = ", ".join(suffix[1:] for suffix in file_names.AUDIO_SUFFIXES)
        raise BadData(f"{folder} holds no recording (files ending in {endings})", fix=_FIX)
    return found


@contextmanager
def stdin_file(typed: Sequence[str]) -> Iterator[Optional[Path]]:
    """What comes in on stdin, in a temporary file, as the index of a video may lie at its end; else None.

    Raises UsageError where a person would have to type it.
    """
    if STDIN not in typed:
        yield None
        return
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("nothing is piped in", fix="pipe a recording in: `asrctl transcribe - < FILE`")
    with tempfile.NamedTemporaryFile(prefix="asrctl-") as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream)
        stream.flush()
        yield Path(stream.name)
