"""Find what in a workspace can be deleted, and delete it. What is locked or has a name stays."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set

from asrctl.data import corpora, elsewhere
from asrctl.errors import Locked, MissingDependency
from asrctl.events import Emit, Progress, ignore
from asrctl.storage import atomic, files, scratch
from asrctl.storage.hashing import ID_LENGTH
from asrctl.storage.locks import held_locks, is_held
from asrctl.storage.ownership import ARTIFACTS, CHECKPOINT, FEATURES, MODEL, RUN, OwnFiles
from asrctl.storage.workspace import KINDS, Artifact, Workspace
from asrctl.training import checkpoints, runs
from asrctl.training.runs import Run

WHAT = ("cache", "unfinished", "unreferenced", "checkpoints")
# Evaluations and exports are results: nothing leads to them, and people still want them. An audit goes with its data.
_ONLY_INPUTS = ("manifests", "vocab", "prepared", "lm", "audits")
# What asrctl makes in a workspace: the folder may hold other things too, which are nobody's business here.
_ANYTHING = OwnFiles(["**"])
_CACHES = {
    "features": FEATURES,
    "ipu": _ANYTHING,  # names are the compiler's
    elsewhere.CACHE: _ANYTHING,  # names are those of other machines
    "stat": OwnFiles(["stat.sqlite", "stat.sqlite-*"]),
    "shares": OwnFiles(
        [f"*/*/*/{name}" for name in ("share.json", "done.json", "piece-*", "digests-*", ".*.tmp")]
        + ["*/*/listing.jsonl", "*/*/.*.tmp"]
    ),
}
_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")
_BUILDS = re.compile(rf"((replaced|replacing)-)?({'|'.join(KINDS)})-{_ID.pattern}|removed-.+|scratch-.+")
# Of files.atomic_path, and of folders that were to take a place; in refs one can have an older name.
_HALF_WRITTEN = {
    **dict.fromkeys(
        [".workspace.json.tmp", ".salt.json.tmp", "refs/.*.tmp", "refs/*/.*.tmp", "presets/.*.yaml.tmp"], _ANYTHING
    ),
    **dict.fromkeys([f"runs/*/.{name}.tmp" for name in runs.FILES], _ANYTHING),
    "runs/*/start/.*.json.tmp": _ANYTHING,
    "runs/*/.model.tmp": MODEL,
    "runs/*/checkpoints/.step-*.tmp": CHECKPOINT,
}
# What others had open when it was deleted (trees.py).
_GONE = [f"{folder}/.*.asrctl-gone-*" for folder in (*KINDS, ".tmp", "runs", "runs/*", "runs/*/checkpoints")]


class _Deleted(OwnFiles):
    """A folder that was deleted while its files were open: nothing else is in it."""

    def strangers(self, folder: Path) -> List[str]:
        return [] if files.is_gone(folder) else [folder.name]


@dataclass(frozen=True)
class Removable:
    """A file or folder that can be deleted. lock: to hold while deleting; idle: only while no command is running.

    ours: what may be in a folder; with anything else in it, it is somebody's and stays.
    """

    what: str
    path: Path
    bytes: int
    reason: str
    ours: OwnFiles
    lock: Optional[str] = None
    idle: bool = False

    def as_dict(self) -> Dict[str, Any]:
        return {"what": self.what, "path": str(self.path), "bytes": self.bytes, "reason": self.reason}


@dataclass(frozen=True)
class CleanPlan:
    """What can be deleted, and which locks are held (what they may use stays). kept: {folder: files not of asrctl}."""

    removable: Sequence[Removable]
    held: Sequence[str]
    kept: Mapping[Path, Sequence[str]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.removable)

    @property
    def by_kind(self) -> Dict[str, int]:
        """Bytes of each kind that there is."""
        found: Dict[str, int] = {}
        for item in self.removable:
            found[item.what] = found.get(item.what, 0) + item.bytes
        return found


def plan(workspace: Workspace, what: Sequence[str] = WHAT) -> CleanPlan:
    """Look, and change nothing. Raises BadData where the workspace's own files are damaged."""
    if not workspace.is_there:  # nothing here is ours
        return CleanPlan([], [])
    held = held_locks(workspace.root)
    found: List[Removable] = []
    if not held:
        # Somebody at work may be reading a cache, or about to name an artifact that nothing names yet.
        found.extend(_cache(workspace))
        found.extend(_unreferenced(workspace))
        found.extend(_half_written(workspace))
        found.extend(_gone(workspace))
    found.extend(_unfinished(workspace, held))
    found.extend(_checkpoints(workspace, held))
    found = [item for item in found if item.what in what]
    kept = {item.path: _strangers(item.path, item.ours) for item in found}
    kept = {path: strangers for path, strangers in kept.items() if strangers}
    return CleanPlan([item for item in found if item.path not in kept], sorted(held), kept)


def _strangers(path: Path, ours: OwnFiles) -> List[str]:
    return ours.strangers(path) if path.is_dir() and not path.is_symlink() else []


def clean(workspace: Workspace, removable: Sequence[Removable], emit: Emit = ignore) -> int:
    """Delete them; the bytes that were freed. What somebody has begun to use since is left alone."""
    freed = 0
    if not removable:
        return freed
    # Under this lock commands make the folder that tells of them: none begins while we look and delete.
    with workspace.lock(scratch.LOCK, wait=True):
        some = any(item.what == "unreferenced" for item in removable)
        named = _named(_artifacts(workspace), workspace) if some else set()
        for count, item in enumerate(removable, 1):
            is_named = item.what == "unreferenced" and item.path.name in named
            freed += item.bytes if not is_named and _removed(workspace, item) else 0
            emit(Progress("clean", count, len(removable), "items"))
    return freed


def _removed(workspace: Workspace, item: Removable) -> bool:
    """Whether it went: what was free when we looked may be in use by now, or gone."""
    if not os.path.lexists(str(item.path)):
        return False
    if item.lock is None or item.idle:
        held = held_locks(workspace.root) - {scratch.LOCK}
        if item.path.name in held or (held and item.idle):
            return False
    try:
        with workspace.lock(item.lock) if item.lock is not None else contextlib.nullcontext():
            return _remove(workspace, item.path, item.ours)
    except Locked:
        return False


def _remove(workspace: Workspace, path: Path, ours: OwnFiles) -> bool:
    """Delete it; False where it stays because something was put into it since it was planned."""
    workspace.own(path.parent)
    if not path.is_dir() or path.is_symlink():
        path.unlink()
        return True
    if _strangers(path, ours):
        return False
    doomed = workspace.root / ".tmp" / f"removed-{path.parent.name}-{path.name}"
    files.make_folder(doomed.parent)
    atomic.delete_tree(path, doomed, mark="meta.json", settling=lambda old, _: ours.refuse(old, fix="run it again"))
    return True


def _cache(workspace: Workspace) -> Iterator[Removable]:
    for path in sorted((workspace.root / "cache").glob("*")):
        ours = _CACHES.get(path.name) or _of_a_corpus(path.name)
        if ours is not None:
            yield Removable("cache", path, _bytes(path), "made again when needed", ours, idle=True)


def _of_a_corpus(name: str) -> Optional[OwnFiles]:
    """What a corpus keeps in the folder of the cache that is called as it; None where there is no such corpus."""
    try:
        kept = corpora.find(name).cache_files if name in corpora.names() else ()
    except MissingDependency:  # whoever can say so does not work
        return None
    return OwnFiles(kept) if kept else None


def _unfinished(workspace: Workspace, held: Set[str]) -> Iterator[Removable]:
    for path in sorted((workspace.root / ".tmp").glob("*")):
        if path.is_dir() and path.name not in held and _BUILDS.fullmatch(path.name):
            reason = "deleted only in part" if path.name.startswith("removed-") else "a build that was stopped"
            yield Removable("unfinished", path, _bytes(path), reason, _ANYTHING, lock=scratch.lock_beside(path))
    for name in runs.replaced_runs(workspace):
        path, lock = workspace.root / "runs" / f".{name}.old", f"run-{name}"
        # Until the new one has a checkpoint, the old one may come back.
        if lock not in held and checkpoints.steps(runs.Run(workspace.run(name)).checkpoints):
            yield Removable("unfinished", path, _bytes(path), "a run that another has replaced", RUN, lock=lock)
    for kind in KINDS:
        for path in sorted((workspace.root / kind).glob("*")):
            lock = f"{kind}-{path.name}"
            if _ID.fullmatch(path.name) and path.is_dir() and not (path / "meta.json").exists() and lock not in held:
                yield Removable("unfinished", path, _bytes(path), "has no meta.json", ARTIFACTS[kind], lock=lock)


def _half_written(workspace: Workspace) -> Iterator[Removable]:
    for pattern, ours in _HALF_WRITTEN.items():
        for path in sorted(workspace.root.glob(pattern)):
            if _is_reached_by_links(workspace.root, path) or (not path.is_dir() and is_held(path)):
                continue
            reason = "left half written by a command that was stopped"
            yield Removable("unfinished", path, _bytes(path), reason, ours, idle=True)


def _gone(workspace: Workspace) -> Iterator[Removable]:
    for path in sorted(path for pattern in _GONE for path in workspace.root.glob(pattern)):
        if files.is_gone(path) and not _is_reached_by_links(workspace.root, path):
            reason = "was deleted while its files were open"
            yield Removable("unfinished", path, _bytes(path), reason, _Deleted(()), idle=True)


def _is_reached_by_links(root: Path, path: Path) -> bool:
    return any(folder.is_symlink() for folder in path.parents if root in folder.parents)


def _unreferenced(workspace: Workspace) -> Iterator[Removable]:
    artifacts = _artifacts(workspace)
    for identity in sorted(set(artifacts) - _named(artifacts, workspace)):
        path, lock = artifacts[identity].path, f"{artifacts[identity].kind}-{identity}"
        yield Removable(
            "unreferenced", path, _bytes(path), "no name or run uses it", artifacts[identity].ours, lock=lock, idle=True
        )


def _artifacts(workspace: Workspace) -> Dict[str, Artifact]:
    return {artifact.id: artifact for kind in KINDS for artifact in workspace.all(kind)}


def _named(artifacts: Mapping[str, Artifact], workspace: Workspace) -> Set[str]:
    """IDs of the artifacts that a name, a run or a result leads to, over however many others."""
    reached: Set[str] = set()
    waiting = [identity for kind in KINDS for identity in workspace.names(kind).values()]
    waiting += [artifact.id for artifact in artifacts.values() if artifact.kind not in _ONLY_INPUTS]
    for run in workspace.runs():
        waiting.extend(_strings(Run(run).values()))
    while waiting:
        identity = waiting.pop()
        if identity in artifacts and identity not in reached:
            reached.add(identity)
            waiting.extend(_strings(_known(artifacts[identity])))
    return reached | {one.id for one in artifacts.values() if one.kind == "audits" and _data_of(one) in reached}


def _data_of(audit: Artifact) -> Any:
    """The ID of the data that an audit is of, without which nobody wants it; it keeps none."""
    return audit.meta.get("inputs", {}).get("data")


def _known(artifact: Artifact) -> List[Any]:
    return [artifact.meta.get("inputs"), artifact.meta.get("parameters"), artifact.meta.get("summary")]


def _strings(value: Any) -> Iterator[str]:
    """Every string inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _checkpoints(workspace: Workspace, held: Set[str]) -> Iterator[Removable]:
    for run in workspace.runs():
        state = Run(run).brief().state
        lock = f"run-{run.name}"
        if state != "complete" or lock in held or run.name.startswith("."):
            continue
        folder = run / "checkpoints"
        steps = checkpoints.steps(folder)
        # The last good one stays: from it, a finished run can be extended. The best model lies in model/.
        kept = checkpoints.latest_valid(folder).checkpoint if len(steps) > 1 else None
        if kept is None:
            return
        for step in steps:
            path = checkpoints.path_of(folder, step)
            reason = f"{'an older' if step < kept.step else 'a damaged'} checkpoint of a complete run"
            if path != kept.path:
                yield Removable("checkpoints", path, _bytes(path), reason, CHECKPOINT, lock=lock)


def _bytes(path: Path) -> int:
    """Of disk; 0 for what went while we looked."""
    try:
        return files.disk_bytes(path) if path.is_dir() else path.lstat().st_size
    except FileNotFoundError:
        return 0
