"""The memory of digests: believed only while size and time are the same, and never needed."""

from __future__ import annotations

import os
from pathlib import Path

from asrctl import stat_cache

DIGEST = "0123456789abcdef" * 4


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


def test_a_file_touched_just_now_is_not_remembered(tmp_path: Path) -> None:
    path = aged(tmp_path / "a", "x", 0)
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
    place.write_bytes(whole.replace(b"CREATE TABLE files", b"CREATE TA\x81LE files"))
    assert place.read_bytes() != whole
    path = aged(tmp_path / "a", "x")
    with stat_cache.opened(place) as cache:
        cache.put(str(path), path.stat(), DIGEST)
    with stat_cache.opened(place) as cache:
        assert cache.get(str(path), path.stat()) == DIGEST
