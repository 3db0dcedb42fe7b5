"""Which folders below a corpus folder are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence, Set, Tuple

from asrctl.data.corpus import refuse_outside
from asrctl.data.reading.file_names import is_hidden
from asrctl.data.reading.tally import Tally
from asrctl.errors import BadData
from asrctl.events import Emit, Note, Warned
from asrctl.storage import files
from asrctl.storage.workspace import MARKER

_MAX_DEPTH = 64


class Walk:
    """Walks folders in order, all but hidden ones and workspaces of asrctl.

    A link to a folder is one of them, but none is entered twice through links: what leads in a circle comes to an end.
    Nor is a link followed into what is walked without it, or up to a folder that holds the corpus.
    """

    def __init__(self, source: Path, root: Optional[Path]) -> None:
        self._source = os.path.realpath(str(source))
        self._root = root
        self._behind: Set[str] = set()  # folders that a link has led to
        self._entered: Set[Tuple[int, int]] = set()
        self._links, self._workspaces = Tally(), Tally()

    def below(
        self, top: Path, last: Callable[[List[str]], bool] = lambda names: False
    ) -> Iterator[Tuple[str, List[str]]]:
        """(folder, visible files in it) in order. Below a folder for whose files `last` holds, nothing is walked.

        Raises BadData (--root, or too deep), OSError.
        """
        for folder, folders, names in os.walk(str(top), onerror=_refuse, followlinks=True):
            _refuse_depth(folder, top)
            visible = sorted(name for name in names if not is_hidden(name))
            folders[:] = [] if last(visible) else self._folders(folder, folders)
            yield folder, visible

    def tell(self, emit: Emit) -> None:
        """Which folders were left out that somebody may miss."""
        if self._links:
            count = f"{self._links.count} links to folders are" if self._links.count > 1 else "a link to a folder is"
            such = ", such as" if self._links.count > 1 else ":"
            why = "what it leads to holds this corpus, or is read without it"
            emit(Warned(f"{count} not followed{such} {self._links.first} ({why})"))
        if self._workspaces:
            emit(Note(f"{self._workspaces.first} is a workspace of asrctl: it is not read as part of the corpus"))

    def _folders(self, folder: str, names: Sequence[str]) -> List[str]:
        walked = (name for name in sorted(names) if not is_hidden(name) and self._may_enter(folder, name))
        return [name for name in walked if not self._is_workspace(os.path.join(folder, name))]

    def _is_workspace(self, path: str) -> bool:
        found = is_workspace(Path(path))
        if found:
            self._workspaces.add(path)
        return found

    def _may_enter(self, folder: str, name: str) -> bool:
        path = os.path.join(folder, name)
        is_link = Path(path).is_symlink()
        if not is_link and folder not in self._behind:
            return True
        if is_link and self._is_near(os.path.realpath(path)):
            return self._leave_out(path)
        refuse_outside(self._root, path)
        status = Path(path).stat()
        if (status.st_dev, status.st_ino) in self._entered:
            return self._leave_out(path) if is_link else False
        self._entered.add((status.st_dev, status.st_ino))
        self._behind.add(path)
        return True

    def _is_near(self, target: str) -> bool:
        """Whether a folder holds the corpus, or lies in it where it is walked anyway."""
        if os.path.commonpath([target, self._source]) == target:
            return True
        inner = Path(os.path.relpath(target, self._source)).parts  # begins with ".." where it lies elsewhere
        return not any(is_hidden(part) for part in inner)

    def _leave_out(self, path: str) -> bool:
        self._links.add(path)
        return False


def is_workspace(folder: Path) -> bool:
    """Whether a folder is a workspace of asrctl, of whatever version."""
    marker = folder / MARKER
    try:
        found = files.read_json(marker, fix="") if files.is_file(marker) else None
    except (BadData, OSError):
        return False
    return isinstance(found, dict) and isinstance(found.get("schema"), int)


def _refuse(error: OSError) -> None:
    raise error


def _refuse_depth(folder: str, top: Path) -> None:
    """Raises BadData: no corpus is that deep, and to walk on would take more stack than there is."""
    if len(Path(folder).relative_to(top).parts) > _MAX_DEPTH:
        raise BadData(f"{top} holds folders nested more than {_MAX_DEPTH} deep", fix="leave these out")
