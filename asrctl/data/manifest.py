"""Corpus -> a list of utterances in one order, each with the digest of its audio: where every later stage starts."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from asrctl.data import corpora, digests, elsewhere, split_roles
from asrctl.data.corpus import Corpus, CorpusRequest
from asrctl.data.shared_work import Shares
from asrctl.data.staleness import Watcher
from asrctl.data.utterance import Utterance, read_manifest, split_path, write_manifest
from asrctl.errors import BadData, StorageError, UsageError
from asrctl.events import Emit, Progress, ignore
from asrctl.messages import amounts, reasons
from asrctl.storage import addresses, salt, scratch, stat_cache
from asrctl.storage.hashing import file_sha256
from asrctl.storage.names import made_of, shortened, valid_name
from asrctl.storage.workspace import Artifact, Key, Workspace

VERSION = 1
_MAX_TWICE = 20


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
            stem = corpus.default_name(addresses.without_query(place))
        return shortened(made_of(stem, "-_+").strip("-")[:100]) or self.corpus


@dataclass(frozen=True)
class Listing:
    """The utterances of a corpus in a file of JSON lines. counts: {corpus split: utterances}. hints: as its reader gave
    them, {reason of a reject: what to do}. version: that of the corpus, where it has one. to_fetch: {what: bytes} that
    a dry run has left where it is.
    """

    path: Path
    counts: Mapping[str, int]
    hints: Mapping[str, str] = field(default_factory=dict)
    version: Optional[str] = None
    to_fetch: Mapping[str, int] = field(default_factory=dict)

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
    salted: bool = False,
) -> Iterator[Tuple[Corpus, split_roles.WantedSplits, Listing]]:
    """List a corpus into a scratch file that goes when the block ends. write=False: leave the workspace untouched.

    watcher: is shown every file of transcripts. salted: the workspace's salt is kept all the same, as several jobs need
    one. Raises BadData, MissingArtifact, UsageError.
    """
    corpus = corpora.find(choice.corpus)
    wanted = split_roles.wanted_splits(corpus, choice.splits)
    options = corpora.options(corpus, choice.options)
    with scratch.folder(workspace, write=write) as folder:
        request = _request(workspace, choice, wanted, emit)
        request = replace(request, options=options, write=write, salt=lambda: salt.of(workspace, write=write or salted))
        if watcher is not None:
            request = replace(request, watch=watcher.reads)
        path = folder / "utterances.jsonl"
        counts: "Counter[str]" = Counter()
        hints: Dict[str, str] = {}
        versions: List[str] = []
        request = replace(request, hint=hints.__setitem__, tell_version=versions.append)
        with elsewhere.reachable(workspace, corpus, request) as request:
            with _Identities() as identities:
                found = _with_a_transcript(identities.checked(corpus.utterances(request)), choice, hints)
                write_manifest(path, _counted(found, counts, emit))
            if not counts:
                what = f"{choice.place or choice.corpus} holds no utterances"
                raise BadData(what, fix="check that this is the corpus")
            planned = request.remote.planned if request.remote is not None else {}
            yield corpus, wanted, Listing(path, dict(counts), hints, "+".join(versions) or None, planned)


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


def publish(
    workspace: Workspace,
    listing: Listing,
    watcher: Watcher,
    *,
    workers: int,
    afresh: bool = False,
    shares: Optional[Shares] = None,
    emit: Emit = ignore,
) -> Artifact:
    """The listing with audio digests, published as a `manifests` artifact. watcher: is shown every audio file.

    afresh: read every audio file, also those that look unchanged. shares: of jobs that have read them.

    Its ID comes from its own content, paths included: it says where things lie on this machine. What is made of it is
    named by digests alone. Raises OSError.
    """
    scratch_list = listing.path.with_name("digests.jsonl")
    if shares is not None:
        write_manifest(scratch_list, _watched(shares.with_digests(listing.utterances()), watcher))
    else:
        total = sum(listing.counts.values())
        with stat_cache.opened(workspace.own(workspace.cache("stat") / "stat.sqlite")) as cache:
            found = digests.filled_in(
                listing.utterances(), total, cache, watcher.saw, workers=workers, afresh=afresh, emit=emit
            )
            write_manifest(scratch_list, found)
    key = Key("manifests", VERSION, inputs={"listing": file_sha256(scratch_list)})
    with workspace.publish(key) as draft:
        if draft.published is None:
            os.replace(scratch_list, draft.path / "utterances.jsonl")
            draft.summary.update(splits=dict(listing.counts))
    return workspace.find(key.kind, key.id) or _vanished(key)


def _vanished(key: Key) -> Artifact:
    raise BadData(f"{key.kind}/{key.id} was deleted meanwhile", fix="run the command again")


def _watched(utterances: Iterable[Utterance], watcher: Watcher) -> Iterator[Utterance]:
    """The same; the watcher is shown their files, of which it looks at a few."""
    for utterance in utterances:
        watcher.passes(split_path(utterance.audio)[0])
        yield utterance
