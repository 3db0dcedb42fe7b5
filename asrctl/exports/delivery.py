"""The way of an export into a folder that the user names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import List, Optional

from asrctl import files
from asrctl.checksums import SUMS, read_sums
from asrctl.errors import BadData, UsageError
from asrctl.fingerprint import file_sha256

_FIX = "delete that folder and export again"


def check_target(target: Path, *, force: bool) -> None:
    """Raises UsageError unless `target` is free, empty, or (with `force`) an export and nothing else."""
    if not target.exists():
        return
    if not target.is_dir():
        raise UsageError(f"{target} is a file", fix="choose a folder for --output")
    if not any(target.iterdir()):
        return
    if not force:
        raise UsageError(
            f"{target} is not empty", fix="choose another --output, or replace an earlier export by --force"
        )
    if not _is_export(target):
        raise UsageError(f"{target} holds files that no export wrote", fix="choose another --output, or empty it first")


def _is_export(folder: Path) -> bool:
    if not (folder / SUMS).is_file():
        return False
    return {path.name for path in folder.iterdir()} <= {*read_sums(folder, fix=_FIX), SUMS}


def _listed(source: Path) -> List[str]:
    """Names of the files of an export, all of them in the folder itself. Raises BadData."""
    names = list(read_sums(source, fix=_FIX))
    for name in names:
        plain = name and "\0" not in name and "/" not in name and name not in (".", "..")
        if not plain or not files.is_file(source / name) or (source / name).is_symlink():
            raise BadData(f"{source / SUMS} lists {name!r}, which is no file of that export", fix=_FIX)
    return names


def check(folder: Path, copied_from: Optional[Path] = None) -> None:
    """Raises BadData where a file of an export is not what SHA256SUMS says.

    copied_from: the export that `folder` is a copy of, for the error to name.
    """
    told = read_sums(folder, fix=_FIX)
    for name in _listed(folder):
        if file_sha256(folder / name) != told[name]:
            raise BadData(
                f"{(copied_from or folder) / name} is damaged: its digest is not the one in {SUMS}",
                fix="export again with --force: it is built anew",
            )


def deliver(source: Path, target: Path) -> None:
    """Copy what SHA256SUMS lists, and it, to `target`: whole or not at all. Call `check_target` first.

    Raises BadData where a file is damaged.
    """
    target = Path(os.path.realpath(str(target)))  # behind a link to a folder, such as current -> release
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f".{target.name}.asrctl-tmp")
    with files.locked_folder(target.parent):
        files.settle_tree(target)
        files.remove_tree(building)
        try:
            building.mkdir()
            for name in [*_listed(source), SUMS]:
                shutil.copyfile(str(source / name), str(building / name))
            check(building, copied_from=source)
            files.fsync_tree(building)
            files.replace_tree(building, target)
        finally:
            files.settle_tree(target)
            files.remove_tree(building)
