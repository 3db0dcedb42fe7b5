"""Ctrl-C between any two lines of what builds and replaces: nothing is left over, and the next try succeeds."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Iterator

import pytest

from asrctl.storage import atomic, files, workspace
from asrctl.storage.workspace import Key, Workspace

from .job import leftovers

_TRACED = {module.__file__ for module in (files, atomic, workspace)}
KEY = Key("vocab", 1, parameters={"some": "text"}, inputs={})


# Every line takes a minute: `nox -s faults` does that.
STEPS = pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.faults_full)])


def interrupted(action: Callable[[], None], step: int) -> Iterator[int]:
    """Do it again and again, with a KeyboardInterrupt `step` lines further each time, until it comes to its end."""
    for point in range(1, 5000, step):
        lines = 0

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal lines
            if frame.f_code.co_filename not in _TRACED:
                return None
            lines += event == "line"
            if event == "line" and lines == point:  # noqa: B023 - it is called within this turn
                raise KeyboardInterrupt
            return trace

        if carried_out(action, trace):
            return
        yield point
    raise AssertionError("it never came to its end")


def carried_out(action: Callable[[], None], trace: Any) -> bool:
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return False
    finally:
        sys.settrace(before)
    return True


def published(space: Workspace, text: str, *, replace: bool = False) -> None:
    with space.publish(KEY, replace=replace) as draft:
        if draft.published is None:
            files.write_text(draft.path / "file.txt", text)


@STEPS
def test_an_artifact(tmp_path: Path, step: int) -> None:
    space, points = Workspace(tmp_path / "w"), 0
    for points in interrupted(lambda: published(space, "new"), step):  # noqa: B007
        assert leftovers(space.root) == []
        found = space.find(KEY.kind, KEY.id) if space.is_there else None
        if found is not None:
            files.remove_tree(found.path)
    assert points > 50
    assert (space.folder(KEY.kind, KEY.id) / "file.txt").read_text(encoding="utf-8") == "new"


@STEPS
def test_an_artifact_over_an_old_one_is_the_old_or_the_new(tmp_path: Path, step: int) -> None:
    space, seen = Workspace(tmp_path / "w"), set()
    published(space, "old")
    for _ in interrupted(lambda: published(space, "new", replace=True), step):
        assert leftovers(space.root) == []
        found = space.find(KEY.kind, KEY.id)
        assert found is not None
        text = (found.path / "file.txt").read_text(encoding="utf-8")
        assert found.meta["files"]["file.txt"] == files.file_digests(found.path)["file.txt"]
        seen.add(text)
        if text == "new":
            published(space, "old", replace=True)
    assert seen == {"old", "new"}
