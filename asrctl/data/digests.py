"""What identifies the audio of utterances: the digest of each file, archive or cell, read or known from before."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from asrctl.data.reading.embedded import CellReader
from asrctl.data.utterance import ARCHIVE_SEPARATOR, Utterance, is_table, split_path
from asrctl.errors import BadData
from asrctl.events import Emit, Progress, Warned
from asrctl.runtime.os_errors import fault_of_file
from asrctl.runtime.threads import in_order
from asrctl.storage import files, stat_cache
from asrctl.storage.remote import streaming

_CHUNK = 64
# Of the contents of cells, which are read before they are handed to a thread.
_CHUNK_BYTES = 4 << 20
_RECENT = 4096
# Is shown the path of an audio file or archive, and its status: None where there is no such file.
Saw = Callable[[str, Optional[os.stat_result]], None]


def filled_in(
    utterances: Iterable[Utterance],
    total: int,
    cache: stat_cache.StatCache,
    saw: Saw,
    *,
    workers: int,
    afresh: bool,
    emit: Emit,
) -> Iterator[Utterance]:
    """The utterances with the digests of their audio, None where that can not be read. cache: of digests.

    total: how many there are. afresh: read every file, also those that look unchanged. Raises OSError.
    """
    known = _Known(cache, afresh)
    done = 0
    for chunk in in_order(_Hasher(), known.chunks(utterances), workers=workers, on_stall=_reporter(emit)):
        for item in chunk:
            known.remember(item)
            saw(item.container, item.status)
            yield replace(item.utterance, sha256=_digest_of(item))
        done += len(chunk)
        emit(Progress("check audio", done, total, "utterances"))


class _Audio(NamedTuple):
    """An utterance, and what is known of its audio file: status None where it can not be used.

    content: of the cell of a table, where its digest is not known.
    """

    utterance: Utterance
    container: str
    status: Optional[os.stat_result]
    sha256: Optional[str]
    content: Optional[bytes] = None

    @property
    def hashed(self) -> str:
        """What the digest is of: the file or archive, or the cell of a table."""
        return self.utterance.audio if is_table(self.container) else self.container


def _reporter(emit: Emit) -> Any:
    def stalled(chunk: List[_Audio], waited_s: float) -> None:
        emit(Warned(f"no progress for {waited_s:.0f} s: still reading {chunk[0].container} or a file after it"))

    return stalled


class _Known:
    """Digests that need no reading: of files seen a moment ago, or (but for afresh) unchanged since an earlier run."""

    def __init__(self, cache: stat_cache.StatCache, afresh: bool) -> None:
        self._cache = cache
        self._afresh = afresh
        self._recent: "OrderedDict[str, Tuple[Optional[os.stat_result], Optional[str]]]" = OrderedDict()
        self._cells: Optional[CellReader] = None

    def chunks(self, utterances: Iterable[Utterance]) -> Iterator[List[_Audio]]:
        chunk: List[_Audio] = []
        held = 0
        for utterance in utterances:
            item = self._seen(utterance)
            chunk.append(item)
            held += len(item.content or b"")
            if len(chunk) >= _CHUNK or held >= _CHUNK_BYTES:
                yield chunk
                chunk, held = [], 0
        if chunk:
            yield chunk

    def _seen(self, utterance: Utterance) -> _Audio:
        container, member = split_path(utterance.audio)
        is_cell = member is not None and is_table(container)
        hashed = utterance.audio if is_cell else container
        status, digest = self._recent.get(hashed) or (files.regular_status(container), None)
        if status is not None and digest is None and not self._afresh:
            digest = self._cache.get(hashed, status)
        content = self._content(container, member) if is_cell and status is not None and digest is None else None
        return _Audio(utterance, container, status, digest, content)

    def _content(self, table: str, cell: Optional[str]) -> Optional[bytes]:
        """Of a cell; None where it can not be read. Raises OSError."""
        if self._cells is None or str(self._cells.path) != table:
            self._cells = CellReader(Path(table))
        try:
            return self._cells.read(cell or "")
        except BadData:  # told when it is to be decoded
            return None

    def remember(self, item: _Audio) -> None:
        if item.hashed in self._recent:
            return
        if item.status is not None and item.sha256 is not None:
            self._cache.put(item.hashed, item.status, item.sha256)
        self._recent[item.hashed] = (item.status, item.sha256)
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)


class _Hasher:
    """Fills in missing digests; a file that several utterances share is read by one thread, once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: "OrderedDict[str, Future]" = OrderedDict()

    def __call__(self, chunk: List[_Audio]) -> List[_Audio]:
        return [self._filled(item) for item in chunk]

    def _filled(self, item: _Audio) -> _Audio:
        if item.status is None or item.sha256 is not None:
            return item
        if is_table(item.container):
            digest = hashlib.sha256(item.content).hexdigest() if item.content is not None else None
            return item._replace(sha256=digest, content=None)
        return item._replace(sha256=self._digest(item.container))

    def _digest(self, path: str) -> Optional[str]:
        with self._lock:
            first = path not in self._found
            future = self._found.setdefault(path, Future())
            if len(self._found) > _RECENT:
                self._found.popitem(last=False)
        if first:
            try:
                future.set_result(_sha256(path))
            except BaseException as error:
                future.set_exception(error)
        return future.result()


def _sha256(path: str) -> Optional[str]:
    """None where the file can not be read to its end."""
    try:
        return streaming.sha256(Path(path))
    except OSError as error:
        if fault_of_file(error) is None:
            raise
        return None


def _digest_of(item: _Audio) -> Optional[str]:
    """The digest of the file or cell; for a member of an archive, one of the archive's digest and the member's name."""
    member = split_path(item.utterance.audio)[1]
    if item.sha256 is None or member is None or is_table(item.container):
        return item.sha256
    return hashlib.sha256(f"{item.sha256}{ARCHIVE_SEPARATOR}{member}".encode("utf-8", "surrogatepass")).hexdigest()
