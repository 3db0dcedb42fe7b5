"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from asrctl.storage import atomic, files


def names(folder: Path) -> "list[str]":
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic_path(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert (path.read_text(encoding="utf-8"), names(tmp_path)) == ("old", ["a.txt"])
    files.write_text(path, "new")
    assert (path.read_text(encoding="utf-8"), names(tmp_path)) == ("new", ["a.txt"])


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / ".a.txt.tmp").write_text("half of something longer", encoding="utf-8")
    with files.atomic_path(tmp_path / "a.txt") as temporary:
        assert temporary.read_bytes() == b""
        temporary.write_text("whole", encoding="utf-8")
    assert names(tmp_path) == ["a.txt"]


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("somebody else's", encoding="utf-8")
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / ".a.txt.tmp").symlink_to(other)
    files.write_text(folder / "a.txt", "ours")
    assert other.read_text(encoding="utf-8") == "somebody else's"
    assert (folder / "a.txt").read_text(encoding="utf-8") == "ours"


def test_many_writers_of_one_file_take_turns(tmp_path: Path) -> None:
    texts = [str(number) * 10000 for number in range(8)]
    threads = [threading.Thread(target=files.write_text, args=(tmp_path / "a.txt", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") in texts
    assert names(tmp_path) == ["a.txt"]


def folder_with(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "file").write_text(text, encoding="utf-8")
    return path


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    target = folder_with(tmp_path / "target", "old")
    atomic.replace_tree(folder_with(tmp_path / "building", "new"), target)
    assert (target / "file").read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["target"]


def test_a_folder_that_was_put_aside_comes_back(tmp_path: Path) -> None:
    """Where a file system can not swap two folders, and the process was killed between two renames."""
    folder_with(tmp_path / ".target.asrctl-old", "old")
    atomic.settle_tree(tmp_path / "target")
    assert (tmp_path / "target" / "file").read_text(encoding="utf-8") == "old"
    folder_with(tmp_path / ".target.asrctl-old", "older")
    atomic.settle_tree(tmp_path / "target")
    assert (tmp_path / "target" / "file").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["target"]


def test_of_a_link_only_the_link_is_removed(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "folder", "kept")
    (tmp_path / "link").symlink_to(folder)
    files.remove_tree(tmp_path / "link")
    assert names(tmp_path) == ["folder"]
