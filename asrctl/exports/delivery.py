"""Checksums of an export, and its way into a folder that the user names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Dict, List

from asrctl import files
from asrctl.errors import BadData, UsageError

SUMS = "SHA256SUMS"
_FIX = "delete that folder and export again"


def write_sums(folder: Path) -> Dict[str, str]:
    """Write SHA256SUMS as `sha256sum --check` reads it; {file: digest}."""
    digests = files.file_digests(folder)
    files.write_text(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    return digests


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
    sums = folder / SUMS
    if not sums.is_file():
        return False
    return {path.name for path in folder.iterdir()} <= {*_names(sums), SUMS}


def _names(sums: Path) -> List[str]:
    data = files.read_bytes(sums, fix=_FIX)
    return [line.partition("  ")[2] for line in data.decode("utf-8", "replace").splitlines()]


def _listed(source: Path) -> List[str]:
    """Names of the files of an export, all of them in the folder itself. Raises BadData."""
    names = _names(source / SUMS)
    for name in names:
        plain = name and "\0" not in name and "/" not in name and name not in (".", "..")
        if not plain or (source / name).is_symlink() or not (source / name).is_file():
            raise BadData(f"{source / SUMS} lists {name!r}, which is no file of that export", fix=_FIX)
    return names


def deliver(source: Path, target: Path) -> None:
    """Copy what SHA256SUMS lists, and it, to `target`: whole or not at all. Call `check_target` first."""
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.parent / f".{target.name}.{os.getpid()}.tmp"
    aside = target.parent / f".{target.name}.{os.getpid()}.old"
    try:
        building.mkdir()
        for name in [*_listed(source), SUMS]:
            shutil.copyfile(str(source / name), str(building / name))
        files.fsync_tree(building)
        if target.exists():
            os.rename(target, aside)
        os.rename(building, target)
        files.fsync_path(target.parent)
    finally:
        files.remove_tree(building)
        if aside.exists() and not target.exists():
            os.rename(aside, target)
        files.remove_tree(aside)
