"""Copy an export into a folder that the user names."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from asrctl.errors import BadData, UsageError
from asrctl.storage import atomic, files, output_paths
from asrctl.storage.checksums import SUMS, read_sums
from asrctl.storage.hashing import file_sha256
from asrctl.storage.names import require_text
from asrctl.storage.ownership import EXPORT_FILES, OwnFiles
from asrctl.storage.workspace import Workspace

_FIX = "delete that folder and export again"
_ELSEWHERE = "choose another --output, or empty it first"
_CARD, _PARITY = "README.md", "parity.json"
_TAG = re.compile(rb"^tags: \[.*\basrctl\b.*\]$", re.MULTILINE)
# Within a folder that nothing can take the place of: an export on its way into it.
_INNER = ".asrctl-tmp"


@dataclass(frozen=True)
class Target:
    """Where an export goes, links followed. replace: an earlier export there may be replaced.

    refusal: why nothing may be written there; there is nothing to write where it holds that very export.
    """

    folder: Path
    replace: bool
    refusal: Optional[UsageError] = None


def find_target(workspace: Workspace, output: Path, *, force: bool) -> Target:
    """The folder that `output` means. What is there is judged now, before any work, and again when it is replaced.

    Where that may be the very export, `refuse_another` has the last word. Raises UsageError where the system has no
    such path, where it belongs to the workspace, and what `check_target` raises; OSError where nothing may be written.
    """
    folder = require_text(output_paths.resolve(output), fix="choose another --output, or rename that folder")
    is_inside = workspace.refuse_managed(folder)
    target = Target(folder, force and not is_inside)
    try:
        if is_inside and folder.is_dir() and files.names_in(folder):
            raise UsageError(f"{folder} lies in the workspace and is not empty", fix="choose an --output outside of it")
        check_target(folder, force=target.replace)
    except UsageError as refusal:
        if force or not files.is_file(folder / SUMS):
            raise
        return Target(folder, replace=False, refusal=refusal)
    output_paths.refuse_unwritable(folder if _stays(folder) else folder.parent)
    return target


def refuse_another(target: Target, export: Optional[Path]) -> None:
    """Raises UsageError where `target` is taken by anything but this export; None: it is yet to be made."""
    if target.refusal is not None and (export is None or not _holds(target.folder, export)):
        raise target.refusal


def _holds(folder: Path, export: Path) -> bool:
    """Whether a folder holds an export, every byte of it, whatever else lies there."""
    told = read_sums(export, fix=_FIX)
    with contextlib.suppress(BadData):  # what stands there is no list of ours
        return read_sums(folder, fix=_FIX) == told and all(
            files.is_file(folder / name) and file_sha256(folder / name) == digest for name, digest in told.items()
        )
    return False


def _stays(folder: Path) -> bool:
    """Whether nothing can, or should, take the folder's place: it is a mount point, or where a shell stands."""
    return folder.is_dir() and (os.path.ismount(str(folder)) or output_paths.is_same(folder, Path.cwd()))


def refuse_source(target: Target, model: Path) -> None:
    """Raises UsageError where an export would take the place of the model that it is made from."""
    if (
        output_paths.below(model.resolve(), target.folder) is not None
        or output_paths.below(target.folder, model) is not None
    ):
        raise UsageError(f"{target.folder} is where the model itself lies", fix="choose another --output")


def check_target(target: Path, *, force: bool) -> None:
    """Raises UsageError unless `target` is free, empty, or (with `force`) an export and nothing else."""
    _check(target, target, force)


def _check(folder: Path, target: Path, force: bool) -> None:
    """folder: where that which people find at `target` lies at this moment."""
    if not os.path.lexists(str(folder)):
        return
    if not folder.is_dir():
        raise UsageError(f"{target} is a file", fix="choose a folder for --output")
    if not files.names_in(folder):
        return
    if not force:
        raise UsageError(
            f"{target} is not empty", fix="choose another --output, or replace an earlier export by --force"
        )
    told = _told(folder)
    if (
        told is None
        or not OwnFiles(EXPORT_FILES).has_all(told)
        or OwnFiles([*told, SUMS, f"{_INNER}/*"]).strangers(folder)
    ):
        raise UsageError(f"{target} holds files that no export wrote", fix=_ELSEWHERE)
    # Weights or settings that differ are damaged; a card that differs has an author.
    if _CARD in told and files.is_file(folder / _CARD) and file_sha256(folder / _CARD) != told[_CARD]:
        raise UsageError(
            f"{target / _CARD} was changed after asrctl wrote it", fix="choose another --output, or move that file"
        )


def _told(folder: Path) -> Optional[Dict[str, str]]:
    """{file: digest} as SHA256SUMS tells; None where the folder is none of our exports: others write SHA256SUMS too."""
    sums = folder if files.is_file(folder / SUMS) else folder / _INNER
    if not files.is_file(sums / SUMS):
        return None
    told = read_sums(sums, fix=_FIX)
    is_ours = _PARITY in told or (_CARD in told and _names_us(folder / _CARD, sums / _CARD))
    return told if is_ours else None


def _names_us(*cards: Path) -> bool:
    """Whether a model card has our tag (card.py)."""
    return any(files.is_file(card) and _TAG.search(files.read_bytes(card, fix=_FIX)) is not None for card in cards)


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


def deliver(source: Path, target: Target) -> None:
    """Copy what SHA256SUMS lists, and it, to a folder: whole or not at all. Nothing is done where all of it is there.

    Raises BadData where a file is damaged, UsageError where the folder has become somebody's since `find_target`.
    """
    folder, names = target.folder, [*_listed(source), SUMS]
    if target.refusal is not None:
        refuse_another(target, source)
        return
    if _stays(folder):
        _deliver_into(source, names, target)
        return
    files.make_folder(folder.parent)
    building = files.beside(folder, "asrctl-tmp")
    with files.locked_folder(folder.parent):
        _refuse_in_the_way(folder, names)
        atomic.settle_tree(folder)
        files.remove_tree(building)
        check_target(folder, force=target.replace)
        try:
            _copy(source, names, building)
            atomic.replace_tree(building, folder, settling=lambda old, _: _check(old, folder, target.replace))
        finally:
            atomic.settle_tree(folder)
            files.remove_tree(building)


def _copy(source: Path, names: Sequence[str], building: Path) -> None:
    files.make_folder(building)
    for name in names:
        shutil.copyfile(str(source / name), str(building / name))
    check(building, copied_from=source)
    files.fsync_tree(building)


def _refuse_in_the_way(folder: Path, names: Sequence[str]) -> None:
    """Raises UsageError where a link has taken the place of a folder since it was resolved, or where the hidden names
    beside it, which tell of an export that was killed, hold something else."""
    if output_paths.resolve(folder) != folder:
        raise UsageError(f"{folder} has become a link meanwhile", fix="run the command again")
    for ending in ("asrctl-tmp", *atomic.ENDINGS):
        path = files.beside(folder, ending)
        if path.is_symlink() or path.is_file():
            raise UsageError(f"{path} is in the way", fix="move it elsewhere")
        OwnFiles([*EXPORT_FILES, *names, *(_told(path) or ())]).refuse(path, fix="move it elsewhere")


def _deliver_into(source: Path, names: Sequence[str], target: Target) -> None:
    """The same for a folder that nothing can take the place of, as a mount point or where a shell stands: file by file,
    SHA256SUMS last."""
    folder, inner = target.folder, target.folder / _INNER
    with files.locked_folder(folder):
        OwnFiles([*EXPORT_FILES, *names]).refuse(inner, fix="move it elsewhere")
        if files.names_in(folder) == [_INNER]:
            files.remove_tree(inner)
        check_target(folder, force=target.replace)
        files.remove_tree(inner)
        _copy(source, names, inner)
        old = {*files.names_in(folder)} - {_INNER}
        for name in sorted(old & {SUMS}) + sorted(old - {*names}):
            (folder / name).unlink()
        for name in names:
            os.replace(str(inner / name), str(folder / name))
        files.remove_tree(inner)
        files.fsync_path(folder)
