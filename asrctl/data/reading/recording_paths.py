"""Where the recordings of a list lie, when its paths were written for another system or place."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from itertools import chain
from pathlib import PurePosixPath
from typing import Callable, Dict, Iterator, List, Optional, Tuple
from urllib.parse import unquote, urlsplit

from asrctl.data.reading.file_names import folded, is_audio, stem_of
from asrctl.data.reading.path_map import PathMap, proposal
from asrctl.data.reading.tally import Tally
from asrctl.data.utterance import ARCHIVE_SEPARATOR, split_path
from asrctl.events import Emit, Note
from asrctl.messages import amounts
from asrctl.storage import files
from asrctl.storage.remote.failures import NotFetched
from asrctl.storage.remote.mirror import Mirror

# Where corpora keep recordings beside a list that names them without a folder: Common Voice, LJ Speech and others.
_BESIDE = ("clips", "wavs", "wav", "audio")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# Names of folders that are kept, at most so many; a folder of more is not searched for similar names.
_MAX_ENTRIES = 1 << 17
# Of a folder: {folded name: the one that has it, None where several have}, the same for stems of recordings.
_Index = Tuple[Dict[str, Optional[str]], Dict[str, Optional[str]]]


class Places:
    """Finds the files of lists, and keeps account of how. path_map: of a corpus that has the option --map. remote:
    fetches those that lie on other machines."""

    def __init__(self, path_map: Optional[PathMap] = None, remote: Optional[Mirror] = None) -> None:
        self._path_map = path_map
        self._remote = remote
        self._indexes: "OrderedDict[str, Optional[_Index]]" = OrderedDict()
        self._entries = 0
        self._last = ("", "", "")
        self._found: Dict[str, Tally] = {}
        self._missing: Dict[str, Tally] = {}

    def find(self, folder: str, written: str) -> str:
        """The path of a recording, as good as it can be known; that of an archive's member likewise.

        folder: where the list lies. written: the path in it.
        """
        if (folder, written) != self._last[:2]:
            container, member = split_path(written)
            container = self._path_map(container) if self._path_map is not None else container
            path = self._fetched(folder, container) or os.path.join(folder, container)
            if not _is_there(path) and not self._is_kept(path):
                path = self._elsewhere(folder, container) or path
            self._last = (folder, written, path if member is None else f"{path}{ARCHIVE_SEPARATOR}{member}")
        return self._last[2]

    def ahead(self, folder: str, written: str) -> None:
        """Begin to fetch what will soon be looked for, where it lies elsewhere."""
        container = split_path(written)[0]
        address = self._remote.meant(folder, container) if self._remote is not None else None
        if self._remote is not None and address is not None:
            self._remote.ahead(address)

    def _fetched(self, folder: str, written: str) -> Optional[str]:
        """The path of what lies on another machine; None for what does not. Raises BadData, MissingArtifact."""
        address = self._remote.meant(folder, written) if self._remote is not None else None
        if self._remote is None or address is None:
            return None
        try:
            return str(self._remote.get(address))
        except NotFetched as error:
            self._missing.setdefault("elsewhere", Tally()).add(f"{error.fix}: {error.message}")
            return str(self._remote.local(address))

    def tell(self, emit: Emit, hint: Callable[[str, str], None]) -> None:
        """How paths were found that are not as they are written, and what is wrong with most of the others."""
        if self._path_map is not None:
            self._path_map.tell()
        for how, tally in self._found.items():
            emit(
                Note(
                    f"{amounts.count(tally.count, 'path')} of the list {amounts.noun(tally.count, 'was', 'were')} "
                    f"found {how}, such as {tally.first}"
                )
            )
        if self._missing:
            hint("no-audio", max(self._missing.items(), key=lambda item: item[1].count)[1].first)

    def _is_kept(self, path: str) -> bool:
        """Whether it is what would be here of another machine: nothing else is meant by it."""
        return self._remote is not None and self._remote.holds(path)

    def _elsewhere(self, folder: str, written: str) -> Optional[str]:
        for how, path in chain(_candidates(folder, written), self._similar(folder, written)):
            if _is_there(path):
                self._found.setdefault(how, Tally()).add(f"{written} ({path})")
                return path
        cause, cure = _cure(folder, written, can_map=self._path_map is not None)
        self._missing.setdefault(cause, Tally()).add(cure)
        return None

    def _similar(self, folder: str, written: str) -> Iterator[Tuple[str, str]]:
        """(how, path) of files whose names differ in case, in Unicode form or by the ending, where there is but one."""
        for top in ("", *_BESIDE):
            start = os.path.join(folder, top)
            for _, form in _forms(written) if _is_there(start) else ():
                found = self._nearly(start, form)
                if found is not None:
                    yield found

    def _nearly(self, start: str, form: str) -> Optional[Tuple[str, str]]:
        parts = PurePosixPath(form).parts
        how, path = "by names that differ in case or Unicode form", start
        for depth, part in enumerate(parts):
            inner = os.path.join(path, part)
            if not _is_there(inner):
                names, stems = self._index(path) or ({}, {})
                name = names.get(folded(part))
                if name is None and depth == len(parts) - 1 and not is_audio(part):
                    how, name = "with an ending that they lack", stems.get(folded(part))
                if name is None:
                    return None
                inner = os.path.join(path, name)
            path = inner
        return how, path

    def _index(self, folder: str) -> Optional[_Index]:
        """What is in a folder; None where that is too much, or nothing."""
        if folder not in self._indexes:
            names: List[str] = []
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        names.append(entry.name)
                        if len(names) > _MAX_ENTRIES:
                            break
            except OSError:
                names = []
            self._entries += len(names)
            while self._indexes and self._entries > _MAX_ENTRIES:
                self._entries -= len((self._indexes.popitem(last=False)[1] or ({}, {}))[0])
            self._indexes[folder] = _indexed(names) if 0 < len(names) <= _MAX_ENTRIES else None
        return self._indexes[folder]


def _is_there(path: str) -> bool:
    """Whether there is anything of that name; no name is too odd to ask."""
    try:
        return os.access(path, os.F_OK)
    except ValueError:
        return False


def _forms(written: str) -> Iterator[Tuple[str, str]]:
    """(how, path) of what may be meant: as it is, or as a path of this system."""
    yield "", written
    if written.lower().startswith("file:"):
        yield "as URLs", unquote(urlsplit(written).path)
    if written.startswith("~"):
        yield "in the home folder", str(files.expanded(written))
    if "\\" in written and not _DRIVE.match(written):
        yield "with / in place of \\", written.replace("\\", "/")
    if "%" in written:
        yield "with the characters that % stands for", unquote(written)


def _candidates(folder: str, written: str) -> Iterator[Tuple[str, str]]:
    for how, form in _forms(written):
        yield how, os.path.join(folder, form)
    for beside in _BESIDE:
        for _, form in _forms(written):
            yield f"in {beside}/ beside the list", os.path.join(folder, beside, form)


def _cure(folder: str, written: str, can_map: bool) -> Tuple[str, str]:
    """(what kind of path is not found, what to do about it)."""
    if _SCHEME.match(written) and not written.lower().startswith("file:"):
        return "url", f"download the recordings first and write their paths: {written} is not fetched"
    if written[:1] in "'\"" and written[-1:] == written[:1]:
        return "quotes", f"take the quotes off the paths, such as {written}"
    path = written.replace("\\", "/")
    if not _DRIVE.match(written) and not written.startswith("/"):
        return "relative", f"correct the paths, which lead from {folder}: {written} is not there"
    parts = [part for part in path.split("/") if part]
    for at in range(1, len(parts)):
        rest = "/".join(parts[at:])
        if _is_there(os.path.join(folder, rest)):
            if can_map:
                return "absolute", proposal(written, rest, folder)
            return "absolute", f"take {written[: len(path) - len(rest)]} off the paths: {rest} lies in {folder}"
    if can_map:
        return "absolute", proposal(written, None, folder)
    kind = "paths of Windows" if _DRIVE.match(written) else "those of another place"
    return "absolute", f"write paths that lead from {folder} rather than {kind}: {written} is not there"


def _indexed(names: List[str]) -> _Index:
    by_name: Dict[str, Optional[str]] = {}
    by_stem: Dict[str, Optional[str]] = {}
    for name in names:
        by_name[folded(name)] = None if folded(name) in by_name else name
        if is_audio(name):
            stem = folded(stem_of(name))
            by_stem[stem] = None if stem in by_stem else name
    return by_name, by_stem
