"""The memory of digests: believed only while size and time are the same, and never needed."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from asrctl.storage import stat_cache

DIGEST = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def _nothing_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can make a file whose last change lies back, and tests do not wait."""
    monkeypatch.setattr(stat_cache, "_FRESH_NS", -1)


def aged(path: Path, content: str, age_s: float = 100.0) -> Path:
    path.write_text(content, encoding="utf-8")
    then = path.stat().st_mtime - age_s
    os.utime(path, (then, then))
    return path


def test_an_unchanged_file_is_known(tmp_path: Path) -> None:
    path = aged(tmp_path / "a", "x")
    with stat_cache.opened(tmp_path / "stat.sqlite") as cache:
        cache.put(str(path), path.stat(), DIGEST)
    with stat_cache.opened(tmp_path / "stat.sqlite") as cache:
        assert cache.get(str(path), path.stat()) == DIGEST
        assert cache.get(str(path), aged(path, "x", 50).stat()) is None
        assert cache.get(str(path), aged(path, "xy").stat()) is None


def test_a_file_with_the_time_of_the_one_before_is_another(tmp_path: Path) -> None:
    path = aged(tmp_path / "a", "x")
    before = path.stat()
    with stat_cache.opened(tmp_path / "stat.sqlite") as cache:
        cache.put(str(path), before, DIGEST)
        cache.flush()
        (tmp_path / "new").write_text("y", encoding="utf-8")
        os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(tmp_path / "new", path)
        after = path.stat()
        assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        assert cache.get(str(path), after) is None


@pytest.mark.parametrize("age_s", [0, 10**6])
def test_a_file_touched_just_now_is_not_remembered(tmp_path: Path, monkeypatch, age_s: int) -> None:
    """Whatever time it says: the kernel knows that it was touched."""
    monkeypatch.setattr(stat_cache, "_FRESH_NS", 60 * 10**9)
    path = aged(tmp_path / "a", "x", age_s)
    with stat_cache.opened(tmp_path / "stat.sqlite") as cache:
        cache.put(str(path), path.stat(), DIGEST)
        cache.flush()
        assert cache.get(str(path), path.stat()) is None


def test_a_damaged_memory_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "stat.sqlite").write_bytes(b"no database " * 1000)
    path = aged(tmp_path / "a", "x")
    with stat_cache.opened(tmp_path / "stat.sqlite") as cache:
        assert cache.get(str(path), path.stat()) is None
        cache.put(str(path), path.stat(), DIGEST)
    with stat_cache.opened(tmp_path / "stat.sqlite") as cache:
        assert cache.get(str(path), path.stat()) == DIGEST


def test_a_memory_whose_names_are_no_text_is_begun_anew(tmp_path: Path) -> None:
    """sqlite tells what is wrong in words that hold the damage."""
    place = tmp_path / "stat.sqlite"
    with stat_cache.opened(place):
        pass
    whole = place.read_bytes()
    place.write_bytes(whole.replace(b"CREATE TABLE digests", b"CREATE TA\x81LE digests"))
    assert place.read_bytes() != whole
    path = aged(tmp_path / "a", "x")
    with stat_cache.opened(place) as cache:
        cache.put(str(path), path.stat(), DIGEST)
    with stat_cache.opened(place) as cache:
        assert cache.get(str(path), path.stat()) == DIGEST


def test_what_an_earlier_asrctl_remembered_is_forgotten(tmp_path: Path) -> None:
    """It went by size and mtime alone, so its digests may be those of other content."""
    place, path = tmp_path / "stat.sqlite", aged(tmp_path / "a", "x")
    status = path.stat()
    with sqlite3.connect(str(place)) as database:
        database.execute("CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT)")
        row = (os.fsencode(str(path)), status.st_size, status.st_mtime_ns, DIGEST)
        database.execute("INSERT INTO files VALUES (?, ?, ?, ?)", row)
    database.close()
    with stat_cache.opened(place) as cache:
        assert cache.get(str(path), status) is None
        cache.put(str(path), status, DIGEST)
    with stat_cache.opened(place) as cache:
        assert cache.get(str(path), status) == DIGEST
