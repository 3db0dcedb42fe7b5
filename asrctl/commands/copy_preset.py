"""A preset that can be named -> a file of one's own to change, with its comments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

from asrctl.config import presets
from asrctl.storage import files, output_files
from asrctl.storage.names import made_of, shortened
from asrctl.storage.workspace import Workspace

_NAME = re.compile(r"^name:.*$", re.MULTILINE)
# What stands beside the file that says so, and not beside a copy.
_BESIDE = re.compile(r"^extends:\s*['\"]?\.", re.MULTILINE)


@dataclass(frozen=True)
class CopyResult:
    """source: the preset that was copied. name: what runs of the copy are called by."""

    name: str
    source: str
    path: Path

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__, path=str(self.path))


def copy_preset(workspace: Workspace, source: str, target: Path, *, force: bool = False) -> CopyResult:
    """Write the copy, checked. Raises PresetError, UsageError where something else is there, or without `force` any."""
    resolved = presets.load(source, workspace=workspace.root)
    output = output_files.meant(workspace, target, presets.is_preset, what="a preset", replace=force)
    name = shortened(made_of(target.stem, "_+-", is_short=True).strip("-")) or "copy"
    text = files.read_bytes(resolved.path, fix="correct that file").decode("utf-8-sig")
    if _BESIDE.search(text):
        text = presets.dumps(resolved.recipe)
    named = _NAME.sub(lambda _: f"name: {name}", text, count=1)
    with output.written() as temporary:
        temporary.write_text(named if _NAME.search(text) else f"name: {name}\n{text}", encoding="utf-8")
    presets.check(output.path, workspace.root)
    return CopyResult(name, resolved.recipe.name, target)
