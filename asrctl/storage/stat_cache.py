"""(path, stat) -> sha256 in a small database, as git's index does: a rerun does not hash 60 GB again.

The time of the last content (mtime) is what whoever wrote the file says, and archives with fixed times say the same of
every version; hence the time of the last change (ctime), which no program can set, and the inode count too.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

_COMMIT_ROWS = 1000
# A file changed twice within a clock tick looks unchanged: what was touched just now is not remembered.
_FRESH_NS = 2 * 10**9
_WAIT_S = 60.0
_SHA256 = re.compile("[0-9a-f]{64}")
_IN_MEMORY = ":memory:"
# The message of an error can be built from what is damaged.
_DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)


class StatCache:
    """Open with `opened`. Losing the file costs time, nothing else: where it can not be written, nothing is kept."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._new: List[Tuple[bytes, str, str]] = []
        self.damaged = False

    def get(self, path: str, status: os.stat_result) -> Optional[str]:
        """The digest of a file that has not changed since it was put in."""
        query = "SELECT sha256 FROM digests WHERE path = ? AND seen = ?"
        try:
            found = self._database.execute(query, (os.fsencode(path), _seen(status))).fetchone()
        except _DAMAGED:  # somewhere inside: as good as not there
            return None
        return found[0] if found and isinstance(found[0], str) and _SHA256.fullmatch(found[0]) else None

    def put(self, path: str, status: os.stat_result, sha256: str) -> None:
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _FRESH_NS:
            self._new.append((os.fsencode(path), _seen(status), sha256))
        if len(self._new) >= _COMMIT_ROWS:
            self.flush()

    def flush(self) -> None:
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", self._new)
        except _DAMAGED as error:  # it is only a cache; a full disk will show elsewhere
            self.damaged = self.damaged or not isinstance(error, sqlite3.OperationalError)
        self._new.clear()


def _seen(status: os.stat_result) -> str:
    """As text: an inode may be too large for SQLite's integers."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


@contextmanager
def opened(path: Path) -> Iterator[StatCache]:
    """The cache at `path`; one that is damaged is begun anew, one that can not be opened is done without."""
    database = _database(path)
    try:
        cache = StatCache(database)
        yield cache
        cache.flush()
    finally:
        database.close()
    if cache.damaged:
        path.unlink()


@contextmanager
def in_memory() -> Iterator[StatCache]:
    """One that is kept nowhere."""
    database = _connect(_IN_MEMORY)
    try:
        yield StatCache(database)
    finally:
        database.close()


def _database(path: Path) -> sqlite3.Connection:
    try:
        with contextlib.suppress(OSError):  # as open as the user's mask says; SQLite's own files are less so
            os.close(os.open(str(path), os.O_RDWR | os.O_CREAT, 0o666))
        return _connect(str(path))
    except sqlite3.OperationalError:
        return _connect(_IN_MEMORY)
    except _DAMAGED:
        path.unlink()
        return _database(path)


def _connect(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_WAIT_S)
    try:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("DROP TABLE IF EXISTS files")  # of an earlier asrctl: it went by size and mtime alone
        database.execute("CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, seen TEXT, sha256 TEXT)")
        database.execute("SELECT * FROM digests LIMIT 1").fetchall()
    except _DAMAGED:
        database.close()
        raise
    return database
