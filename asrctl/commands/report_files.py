"""Where users want reports to be written too: a page, or its numbers as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Type

from asrctl.errors import BadData, UsageError
from asrctl.reports.page import MARK
from asrctl.storage import files, output_files, records
from asrctl.storage.output_files import OutputFile
from asrctl.storage.workspace import Workspace


def meant(workspace: Workspace, path: Path, record: Type[Any], *, what: str, replace: bool) -> OutputFile:
    """What --output means. record: the JSON's; what: as in "a report". Raises UsageError, OSError."""
    if path.suffix not in (".html", ".json"):
        raise UsageError(f"{path} ends in neither .html nor .json", fix="name a file such as report.html")

    def is_ours(there: Path) -> bool:
        if there.suffix == ".json":
            try:
                found = files.read_json(there, fix="")
            except BadData:
                return False
            return records.problem(record, found) is None
        with files.open_regular(there, fix="choose another name") as stream:
            return MARK.encode("ascii") in stream.read(4096)

    return output_files.meant(workspace, path, is_ours, what=what, replace=replace)
