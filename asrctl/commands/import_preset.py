"""An ipu_config.json, from a file or the hub, -> a preset in the workspace or wherever it is wanted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import yaml

from asrctl.config import presets
from asrctl.ipu import import_config
from asrctl.storage import files, hub, output_paths
from asrctl.storage.names import made_of, shortened
from asrctl.storage.workspace import Workspace

_HUB_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


@dataclass(frozen=True)
class ImportRequest:
    """source: a file, a folder that holds ipu_config.json, or the name of a hub model (OWNER/NAME)."""

    source: str
    output: Optional[Path] = None
    overwrite: bool = False


@dataclass(frozen=True)
class ImportResult:
    """The preset that was written."""

    name: str
    path: Path
    extends: str
    global_batch: int
    layers_per_ipu: Tuple[int, ...]
    notes: Tuple[str, ...]

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__, path=str(self.path))


def import_preset(workspace: Workspace, request: ImportRequest) -> ImportResult:
    """Write the preset. Raises PresetError (keys that can not be kept), MissingArtifact, UsageError (it is there)."""
    source = find(request.source)
    name = _name(request, source)
    target = _target(workspace, request, name)
    imported = import_config.translate(import_config.read(source), name, source)
    # Lists on one line, as people write them.
    text = yaml.safe_dump(imported.preset, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    presets.check_values(imported.preset, source)
    _write(target, text, request)
    preset = imported.preset
    return ImportResult(
        name=name,
        path=request.output or target,
        extends=preset["extends"],
        global_batch=preset["optim"]["global_batch"],
        layers_per_ipu=tuple(preset["ipu"]["layers_per_ipu"]),
        notes=imported.notes,
    )


def _target(workspace: Workspace, request: ImportRequest, name: str) -> Path:
    """The file to write, links followed. Raises UsageError where it can not be one, or is there and no preset."""
    if request.output is None:
        return workspace.own(workspace.root / "presets") / f"{name}.yaml"
    target = output_paths.resolve(request.output)
    workspace.refuse_managed(target)
    output_paths.refuse_overwriting(target, presets.is_preset, what="a preset", replace=True)
    return target


def _write(target: Path, text: str, request: ImportRequest) -> None:
    with files.atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
        # Now, while nobody else writes it: what was free, or a preset, when we looked may be somebody's by now.
        is_same = files.is_file(target) and target.read_bytes() == temporary.read_bytes()
        output_paths.refuse_overwriting(
            target, presets.is_preset, what="a preset", replace=request.overwrite or is_same
        )


def find(source: str) -> Path:
    """The file that is meant; one of the hub is fetched to the hub's own cache. Raises MissingArtifact."""
    path = files.expanded(source)
    if path.is_dir():
        return path / import_config.FILE_NAME
    if path.exists() or source.endswith(".json") or not _HUB_NAME.fullmatch(source):
        return path
    name = import_config.FILE_NAME
    return hub.small_files(source, (name,), f"{name} of {source} could not be fetched", newest=True) / name


def _name(request: ImportRequest, source: Path) -> str:
    """The output's name; or the hub model's, the file's, or for a plain ipu_config.json its folder's."""
    if request.output is not None:
        raw = request.output.stem
    elif _HUB_NAME.fullmatch(request.source) and not files.expanded(request.source).exists():
        raw = request.source.split("/")[1]
    else:
        raw = source.resolve().parent.name if source.name == import_config.FILE_NAME else source.stem
    return shortened(made_of(raw, "_+-", is_short=True).strip("-")) or "imported"
