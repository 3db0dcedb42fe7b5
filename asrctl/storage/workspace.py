"""The workspace folder: artifacts by ID, names that point at them, locks.

An artifact is a folder KIND/ID that never changes once it is there. It is built under `.tmp/KIND-ID` (a fixed name, so
that whoever comes after a crash can go on with what is there), gets a `meta.json` last, and is renamed into place.
"""

from __future__ import annotations

import contextlib
import platform
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from asrctl import __version__
from asrctl.errors import BadData, Locked, MissingArtifact, UsageError
from asrctl.messages import command_lines, suggestions
from asrctl.messages.command_lines import place
from asrctl.storage import atomic, files, locks, output_paths, records
from asrctl.storage.hashing import short_id
from asrctl.storage.names import is_plain_name, require_text, valid_name
from asrctl.storage.ownership import ARTIFACTS, OwnFiles
from asrctl.storage.workspace_files import Marker, Meta, Started

SCHEMA_VERSION = 1
MARKER = "workspace.json"
SALT = "salt.json"
KINDS = ("manifests", "vocab", "prepared", "audits", "evals", "exports", "lm")
_CALLED = {
    "manifests": "manifest",
    "vocab": "vocabulary",
    "prepared": "prepared data",
    "audits": "audit",
    "evals": "evaluation",
    "exports": "export",
    "lm": "language model",
}
# Nothing is written there because a user says so.
_MANAGED = (*KINDS, "refs", "runs", "cache", "downloads", ".tmp", MARKER, SALT)
# Under .tmp: an artifact whose successor is about to take its place, and such a successor.
_ASIDE, _READY = "replaced-", "replacing-"
_BEING_REPLACED = re.compile(rf"({_ASIDE}|{_READY})(?P<kind>{'|'.join(KINDS)})-(?P<id>[^-]+)")
_META_FIX = "delete that folder and run the stage again"
_REF_FIX = "delete that file and run the stage again"
_RUN_FIX = "see `asrctl status`; `asrctl train --run NAME --overwrite` replaces a damaged run"


@dataclass(frozen=True)
class Key:
    """What an artifact is made from; equal keys name the same artifact.

    parameters and inputs are JSON values; inputs are digests or IDs, never paths, clocks or hosts.
    """

    kind: str
    version: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> Dict[str, Any]:
        return {
            "kind": self.kind,
            "version": self.version,
            "parameters": dict(self.parameters),
            "inputs": dict(self.inputs),
        }

    @property
    def id(self) -> str:
        return short_id(self.as_dict())


@dataclass(frozen=True)
class Artifact:
    """A published folder and its `meta.json`."""

    kind: str
    id: str
    path: Path
    meta: Mapping[str, Any]

    @property
    def summary(self) -> Dict[str, Any]:
        """What the stage wanted later stages and people to know."""
        return dict(self.meta.get("summary", {}))

    @property
    def ours(self) -> OwnFiles:
        """What asrctl put into the folder."""
        return OwnFiles(["meta.json", *self.meta.get("files", {})])

    def beside(self, identity: str) -> Optional["Artifact"]:
        """Another artifact of this kind, or None. Raises BadData where its meta.json is damaged."""
        return _found(self.kind, identity, self.path.parent / identity) if is_plain_name(identity) else None


def _found(kind: str, identity: str, path: Path) -> Optional[Artifact]:
    if not (path / "meta.json").exists():
        return None
    meta = files.read_json(path / "meta.json", fix=_META_FIX)
    records.read(Meta, meta, f"{path / 'meta.json'} is not an artifact's description", fix=_META_FIX)
    return Artifact(kind, identity, path, meta)


class Workspace:
    """One workspace folder. Nothing is written until something is published, named or locked."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        require_text(output_paths.resolve(self.root), fix="choose another --workspace, or rename that folder")
        self._check_schema()
        self._bring_back()

    @property
    def marker(self) -> Path:
        """The file that makes a folder a workspace."""
        return self.root / MARKER

    @property
    def is_there(self) -> bool:
        return self.marker.exists()

    def command(self, *words: str) -> str:
        """`asrctl WORDS` for people to type: as a shell reads it, and about this workspace."""
        return command_lines.shown(self.named(("asrctl", *words)))

    def named(self, words: Sequence[str]) -> Tuple[str, ...]:
        """The words of a command with --workspace, where they lack it and it is not the default."""
        named = any(word[:2] == "-w" or word.split("=")[0] == "--workspace" for word in words)
        return tuple(words) if named else (*words, *place(self.root))

    def _check_schema(self) -> None:
        if not self.is_there:
            if self.root.exists() and not self.root.is_dir():
                raise UsageError(f"{self.root} is not a folder", fix="choose another --workspace")
            return
        found = files.read_json(self.marker, fix="choose another --workspace, or delete this file")
        problem = records.problem(Marker, found)
        if problem:
            raise BadData(
                f"{self.marker} is no workspace's marker ({problem})",
                fix=f'choose another --workspace, or write {{"schema": {SCHEMA_VERSION}}} there if asrctl made it',
            )
        version = found["schema"]
        if version != SCHEMA_VERSION:
            raise BadData(
                f"{self.root} has workspace schema {version}, this asrctl knows {SCHEMA_VERSION}",
                fix="choose another --workspace, or the asrctl version that made this one",
            )

    def refuse_managed(self, path: Path) -> bool:
        """Whether a resolved path lies in the workspace. Raises UsageError where it is the workspace, holds it, or is
        among what commands keep in it."""
        inside = output_paths.below(path, self.root)
        if inside == () or output_paths.below(self.root.resolve(), path) is not None:
            raise UsageError(f"{path} is or holds the workspace", fix="choose another place")
        if inside is not None and inside[0].lower() in _MANAGED:
            raise UsageError(f"{path} lies among what asrctl keeps in the workspace", fix="choose another place")
        return inside is not None

    def own(self, path: Path) -> Path:
        """`path`, a place in the workspace that is to be written. Raises BadData where a link leads out of it."""
        root = self.root.resolve()
        try:
            real = path.resolve()
        except (OSError, RuntimeError):  # links in a circle
            real = Path()
        if real != root and root not in real.parents:
            raise BadData(
                f"{path} is a link that leads out of the workspace",
                fix="remove the link; --workspace chooses another place for all of it",
            )
        return path

    def create(self) -> None:
        """Make the folder and its marker; needed before the first write."""
        if not self.is_there:
            files.write_json(self.marker, {"schema": SCHEMA_VERSION})

    # -- artifacts --------------------------------------------------------------------------------------------------

    def folder(self, kind: str, identity: str) -> Path:
        return self.root / kind / identity

    def building(self, key: Key) -> Path:
        return self.root / ".tmp" / f"{key.kind}-{key.id}"

    def find(self, kind: str, identity: str) -> Optional[Artifact]:
        """The artifact, or None. Raises BadData where its meta.json is damaged."""
        return _found(kind, identity, self.folder(kind, identity))

    def all(self, kind: str) -> List[Artifact]:
        """Every published artifact of a kind, in the order of their IDs."""
        folder = self.root / kind
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
        found = (self.find(kind, name) for name in names)
        return [artifact for artifact in found if artifact is not None]

    @contextmanager
    def publish(self, key: Key, *, keep_partial: bool = False, replace: bool = False) -> Iterator["Draft"]:
        """Yield a Draft to fill; publish it when the block ends without error.

        keep_partial: leave the folder where it is after an error, for the next try to go on with.
        replace: build it even where it is published; the old one stays until the new one is whole.
        Holds the artifact's lock meanwhile. The caller looks with `find` first, and again inside the block if it
        waited for the lock: `draft.published` is then the artifact that another process made in the meantime.
        """
        self.create()
        with self.lock(f"{key.kind}-{key.id}", wait=True):
            place = self.own(self.folder(key.kind, key.id))
            if replace:
                self._refuse_strangers(key, place)
            draft = Draft(self.own(self.building(key)), None if replace else self.find(key.kind, key.id))
            if draft.published is not None:
                files.remove_tree(draft.path)  # of a process that was killed just after it had published
                yield draft
                return
            try:  # from before there is a folder on: an interruption may come between any two lines
                if not keep_partial:
                    files.remove_tree(draft.path)
                files.make_folder(draft.path)
                files.refuse_links(draft.path)
                yield draft
                self._seal(key, draft)
            except BaseException:
                if not keep_partial:
                    files.remove_tree(draft.path)
                raise

    def _seal(self, key: Key, draft: "Draft") -> None:
        described = draft.path / "meta.json"
        if described.exists():  # of a try that was killed just before the end
            described.unlink()
        meta = dict(
            key.as_dict(),
            id=key.id,
            files=files.file_digests(draft.path),
            summary=draft.summary,
            made={
                "asrctl": __version__,
                "python": platform.python_version(),
                "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            },
        )
        files.write_json(described, meta)
        files.fsync_tree(draft.path)
        target = self.folder(key.kind, key.id)
        files.make_folder(target.parent)
        ways = self._ways(key.kind, key.id)
        atomic.replace_tree(draft.path, target, settling=lambda old, _: self._refuse_strangers(key, old), **ways)
        draft.published = Artifact(key.kind, key.id, target, meta)

    def _refuse_strangers(self, key: Key, old: Path) -> None:
        """Raises UsageError where an artifact about to be replaced, which lies at `old` now, holds what is not ours."""
        known = ARTIFACTS[key.kind]
        with contextlib.suppress(BadData):  # a damaged one is made anew
            found = _found(key.kind, key.id, old) if files.is_file(old / "meta.json") else None
            known = known if found is None else found.ours
        known.refuse(old, self.folder(key.kind, key.id), fix="move that elsewhere, and run the command again")

    def _ways(self, kind: str, identity: str) -> Dict[str, Path]:
        """The paths of an artifact and of its successor while one replaces the other."""
        names = {"aside": _ASIDE, "ready": _READY}
        return {which: self.root / ".tmp" / f"{name}{kind}-{identity}" for which, name in names.items()}

    def _bring_back(self) -> None:
        """Finish or undo the replacement of an artifact that a kill has interrupted."""
        for left in sorted((self.root / ".tmp").glob("repl*-*-*")):
            name = _BEING_REPLACED.fullmatch(left.name)
            if name is None or left.is_symlink():
                continue  # nobody's work: a name that leads elsewhere
            target = self.own(self.folder(name["kind"], name["id"]))
            try:
                with self.lock(f"{name['kind']}-{name['id']}"):
                    ways = self._ways(name["kind"], name["id"])
                    atomic.settle_tree(target, aside=ways["aside"], ready=ways["ready"])
            except Locked:  # its process is alive
                continue

    # -- names ------------------------------------------------------------------------------------------------------

    def _ref(self, kind: str, name: str) -> Path:
        return self.root / "refs" / kind / f"{name}.json"

    def set_ref(self, kind: str, name: str, identity: str, *, latest: bool = True, **known: Any) -> None:
        """Let `name`, and (with `latest`) "the latest" of this kind, mean `identity`.

        known: what else `ref` shall tell of the name.
        """
        self.create()
        self.own(self.root / "refs" / kind)
        files.write_json(self._ref(kind, valid_name(name)), dict(known, id=identity))
        if latest:
            files.write_json(self.root / "refs" / f"{kind}.latest.json", {"name": name, "id": identity})

    def ref(self, kind: str, name: str) -> Dict[str, Any]:
        """Everything that is known of a name. Raises BadData."""
        path = self._ref(kind, name)
        self._read_ref(path)
        return files.read_json(path, fix=_REF_FIX)

    def names(self, kind: str) -> Dict[str, str]:
        """{name: id} of a kind."""
        folder = self.root / "refs" / kind
        found = sorted(folder.glob("*.json")) if folder.is_dir() else []
        return {path.stem: self._read_ref(path)["id"] for path in found}

    def latest(self, kind: str) -> Optional[Dict[str, str]]:
        """{"name", "id"} of what was named last, or None."""
        path = self.root / "refs" / f"{kind}.latest.json"
        return self._read_ref(path) if path.exists() else None

    def resolve(self, kind: str, name: Optional[str], *, fix: str) -> Artifact:
        """The artifact that a name (or an ID, or None for the latest) means. Raises MissingArtifact with `fix`."""
        if name is None:
            latest = self.latest(kind)
            if latest is None:
                raise MissingArtifact(f"{self.root} holds no {_CALLED[kind]} yet", fix=fix)
            name, identity = latest["name"], latest["id"]
        else:
            identity = self.names(kind).get(name, name)
        artifact = self.find(kind, identity) if is_plain_name(identity) else None
        if artifact is None:
            known = list(self.names(kind))
            meant = suggestions.question(name, known, str)
            raise MissingArtifact(
                f"there is no {_CALLED[kind]} called {name!r} in {self.root} (known: {', '.join(known) or 'none'})",
                fix=f"{meant} Else {fix}" if meant else fix,
            )
        return artifact

    def _read_ref(self, path: Path) -> Dict[str, str]:
        found = files.read_json(path, fix=_REF_FIX)
        if not isinstance(found, dict) or not isinstance(found.get("id"), str) or not is_plain_name(found["id"]):
            raise BadData(f"{path} does not name an artifact", fix=_REF_FIX)
        return {"name": str(found.get("name", path.stem)), "id": found["id"]}

    # -- runs, cache, locks -----------------------------------------------------------------------------------------

    def run(self, name: str) -> Path:
        return self.own(self.root / "runs" / valid_name(name, "run name"))

    def runs(self, *, strict: bool = False) -> List[Path]:
        """Folders of runs, the most recently started last; those whose run.json is damaged first.

        strict: raise BadData where there is such a one, so that nobody takes an older run for the latest.
        """
        folder = self.root / "runs"
        found = [path.parent for path in folder.glob("*/run.json")] if folder.is_dir() else []
        found = [path for path in found if not path.name.startswith(".")]  # what --overwrite has put aside
        return sorted(found, key=_sequence if strict else _known_sequence)

    def last_sequence(self) -> int:
        """The number of the run that was started last, 0 where there is none; a damaged one has none."""
        return max((_known_sequence(path) for path in self.runs()), default=0)

    def cache(self, name: str) -> Path:
        """A folder that is always safe to delete; made when asked for."""
        path = self.own(self.root / "cache" / name)
        files.make_folder(path)
        return path

    @contextmanager
    def lock(self, name: str, *, wait: bool = False) -> Iterator[None]:
        """Hold an exclusive lock. Raises Locked unless `wait`, StorageError."""
        with locks.exclusive(self.own(self.root / ".tmp" / f"{name}.lock"), name, wait=wait):
            yield


@dataclass
class Draft:
    """An artifact being built: put files under `path`, set `summary`; `published` once it is in place."""

    path: Path
    published: Optional[Artifact] = None
    summary: Dict[str, Any] = field(default_factory=dict)

    @property
    def artifact(self) -> Artifact:
        """What was published. Raises RuntimeError before it is in place."""
        if self.published is None:
            raise RuntimeError(f"{self.path} is not published yet")
        return self.published


def _sequence(run: Path) -> int:
    """Which run was started last. Raises BadData."""
    values = files.read_json(run / "run.json", fix=_RUN_FIX)
    return records.read(Started, values, f"{run / 'run.json'} does not describe a run", fix=_RUN_FIX).sequence


def _known_sequence(run: Path) -> int:
    try:
        return _sequence(run)
    except BadData:
        return 0
