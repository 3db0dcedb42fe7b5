"""Corpus -> a list of utterances in one order, each with the digest of its audio: where every later stage starts."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections import Counter, OrderedDict
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from asrctl.data import corpora, split_roles
from asrctl.data.corpus import Corpus, CorpusRequest
from asrctl.data.reading.embedded import CellReader
from asrctl.data.staleness import Watcher
from asrctl.data.utterance import (
    ARCHIVE_SEPARATOR,
    Utterance,
    is_table,
    read_manifest,
    split_path,
    write_manifest,
)
from asrctl.errors import BadData, StorageError, UsageError
from asrctl.events import Emit, Progress, Warned, ignore
from asrctl.messages import amounts, reasons
from asrctl.runtime.os_errors import fault_of_file
from asrctl.runtime.threads import in_order
from asrctl.storage import files, salt, scratch, stat_cache
from asrctl.storage.hashing import file_sha256
from asrctl.storage.names import made_of, shortened, valid_name
from asrctl.storage.workspace import Artifact, Key, Workspace

VERSION = 1
_CHUNK = 64
# Of the contents of cells, which are read before they are handed to a thread.
_CHUNK_BYTES = 4 << 20
_MAX_TWICE = 20
_RECENT = 4096


@dataclass(frozen=True)
class CorpusChoice:
    """Which corpus, where, and which of its splits are for what. name: what the results are called.

    address: a name or URL, where the corpus is fetched by one; then it has no source. options: the corpus' own that
    were typed, as `corpora.options` takes them.
    """

    corpus: str
    source: Optional[Path] = None
    address: Optional[str] = None
    splits: split_roles.RoleFlags = split_roles.RoleFlags()
    root: Optional[Path] = None
    download: bool = True
    name: Optional[str] = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Optional[str]:
        """The source or address, as it is typed."""
        return self.address if self.source is None else str(self.source)

    @property
    def data_name(self) -> str:
        """The name given, else that of the corpus, or of the user's own file or folder. Raises UsageError."""
        if self.name is not None:
            return valid_name(self.name)
        corpus, place = corpora.find(self.corpus), self.place
        if corpus.default_name is None or place is None:
            return valid_name(self.corpus)
        with corpus.blamed():
            stem = corpus.default_name(place)
        return shortened(made_of(stem, "-_+").strip("-")[:100]) or self.corpus


@dataclass(frozen=True)
class Listing:
    """The utterances of a corpus in a file of JSON lines. counts: {corpus split: utterances}. hints: as its reader gave
    them, {reason of a reject: what to do}. version: that of the corpus, where it has one.
    """

    path: Path
    counts: Mapping[str, int]
    hints: Mapping[str, str] = field(default_factory=dict)
    version: Optional[str] = None

    def utterances(self) -> Iterator[Utterance]:
        return read_manifest(self.path)

    @property
    def versioned(self) -> Mapping[str, str]:
        """What the version adds to the key of what is made of it: nothing where there is none."""
        return {"version": self.version} if self.version else {}


@contextmanager
def listed(
    workspace: Workspace,
    choice: CorpusChoice,
    emit: Emit = ignore,
    *,
    write: bool = True,
    watcher: Optional[Watcher] = None,
) -> Iterator[Tuple[Corpus, split_roles.WantedSplits, Listing]]:
    """List a corpus into a scratch file that goes when the block ends. write=False: leave the workspace untouched.

    watcher: is shown every file of transcripts. Raises BadData, MissingArtifact, UsageError.
    """
    corpus = corpora.find(choice.corpus)
    wanted = split_roles.wanted_splits(corpus, choice.splits)
    options = corpora.options(corpus, choice.options)
    with scratch.folder(workspace, write=write) as folder:
        request = _request(workspace, choice, wanted, emit)
        request = replace(request, options=options, write=write, salt=lambda: salt.of(workspace, write=write))
        if watcher is not None:
            request = replace(request, watch=watcher.reads)
        path = folder / "utterances.jsonl"
        counts: "Counter[str]" = Counter()
        hints: Dict[str, str] = {}
        versions: List[str] = []
        request = replace(request, hint=hints.__setitem__, tell_version=versions.append)
        with _Identities() as identities:
            found = _with_a_transcript(identities.checked(corpus.utterances(request)), choice, hints)
            write_manifest(path, _counted(found, counts, emit))
        if not counts:
            raise BadData(f"{choice.place or choice.corpus} holds no utterances", fix="check that this is the corpus")
        yield corpus, wanted, Listing(path, dict(counts), hints, "+".join(versions) or None)


def _with_a_transcript(
    found: Iterable[Utterance], choice: CorpusChoice, hints: Mapping[str, str]
) -> Iterator[Utterance]:
    """The same. Raises BadData at the end of a corpus without a word: before its audio is read."""
    has_audio = has_text = False
    for utterance in found:
        has_audio, has_text = True, has_text or bool(utterance.text.strip())
        yield utterance
    if has_audio and not has_text:
        raise BadData(
            f"no utterance of {choice.place or choice.corpus} has a transcript",
            fix=hints.get(
                "no-transcript", "put a .txt of the same name beside each recording, or check the text column"
            ),
        )


def _request(workspace: Workspace, choice: CorpusChoice, wanted: split_roles.WantedSplits, emit: Emit) -> CorpusRequest:
    if choice.root is not None and not choice.root.is_dir():
        raise UsageError(f"--root {choice.root} is not a folder", fix="name the folder that holds all audio")
    return CorpusRequest(
        source=choice.source,
        address=choice.address,
        splits=wanted.required,
        optional_splits=wanted.optional,
        root=choice.root,
        downloads=workspace.own(workspace.root / "downloads"),
        allow_download=choice.download,
        cache=workspace.own(workspace.root / "cache" / choice.corpus),
        emit=emit,
        refuse_output=workspace.refuse_managed,
    )


def _counted(found: Iterable[Utterance], counts: "Counter[str]", emit: Emit) -> Iterator[Utterance]:
    for number, utterance in enumerate(found, 1):
        counts[utterance.split] += 1
        if number % 1000 == 0:
            emit(Progress("list", number, None, "utterances"))
        yield utterance


class _Identities:
    """Refuses ids that come twice; the ids lie in a temporary database, so that memory stays flat."""

    def __enter__(self) -> "_Identities":
        # Without a name, SQLite makes a file that no killed program leaves behind.
        self._database = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID")
        return self

    def __exit__(self, *_: Any) -> None:
        self._database.close()

    def checked(self, found: Iterable[Utterance]) -> Iterator[Utterance]:
        """Raises BadData naming the ids that come twice, StorageError."""
        twice: List[str] = []
        for utterance in found:
            if not self._is_new(utterance.id):
                twice.append(utterance.id)
                if len(twice) >= _MAX_TWICE:
                    break
            elif not twice:
                yield utterance
        if twice:
            raise BadData(
                f"the corpus holds {len(twice)}{'+' if len(twice) >= _MAX_TWICE else ''} "
                f"{amounts.noun(len(twice), 'id')} more than once",
                fix="give each utterance an id of its own (column `id`), or remove the copies",
                problems=[f"{name} comes again" for name in twice],
            )

    def _is_new(self, identity: str) -> bool:
        row = (identity.encode("utf-8", "surrogatepass"),)
        try:
            return self._database.execute("INSERT OR IGNORE INTO ids VALUES (?)", row).rowcount > 0
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"the folder for temporary files takes no more ({reasons.reason(error)})",
                fix="free some space there, or name another by the variable TMPDIR",
            ) from None


# -- digests ----------------------------------------------------------------------------------------------------------


class _Audio(NamedTuple):
    """An utterance, and what is known of its audio file: status None where it can not be used.

    content: of the cell of a table, where its digest is not known.
    """

    utterance: Utterance
    container: str
    status: Optional[os.stat_result]
    sha256: Optional[str]
    content: Optional[bytes] = None

    @property
    def hashed(self) -> str:
        """What the digest is of: the file or archive, or the cell of a table."""
        return self.utterance.audio if is_table(self.container) else self.container


def publish(
    workspace: Workspace, listing: Listing, watcher: Watcher, *, workers: int, afresh: bool = False, emit: Emit = ignore
) -> Artifact:
    """The listing with audio digests, published as a `manifests` artifact. watcher: is shown every audio file.

    afresh: read every audio file, also those that look unchanged.

    Its ID comes from its own content, paths included: it says where things lie on this machine. What is made of it is
    named by digests alone. Raises OSError.
    """
    scratch_list = listing.path.with_name("digests.jsonl")
    write_manifest(scratch_list, _with_digests(workspace, listing, watcher, workers, afresh, emit))
    key = Key("manifests", VERSION, inputs={"listing": file_sha256(scratch_list)})
    with workspace.publish(key) as draft:
        if draft.published is None:
            os.replace(scratch_list, draft.path / "utterances.jsonl")
            draft.summary.update(splits=dict(listing.counts))
    return workspace.find(key.kind, key.id) or _vanished(key)


def _vanished(key: Key) -> Artifact:
    raise BadData(f"{key.kind}/{key.id} was deleted meanwhile", fix="run the command again")


def _with_digests(
    workspace: Workspace, listing: Listing, watcher: Watcher, workers: int, afresh: bool, emit: Emit
) -> Iterator[Utterance]:
    total = sum(listing.counts.values())
    with stat_cache.opened(workspace.own(workspace.cache("stat") / "stat.sqlite")) as cache:
        known = _Known(cache, afresh)
        chunks = known.chunks(listing.utterances())
        done = 0
        for chunk in in_order(_Hasher(), chunks, workers=workers, on_stall=_reporter(emit)):
            for item in chunk:
                known.remember(item)
                watcher.saw(item.container, item.status)
                yield replace(item.utterance, sha256=_digest_of(item))
            done += len(chunk)
            emit(Progress("check audio", done, total, "utterances"))


def _reporter(emit: Emit) -> Any:
    def stalled(chunk: List[_Audio], waited_s: float) -> None:
        emit(Warned(f"no progress for {waited_s:.0f} s: still reading {chunk[0].container} or a file after it"))

    return stalled


class _Known:
    """Digests that need no reading: of files seen a moment ago, or (but for afresh) unchanged since an earlier run."""

    def __init__(self, cache: stat_cache.StatCache, afresh: bool) -> None:
        self._cache = cache
        self._afresh = afresh
        self._recent: "OrderedDict[str, Tuple[Optional[os.stat_result], Optional[str]]]" = OrderedDict()
        self._cells: Optional[CellReader] = None

    def chunks(self, utterances: Iterable[Utterance]) -> Iterator[List[_Audio]]:
        chunk: List[_Audio] = []
        held = 0
        for utterance in utterances:
            item = self._seen(utterance)
            chunk.append(item)
            held += len(item.content or b"")
            if len(chunk) >= _CHUNK or held >= _CHUNK_BYTES:
                yield chunk
                chunk, held = [], 0
        if chunk:
            yield chunk

    def _seen(self, utterance: Utterance) -> _Audio:
        container, member = split_path(utterance.audio)
        is_cell = member is not None and is_table(container)
        hashed = utterance.audio if is_cell else container
        status, digest = self._recent.get(hashed) or (files.regular_status(container), None)
        if status is not None and digest is None and not self._afresh:
            digest = self._cache.get(hashed, status)
        content = self._content(container, member) if is_cell and status is not None and digest is None else None
        return _Audio(utterance, container, status, digest, content)

    def _content(self, table: str, cell: Optional[str]) -> Optional[bytes]:
        """Of a cell; None where it can not be read. Raises OSError."""
        if self._cells is None or str(self._cells.path) != table:
            self._cells = CellReader(Path(table))
        try:
            return self._cells.read(cell or "")
        except BadData:  # told when it is to be decoded
            return None

    def remember(self, item: _Audio) -> None:
        if item.hashed in self._recent:
            return
        if item.status is not None and item.sha256 is not None:
            self._cache.put(item.hashed, item.status, item.sha256)
        self._recent[item.hashed] = (item.status, item.sha256)
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)


class _Hasher:
    """Fills in missing digests; a file that several utterances share is read by one thread, once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: "OrderedDict[str, Future]" = OrderedDict()

    def __call__(self, chunk: List[_Audio]) -> List[_Audio]:
        return [self._filled(item) for item in chunk]

    def _filled(self, item: _Audio) -> _Audio:
        if item.status is None or item.sha256 is not None:
            return item
        if is_table(item.container):
            digest = hashlib.sha256(item.content).hexdigest() if item.content is not None else None
            return item._replace(sha256=digest, content=None)
        return item._replace(sha256=self._digest(item.container))

    def _digest(self, path: str) -> Optional[str]:
        with self._lock:
            first = path not in self._found
            future = self._found.setdefault(path, Future())
            if len(self._found) > _RECENT:
                self._found.popitem(last=False)
        if first:
            try:
                future.set_result(_sha256(path))
            except BaseException as error:
                future.set_exception(error)
        return future.result()


def _sha256(path: str) -> Optional[str]:
    """None where the file can not be read to its end."""
    try:
        return file_sha256(Path(path))
    except OSError as error:
        if fault_of_file(error) is None:
            raise
        return None


def _digest_of(item: _Audio) -> Optional[str]:
    """The digest of the file or cell; for a member of an archive, one of the archive's digest and the member's name."""
    member = split_path(item.utterance.audio)[1]
    if item.sha256 is None or member is None or is_table(item.container):
        return item.sha256
    return hashlib.sha256(f"{item.sha256}{ARCHIVE_SEPARATOR}{member}".encode("utf-8", "surrogatepass")).hexdigest()
