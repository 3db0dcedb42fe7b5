"""Single files that a user names for something to be written: judged before the work, and again at its end."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from asrctl.storage import files, output_paths
from asrctl.storage.workspace import Workspace


@dataclass(frozen=True)
class OutputFile:
    """path: where it leads, links followed. is_ours: whether a file is of the kind that we write there; what: that
    kind, as in "a preset". replace: whether one may be replaced.
    """

    path: Path
    is_ours: Callable[[Path], bool]
    what: str
    replace: bool

    def refuse(self) -> None:
        """Raises UsageError where something else is there, or without `replace` any file."""
        output_paths.refuse_overwriting(self.path, self.is_ours, what=self.what, replace=self.replace)

    @contextmanager
    def written(self) -> Iterator[Path]:
        """A file to write, which takes its place when the block ends, unless somebody's file has come there meanwhile.

        Raises UsageError, OSError.
        """
        files.make_folder(self.path.parent)
        with files.atomic_path(self.path) as temporary:
            yield temporary
            self.refuse()


def meant(
    workspace: Workspace, typed: Path, is_ours: Callable[[Path], bool], *, what: str, replace: bool
) -> OutputFile:
    """What a path that was typed means. Raises UsageError where nothing may be written there, OSError."""
    found = OutputFile(output_paths.resolve(typed), is_ours, what, replace)
    workspace.refuse_managed(found.path)
    found.refuse()
    output_paths.refuse_unwritable(found.path.parent)
    return found
