"""One file at a time from elsewhere into a folder, going on where an earlier try stopped or a connection broke.

What has come of a file lies in `parts/`, and the rest is fetched behind it if the file has still the same version (by
size and ETag, or what the server has instead).
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Callable, Dict, Optional, TypeVar

from asrctl.storage import files, flock
from asrctl.storage.addresses import Address
from asrctl.storage.remote import failures, open_store
from asrctl.storage.remote.ledger import Ledger
from asrctl.storage.remote.stores import NOT_THERE, Broken, Changed, Info, Patience, Refused, Store, appended, patiently

_VERSIONS = 3

Result = TypeVar("Result")


class Fetcher:
    """For several threads. folder: takes `files/`, `parts/` and the ledger of both. write: whether it may be written.

    come_bytes: that have been fetched; warned: what is to be told of the last connection that broke; stopped: ends
    further tries.
    """

    def __init__(self, folder: Path, patience: Patience, *, write: bool) -> None:
        self._folder = folder
        self._patience = patience
        self._write = write
        self._stores: Dict[str, Store] = {}
        self._opened: Optional[Ledger] = None
        self._lock = threading.Lock()
        self.come_bytes, self.warned = 0, ""
        self.stopped = threading.Event()

    def local(self, address: Address) -> Path:
        """Where a file or folder lies here, when it has been fetched."""
        return self._folder / "files" / address.local

    def is_here(self, address: Address, info: Info) -> bool:
        """Whether that version of a file has been fetched."""
        return self.ledger.is_fresh(address.local, self.local(address), info)

    def fetch(self, address: Address, known: Optional[Info]) -> Path:
        """Raises BadData, MissingDependency, OSError. known: what its folder's list says of it."""
        path = self.local(address)
        info = known or self.info(address)
        for _ in range(_VERSIONS):
            if self.ledger.is_fresh(address.local, path, info):
                return path
            try:
                self._bring(address, info, path)
                return path
            except Changed:
                info = self.info(address)
        raise failures.changing(address)

    def info(self, address: Address) -> Info:
        found = self.told(address, lambda: self.store(address).info(address))
        if found is None:
            raise failures.refused(address, Refused(NOT_THERE, "it is a folder"))
        return found

    def told(self, address: Address, work: Callable[[], Result]) -> Result:
        """What `work` returns; what a store raises becomes a sentence. Raises BadData."""
        try:
            return patiently(work, self._patience, self._remember, self.stopped)
        except Broken as error:
            raise failures.broken(address, str(error), 0, None) from None
        except Refused as error:
            raise failures.refused(address, error) from None

    def _remember(self, reason: str) -> None:
        self.warned = f"a connection broke ({reason}) and is made again"

    def _bring(self, address: Address, info: Info, path: Path) -> None:
        """Raises Changed, BadData, OSError."""
        files.make_folder(self._folder / "parts")
        files.make_folder(path.parent)
        name = hashlib.sha256(address.local.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        version = hashlib.sha256(info.version.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        part = self._folder / "parts" / f"{name}-{version}.part"
        with open(part, "a+b") as stream:
            flock.take(stream, part, wait=True)
            if self.ledger.is_fresh(address.local, path, info):  # somebody else was first
                part.unlink()
                return
            self._fill(address, info, stream)
            stream.flush()
            os.replace(part, path)
        self.ledger.put(address.local, path, info)
        for other in part.parent.glob(f"{name}-*.part"):  # of an earlier version
            with suppress(FileNotFoundError):
                other.unlink()

    def _fill(self, address: Address, info: Info, stream: IO[bytes]) -> None:
        """Raises Changed, BadData, OSError."""
        store = self.store(address)

        def have() -> int:
            return stream.seek(0, os.SEEK_END)

        try:
            work = functools.partial(appended, store, address, info, stream, self._count_bytes)
            patiently(work, self._patience, self._remember, self.stopped, have)
        except Broken as error:
            raise failures.broken(address, str(error), have(), info.size) from None
        except Refused as error:
            raise failures.refused(address, error) from None

    def _count_bytes(self, count: int) -> None:
        with self._lock:
            self.come_bytes += count

    def store(self, address: Address) -> Store:
        """Raises MissingDependency."""
        with self._lock:
            if address.scheme not in self._stores:
                self._stores[address.scheme] = open_store(address, self._patience)
            return self._stores[address.scheme]

    @property
    def ledger(self) -> Ledger:
        with self._lock:
            if self._opened is None:
                path = self._folder / "versions.sqlite"
                if self._write:
                    files.make_folder(self._folder)
                self._opened = Ledger(path if self._write or path.is_file() else None)
            return self._opened
