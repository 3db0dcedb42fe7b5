"""Which folder a published corpus lies in, where people point at it or at a folder around it; which file is meant."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Callable, List, Optional

from asrctl.data.reading.file_names import AUDIO_SUFFIXES, is_hidden
from asrctl.errors import BadData
from asrctl.storage import files

_PACKED = (".gz", ".bz2", ".xz", ".tar", ".tgz")


def corpus_folder(source: Path, is_corpus: Callable[[Path], bool], *, what: str, has: str) -> Path:
    """`source`, or the one folder in it that is such a corpus. Raises BadData.

    what: the corpus, for people; has: what such a folder holds.
    """
    if source.is_file():
        is_packed = source.name.lower().endswith(_PACKED)
        fix = f"unpack it (tar -xf {shlex.quote(str(source))}) and give the folder" if is_packed else "give the folder"
        raise BadData(f"{source} is a file, not the folder of {what}", fix=fix)
    if not source.is_dir():
        raise BadData(f"there is no {source}", fix=f"give the folder of {what}, which holds {has}")
    if is_corpus(source):
        return source
    found = inner(source, is_corpus)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(shlex.quote(str(path)) for path in found)
        raise BadData(f"{source} holds {len(found)} folders of {what}", fix=f"give one of them: {names}")
    raise BadData(f"{source} is not the folder of {what}", fix=f"give the folder that holds {has}")


def inner(source: Path, is_corpus: Callable[[Path], bool]) -> List[Path]:
    """The folders in a folder that are such a corpus, by name."""
    folders = (path for path in sorted(source.iterdir()) if not is_hidden(path.name) and path.is_dir())
    return [path for path in folders if is_corpus(path)]


class Endings:
    """Finds the recording of a stem, by the ending that the last one had, or else any that recordings have."""

    def __init__(self, *first: str) -> None:
        self._known = [*first, *(ending for ending in AUDIO_SUFFIXES if ending not in first)]

    def find(self, stem: Path) -> Optional[Path]:
        """stem: the path without its ending. None where there is no such file."""
        for ending in self._known:
            for written in (ending, ending.upper()):
                path = stem.with_name(stem.name + written)
                if files.is_file(path):
                    self._known.remove(ending)
                    self._known.insert(0, ending)
                    return path
        return None
