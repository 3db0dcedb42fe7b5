"""Why a process of several has failed: the word that it leaves for the others, and who of them tells it."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Callable, List, Mapping, Optional

from asrctl.errors import AsrctlError, ProcessLost, Reported, told

# A folder of the process that has started all of them (asrctl.runtime.launcher): that one tells what went wrong, once.
FOLDER = "ASRCTL_FAILURES"


class Failures:
    """What has gone wrong in this training's processes, as far as it is known. show: tells the user of an error."""

    def __init__(self, rank: int, show: Callable[[AsrctlError], None]) -> None:
        self._rank, self._show = rank, show
        self._store: Any = None
        self._folder = os.environ.get(FOLDER)

    def keep_in(self, store: Any) -> None:
        """Use a store of torch that all processes reach."""
        self._store = store

    def leave(self, error: AsrctlError) -> bool:
        """Leave word of an error that ends this process; whether it falls to somebody else to tell it."""
        is_own = not isinstance(error, (ProcessLost, Reported))
        known = self._known_to_all(error) if is_own else False
        if self._folder is not None:
            return self._kept(error, is_own, Path(self._folder))
        if isinstance(error, ProcessLost):
            return not self._is_first_to_tell()
        return self._rank != 0 and (known or not is_own)

    def _kept(self, error: AsrctlError, is_own: bool, folder: Path) -> bool:
        """Leave word to who has started this process; False where that fails (a full disk)."""
        kept = folder / f"{self._rank}.json"
        try:
            kept.write_text(json.dumps(dict(told(error), own=is_own)), encoding="utf-8")
        except OSError:
            return False
        return True

    def _known_to_all(self, error: AsrctlError) -> bool:
        """Let the others know, of whom the main process then tells it; False where they can not be reached."""
        try:
            if self._store.add("failures", 1) == 1:
                self._store.set("failure", json.dumps(told(error)))
        except (RuntimeError, AttributeError):  # nobody there any more, or not yet
            return False
        return True

    def _is_first_to_tell(self) -> bool:
        try:
            return bool(self._store.add("told", 1) == 1)
        except (RuntimeError, AttributeError):  # the main process is gone, and kept the store
            return self._rank == 1

    def first(self) -> Optional[AsrctlError]:
        """The first error that a process left word of."""
        try:
            if self._store is not None and self._store.add("failures", 0) > 0:
                return Reported(json.loads(self._store.get("failure")))
        except RuntimeError:
            return None
        return None

    def tell(self, error: AsrctlError) -> None:
        """Leave word, and tell the user where nobody else does."""
        if not self.leave(error):
            self._show(error)


def left_in(folder: Path) -> List[Mapping[str, Any]]:
    """What processes left word of: what went wrong in themselves first, and that they were told to stop last."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(ValueError):  # of a process that was killed while it wrote
            found.append(json.loads(path.read_text(encoding="utf-8")))
    return sorted(found, key=lambda one: (not one["own"], one["kind"] == "interrupted"))
