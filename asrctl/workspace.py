"""Where things lie: artifacts by ID, names that point at them, locks.

An artifact is a folder KIND/ID that never changes once it is there. It is built under `.tmp/KIND-ID` (a fixed name, so
that whoever comes after a crash can go on with what is there), gets a `meta.json` last, and is renamed into place.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shlex
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, TextIO, Tuple

from asrctl import __version__, files
from asrctl.errors import BadData, Locked, MissingArtifact, UsageError
from asrctl.fingerprint import short_id
from asrctl.schema import OPTIONAL_TEXT, misfit

SCHEMA_VERSION = 1
DEFAULT_ROOT = "asr-workspace"
ROOT_VARIABLE = "ASRCTL_WORKSPACE"
MARKER = "workspace.json"
KINDS = ("manifests", "vocab", "prepared", "evals", "exports", "lm")
_CALLED = {
    "manifests": "manifest",
    "vocab": "vocabulary",
    "prepared": "prepared data",
    "evals": "evaluation",
    "exports": "export",
    "lm": "language model",
}
# Under .tmp: an artifact whose successor is about to take its place.
_ASIDE = "replaced-"
_META_FIX = "delete that folder and run the stage again"
_REF_FIX = "delete that file and run the stage again"
_RUN_FIX = "see `asrctl status`; a damaged run can be replaced with --overwrite"
_META = {"inputs?": dict, "parameters?": dict, "files?": {"*": str}, "summary?": {"run?": OPTIONAL_TEXT, "split?": str}}


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


def valid_name(name: str, what: str = "name") -> str:
    """`name` if it can be a file name everywhere. Raises UsageError."""
    good = name and all(c.isalnum() or c in "-_.+" for c in name) and name[0] not in ".-" and _fits(name)
    if not good:
        raise UsageError(
            f"{name!r} can not be used as a {what}",
            fix="use letters, digits, '-', '_', '+' and '.', starting with a letter or digit",
        )
    return name


class Workspace:
    """One workspace folder. Nothing is written until something is published, named or locked."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
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
        return " ".join(shlex.quote(word) for word in self.named(("asrctl", *words)))

    def named(self, words: Sequence[str]) -> Tuple[str, ...]:
        """The words of a command with --workspace, where they lack it and it is not the default.

        A variable that makes it the default may be another one in the next shell, so it does not count.
        """
        named = any(word[:2] == "-w" or word.split("=")[0] == "--workspace" for word in words)
        plain = str(self.root) == DEFAULT_ROOT == os.environ.get(ROOT_VARIABLE, DEFAULT_ROOT)
        return tuple(words) if named or plain else (*words, "--workspace", str(self.root))

    def _check_schema(self) -> None:
        if not self.is_there:
            if self.root.exists() and not self.root.is_dir():
                raise UsageError(f"{self.root} is not a folder", fix="choose another --workspace")
            return
        found = files.read_json(self.marker, fix="choose another --workspace, or delete this file")
        version = found.get("schema") if isinstance(found, dict) else None
        if version != SCHEMA_VERSION:
            raise BadData(
                f"{self.root} has workspace schema {version}, this asrctl knows {SCHEMA_VERSION}",
                fix="choose another --workspace, or the asrctl version that made this one",
            )

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
        path = self.folder(kind, identity)
        if not (path / "meta.json").exists():
            return None
        meta = files.read_json(path / "meta.json", fix=_META_FIX)
        problem = misfit(meta, _META)
        if problem:
            raise BadData(f"{path / 'meta.json'} is not an artifact's description ({problem})", fix=_META_FIX)
        return Artifact(kind, identity, path, meta)

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
            self.own(self.folder(key.kind, key.id))
            draft = Draft(self.own(self.building(key)), None if replace else self.find(key.kind, key.id))
            if draft.published is not None:
                files.remove_tree(draft.path)  # of a process that was killed just after it had published
                yield draft
                return
            if not keep_partial:
                files.remove_tree(draft.path)
            draft.path.mkdir(parents=True, exist_ok=True)
            files.refuse_links(draft.path)
            try:
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
        target.parent.mkdir(parents=True, exist_ok=True)
        files.replace_tree(draft.path, target, aside=self.root / ".tmp" / f"{_ASIDE}{key.kind}-{key.id}")
        draft.published = Artifact(key.kind, key.id, target, meta)

    def _bring_back(self) -> None:
        """Finish what a process that was killed while it replaced an artifact has left: the old one, or the new one."""
        for aside in sorted((self.root / ".tmp").glob(f"{_ASIDE}*")):
            kind, _, identity = aside.name[len(_ASIDE) :].partition("-")
            target = self.folder(kind, identity)
            if kind not in KINDS or aside.is_symlink():
                continue  # nobody's work: a name that leads elsewhere
            self.own(target)
            try:
                with self.lock(f"{kind}-{identity}"):
                    if aside.exists() and not target.exists():
                        os.rename(aside, target)
                    files.remove_tree(aside)
            except Locked:  # its process is alive
                continue

    # -- names ------------------------------------------------------------------------------------------------------

    def _ref(self, kind: str, name: str) -> Path:
        return self.root / "refs" / kind / f"{name}.json"

    def set_ref(self, kind: str, name: str, identity: str, **known: Any) -> None:
        """Let `name`, and "the latest" of this kind, mean `identity`. known: what else `ref` shall tell of the name."""
        self.create()
        self.own(self.root / "refs" / kind)
        files.write_json(self._ref(kind, valid_name(name)), dict(known, id=identity))
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
            known = ", ".join(self.names(kind)) or "none"
            raise MissingArtifact(
                f"there is no {_CALLED[kind]} called {name!r} in {self.root} (known: {known})", fix=fix
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
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def lock(self, name: str, *, wait: bool = False) -> Iterator[None]:
        """Hold an exclusive lock (flock: the kernel lets go when the process dies). Raises Locked unless `wait`."""
        path = self.own(self.root / ".tmp" / f"{name}.lock")
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a+", encoding="utf-8") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                except BlockingIOError:
                    raise Locked(
                        f"{name} is in use by {_holder(stream)}", fix="wait for it to end, or stop it, then run again"
                    ) from None
                if not path.exists() or not os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                    continue  # a command that made nothing took its empty workspace away while we waited
                with contextlib.suppress(OSError):  # a courtesy: on a full disk the lock holds without it
                    os.ftruncate(stream.fileno(), 0)
                    os.write(stream.fileno(), f"process {os.getpid()} on {platform.node()}".encode())
                try:
                    yield
                finally:
                    with contextlib.suppress(OSError):  # or the next holder would be called by our name for a moment
                        os.ftruncate(stream.fileno(), 0)
                return


def _holder(stream: TextIO) -> str:
    """Who holds a lock. Its holder writes that down just after it got hold: hence the patience."""
    for _ in range(100):
        stream.seek(0)
        told = stream.read(100).strip()
        if told:
            return told
        time.sleep(0.01)
    return "another process"


@dataclass
class Draft:
    """An artifact being built: put files under `path`, set `summary`; `published` once it is in place."""

    path: Path
    published: Optional[Artifact] = None
    summary: Dict[str, Any] = field(default_factory=dict)


def _sequence(run: Path) -> int:
    """Which run was started last. Raises BadData."""
    values = files.read_json(run / "run.json", fix=_RUN_FIX)
    problem = misfit(values, {"sequence?": int})
    if problem:
        raise BadData(f"{run / 'run.json'} does not describe a run ({problem})", fix=_RUN_FIX)
    return values.get("sequence", 0)


def _known_sequence(run: Path) -> int:
    try:
        return _sequence(run)
    except BadData:
        return 0


def is_plain_name(name: str) -> bool:
    """Whether a name that stands in a file can be an entry of a folder, and leads nowhere else."""
    return bool(name) and not set(name) & set("/\\\0") and name not in (".", "..") and _fits(name)


def _fits(name: str) -> bool:
    """With what is put before and behind it, a file's name has at most 255 bytes."""
    return len(name.encode("utf-8", "surrogatepass")) <= 150
