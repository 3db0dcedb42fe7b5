"""Files of other machines in a folder here, each fetched once: everything that reads finds them as its own.

A corpus is read more than once: listed, digested, decoded. So a file is fetched whole, to `files/SCHEME/HOST/PATH`, and
appears there only when all of it has come. A file that is here is fetched again only when that is another one.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
import threading
from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Dict, List, NamedTuple, Optional, Tuple

from asrctl.errors import StorageError, UsageError
from asrctl.events import Emit, Note, Progress, Warned, ignore
from asrctl.messages import amounts
from asrctl.runtime.threads import in_order
from asrctl.storage import addresses, files
from asrctl.storage.addresses import Address
from asrctl.storage.remote import failures, streaming
from asrctl.storage.remote.fetching import Fetcher
from asrctl.storage.remote.stores import NO_FOLDERS, NOT_THERE, Info, Patience, Refused

# Connections at once: they wait for each other's servers, not for this machine's cores.
THREADS = 8
_RECENT = 4096
_MB = 1e6
_TELL_S = 0.5
# Recordings whose sizes are asked for where none may be fetched.
_ASKED = 64


class Listed(NamedTuple):
    """A file of a folder elsewhere. size: in bytes, where the server says it; is_here: whether it is fetched."""

    size: Optional[int]
    is_here: bool


class Mirror:
    """One for a run of the program. folder: in the workspace's cache.

    download: whether anything may be fetched; write: whether anything may be written.
    """

    def __init__(
        self,
        folder: Path,
        emit: Emit = ignore,
        *,
        download: bool = True,
        write: bool = True,
        patience: Patience = Patience(),
    ) -> None:
        self._folder = folder
        self._emit = emit
        self._download = download
        self._write = write
        # The folder of a list that was fetched: relative paths in the list lead from there.
        self.top: Optional[Address] = None
        self._scratch: Optional[tempfile.TemporaryDirectory] = None
        self._files = Fetcher(folder, patience, write=write)
        self.local = self._files.local
        self._lock = threading.Lock()
        self._tasks: "SimpleQueue[Optional[Tuple[Future, Address]]]" = SimpleQueue()
        self._threads: List[threading.Thread] = []
        self._asked: "OrderedDict[Address, Future]" = OrderedDict()
        self._count, self._planned, self._sized, self._sized_bytes = 0, 0, 0, 0

    def holds(self, path: str) -> bool:
        """Whether a path of this machine is that of something fetched."""
        return path.startswith(os.path.join(str(self._folder), "files", ""))

    def meant(self, folder: str, written: str) -> Optional[Address]:
        """What a list in `folder` means by a path, where that lies on another machine; else None."""
        if addresses.is_known(written):
            return addresses.parsed(written)
        if self.top is None or written.startswith("/") or folder != str(self.local(self.top)):
            return None
        path = posixpath.normpath(posixpath.join(self.top.path, written))
        return None if path.startswith("..") else self.top._replace(path=path)

    def close(self) -> None:
        """Nothing is fetched any more; what is under way comes to its end unseen."""
        self._files.stopped.set()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(0.1)
        if self._scratch is not None:
            self._scratch.cleanup()

    # -- single files -------------------------------------------------------------------------------------------------

    def ahead(self, address: Address) -> None:
        """Begin to fetch what will soon be asked for."""
        if self._download and self._write:
            self._future(address)

    def get(self, address: Address) -> Path:
        """Raises BadData, MissingArtifact, MissingDependency, OSError."""
        path = self.local(address)
        if not self._download:
            if not path.is_file():
                raise failures.forbidden(address)
            return path
        if not self._write:
            return self._only_asked(address, path)
        future = self._future(address)
        is_new = not future.done()
        self._wait(future, address)
        self._tell_breaks()
        if is_new:
            self._count += 1
            self._emit(Progress("fetch", self._count, None, "files", amounts.size(self._files.come_bytes)))
        return path

    def _tell_breaks(self) -> None:
        if self._files.warned:
            self._emit(Warned(self._files.warned))
            self._files.warned = ""

    def _wait(self, future: Future, address: Address) -> None:
        """Raises what fetching raised."""
        from concurrent.futures import TimeoutError as FutureTimeoutError

        while True:
            try:
                return future.result(timeout=_TELL_S)
            except FutureTimeoutError:
                if future.done():
                    raise
                come = round(self._files.come_bytes / _MB, 1)
                self._emit(Progress(f"download {address.shown}", come, None, "MB"))

    def peek(self, address: Address, most: int) -> bytes:
        """The beginning of a file that need not be here, of `most` bytes. Raises BadData, MissingDependency."""
        info = self._files.info(address)
        size = most if info.size is None else min(most, info.size)
        store = self._files.store(address)
        return self._files.told(address, lambda: store.read(address, 0, size, info)) if size else b""

    def streamed(self, address: Address, known: Optional[Info] = None) -> Path:
        """What lies here in the place of a file that is read where it is; the file itself where it has been fetched.

        Raises BadData, MissingArtifact, MissingDependency, UsageError, OSError.
        """
        if not self._download:
            raise failures.forbidden(address)
        if address.whole() not in (address.shown, address.shown + "/") or address.login:
            what = f"the address of {address.shown} holds who may read it, which is kept nowhere"
            raise UsageError(f"{what}, and --streaming keeps addresses", fix="leave --streaming out")
        info = known or self._files.info(address)
        path = self.standing(address)
        if self._write and self._files.is_here(address, info):
            return path
        files.make_folder(path.parent)
        streaming.write(path, address, info)
        return path

    def standing(self, address: Address) -> Path:
        """Where what stands for a file or folder lies: for a dry run, in a folder that goes with this mirror."""
        if self._write:
            return self.local(address)
        with self._lock:  # several threads ask at once
            if self._scratch is None:
                self._scratch = tempfile.TemporaryDirectory()
            return Path(self._scratch.name) / address.local

    def _only_asked(self, address: Address, path: Path) -> Path:
        """What a dry run does in place of fetching: count, and ask for the sizes of some."""
        self._planned += 1
        if self._sized < _ASKED:
            info = self._files.info(address)
            self._sized += 1
            self._sized_bytes += (info.size or 0) if not self._files.is_here(address, info) else 0
        return path

    @property
    def planned(self) -> Dict[str, int]:
        """{what: bytes} that would have been fetched, as far as some of the files tell."""
        if not self._sized_bytes:
            return {}
        what = amounts.count(self._planned, "file named by the list", "files named by the list")
        return {what: self._sized_bytes * self._planned // self._sized}

    def _future(self, address: Address) -> Future:
        with self._lock:
            future = self._asked.get(address)
            if future is None:
                future = self._asked[address] = Future()
                if len(self._threads) < THREADS:
                    self._threads.append(threading.Thread(target=self._work, daemon=True))
                    self._threads[-1].start()
                self._tasks.put((future, address))
                if len(self._asked) > _RECENT:
                    self._asked.popitem(last=False)
        return future

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            if task is None or self._files.stopped.is_set():
                return
            future, address = task
            try:
                future.set_result(self._files.fetch(address, None))
            except BaseException as error:  # raised again where it is asked for
                future.set_exception(error)

    # -- folders ------------------------------------------------------------------------------------------------------

    def whole(self, address: Address, streams: Tuple[str, ...] = ()) -> Path:
        """The file or folder, fetched, but for files with the endings `streams`: these are read where they are.

        Raises BadData, MissingArtifact, MissingDependency, StorageError, UsageError, OSError.
        """
        path = self.local(address)
        if not self._download:
            if not path.exists():
                raise failures.forbidden(address)
            return path
        if self._is_file(address):
            return self.streamed(address) if address.path.endswith(streams) and streams else self.get(address)
        missing, size, _ = self._listed(address, streams)
        if missing:
            self._tell_size(missing, size, address)
        self._fetch_listed(address, size, streams)
        if not self._write:
            return self.standing(address) if streams else path
        self._remove_others(path)
        return path

    def missing(self, address: Address, streams: Tuple[str, ...] = ()) -> Dict[str, int]:
        """{file or folder: bytes} that `whole` would fetch. Raises as it does."""
        if not self._download:
            return {}
        if self._is_file(address):
            if address.path.endswith(streams) and streams:
                return {}
            info = self._files.info(address)
            is_here = self._files.is_here(address, info)
            return {} if is_here else {address.shown: info.size or 0}
        missing, size, _ = self._listed(address, streams)
        return {f"{amounts.count(missing, 'file')} of {address.shown}": size} if missing else {}

    def names(self, address: Address) -> Dict[str, Listed]:
        """{path below a folder: what is known of it} of all files in it. Raises BadData, MissingDependency."""
        self._is_file(address)
        self._listed(address)
        found = {}
        for name, info in self._files.ledger.listed():
            inner = address.beside(name)
            found[name] = Listed(info.size, self._files.is_here(inner, info))
        return found

    def _is_file(self, address: Address) -> bool:
        if address.is_web and (not address.path or address.path.endswith("/")):
            raise failures.refused(address, Refused(NO_FOLDERS, ""))
        return self._files.told(address, lambda: self._files.store(address).info(address)) is not None

    def _listed(self, address: Address, streams: Tuple[str, ...] = ()) -> Tuple[int, int, int]:
        """(files that are not here, bytes of them, all files); the ledger has the list. Raises BadData."""
        ledger, store = self._files.ledger, self._files.store(address)

        def look() -> Tuple[int, int, int]:
            missing = size = known = 0
            ledger.begin_list()
            for name, info in store.below(address):
                inner = address.beside(name)
                ledger.list(name, inner.local, info)
                known += 1
                is_streamed = bool(streams) and name.endswith(streams)
                if not is_streamed and not self._files.is_here(inner, info):
                    missing, size = missing + 1, size + (info.size or 0)
                if known % 1000 == 0:
                    self._emit(Progress("list", known, None, "files"))
            return missing, size, known

        found = self._files.told(address, look)
        if not found[2]:
            raise failures.refused(address, Refused(NOT_THERE, "nothing lies there"))
        return found

    def _tell_size(self, count: int, size: int, address: Address) -> None:
        """Say how much will come and how much fits. Raises StorageError where it does not fit."""
        files.make_folder(self._folder)
        free = shutil.disk_usage(str(self._folder)).free
        what = f"{amounts.count(count, 'file')} of {address.shown}"
        self._emit(Note(f"to download: {what}, {amounts.size(size)} into {self._folder} ({amounts.size(free)} free)"))
        if size > free:
            raise StorageError(
                f"{address.shown} needs {amounts.size(size)}, and {self._folder} has {amounts.size(free)} free",
                fix="free some space, or choose a --workspace on a larger disk",
            )

    def _fetch_listed(self, address: Address, size: int, streams: Tuple[str, ...]) -> None:
        def fetch(item: Tuple[str, Info]) -> None:
            if streams and item[0].endswith(streams):
                self.streamed(address.beside(item[0]), item[1])
            else:
                self._files.fetch(address.beside(item[0]), item[1])

        def stalled(item: Tuple[str, Info], waited_s: float) -> None:
            self._emit(Warned(f"no progress for {waited_s:.0f} s: still fetching {item[0]}"))

        for _ in in_order(fetch, self._files.ledger.listed(), workers=THREADS, on_stall=stalled):
            self._tell_breaks()
            total = round(size / _MB, 1)
            if size:
                self._emit(Progress(f"download {address.shown}", round(self._files.come_bytes / _MB, 1), total, "MB"))

    def _remove_others(self, top: Path) -> None:
        """What is no longer there must not be read here."""
        before = len(str(self._folder / "files")) + 1
        for folder, _, names in os.walk(str(top)):
            for name in names:
                path = os.path.join(folder, name)
                if not self._files.ledger.is_listed(path[before:]):
                    Path(path).unlink()
