"""Which version of a file from elsewhere lies here: a small database beside the files."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Iterator, Optional, Tuple

from asrctl.storage import files
from asrctl.storage.remote.stores import Info

_WAIT_S = 60.0


class Ledger:
    """Losing it costs that files are fetched again. For several threads."""

    def __init__(self, path: Optional[Path]) -> None:
        """path: None where nothing may be written."""
        self._lock = threading.Lock()
        try:
            self._database = _opened(":memory:" if path is None else str(path))
        except sqlite3.DatabaseError:  # damaged, or on a disk that takes no more: it is begun anew
            with suppress(OSError):
                Path(str(path)).unlink()
            self._database = _opened(":memory:")
        self._database.execute(
            "CREATE TEMP TABLE listed (name TEXT PRIMARY KEY, local TEXT UNIQUE, version TEXT, size INTEGER)"
        )

    def is_fresh(self, name: str, path: Path, info: Info) -> bool:
        """Whether the file at `path` is of that version, and as it was when it came."""
        status = files.regular_status(str(path))
        row = self._one("SELECT version, size, mtime FROM files WHERE name = ?", name)
        return status is not None and row == (info.version, status.st_size, status.st_mtime_ns)

    def put(self, name: str, path: Path, info: Info) -> None:
        status = path.stat()
        values = (name, info.version, status.st_size, status.st_mtime_ns)
        with self._lock, suppress(sqlite3.DatabaseError):
            self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", values)

    # -- the files of one folder --------------------------------------------------------------------------------------

    def begin_list(self) -> None:
        with self._lock:
            self._database.execute("DELETE FROM listed")

    def list(self, name: str, local: str, info: Info) -> None:
        values = (name, local, info.version, info.size)
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO listed VALUES (?, ?, ?, ?)", values)

    def is_listed(self, local: str) -> bool:
        return self._one("SELECT 1 FROM listed WHERE local = ?", local) is not None

    def listed(self) -> Iterator[Tuple[str, Info]]:
        """In the order of their names."""
        last = ""
        while True:
            query = "SELECT name, version, size FROM listed WHERE name > ? ORDER BY name LIMIT 1000"
            with self._lock:
                rows = self._database.execute(query, (last,)).fetchall()
            if not rows:
                return
            for name, version, size in rows:
                yield name, Info(size, version)
            last = rows[-1][0]

    def _one(self, query: str, name: str) -> Optional[tuple]:
        with self._lock, suppress(sqlite3.DatabaseError):
            return self._database.execute(query, (name,)).fetchone()
        return None

    def close(self) -> None:
        with self._lock:
            self._database.close()


def _opened(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA synchronous = OFF")
        query = "CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, version TEXT, size INTEGER, mtime INTEGER)"
        database.execute(query)
        database.execute("SELECT * FROM files LIMIT 1").fetchall()
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database
