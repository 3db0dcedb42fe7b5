"""Corpora that lie on other machines, in a bucket or behind a URL: their readers find them in a folder here."""

from __future__ import annotations

import posixpath
from contextlib import contextmanager
from dataclasses import replace
from typing import Dict, Iterator, Tuple

from asrctl.data.corpus import STREAMING, Corpus, CorpusRequest
from asrctl.data.reading import shards
from asrctl.data.utterance import ARCHIVE_SUFFIXES
from asrctl.errors import AsrctlError, UsageError
from asrctl.events import Note
from asrctl.storage import addresses
from asrctl.storage.addresses import Address
from asrctl.storage.remote.mirror import Mirror
from asrctl.storage.workspace import Workspace

# In the workspace's cache; no corpus is called so.
CACHE = "remote"


@contextmanager
def reachable(workspace: Workspace, corpus: Corpus, request: CorpusRequest) -> Iterator[CorpusRequest]:
    """The request as a reader takes it: with a source on this machine, and what fetches the files that lists name.

    Raises BadData, MissingArtifact, MissingDependency, StorageError, UsageError.
    """
    with _mirror(workspace, request) as mirror, _told_by_address(request, mirror):
        yield _localized(replace(request, remote=mirror), mirror, corpus)


@contextmanager
def _told_by_address(request: CorpusRequest, mirror: Mirror) -> Iterator[None]:
    """Within the block, errors name the corpus as it was typed rather than where it lies here."""
    try:
        yield
    except AsrctlError as error:
        if request.address is not None and addresses.is_known(request.address):
            address = addresses.parsed(request.address)
            for place in (mirror.local(address), mirror.standing(address)):
                error.message = error.message.replace(str(place), address.shown)
                error.fix = error.fix.replace(str(place), address.shown)
                error.problems = tuple(line.replace(str(place), address.shown) for line in error.problems)
            error.args = (error.message,)
        raise


def missing(workspace: Workspace, corpus: Corpus, request: CorpusRequest) -> Dict[str, int]:
    """{file or folder: bytes} that `reachable` would fetch first. Raises as it does."""
    if request.address is None or not addresses.is_address(request.address) or corpus.takes(request.address):
        return {}
    _check(request)
    with _mirror(workspace, request) as mirror:
        found: Dict[str, int] = {}
        for address in _meant(request.address, corpus):
            found.update(mirror.missing(address, _streams(request)))
        return found


@contextmanager
def _mirror(workspace: Workspace, request: CorpusRequest) -> Iterator[Mirror]:
    folder = workspace.own(workspace.root / "cache" / CACHE)
    mirror = Mirror(folder, request.emit, download=request.allow_download, write=request.write)
    try:
        yield mirror
    finally:
        mirror.close()


def _localized(request: CorpusRequest, mirror: Mirror, corpus: Corpus) -> CorpusRequest:
    word = request.address
    is_name = word is not None and corpus.fetches and not addresses.is_address(word)
    if request.options.get(STREAMING.key) and not is_name and (word is None or not addresses.is_address(word)):
        request.emit(Note("the corpus lies on this machine, so --streaming changes nothing"))
    if word is None or not addresses.is_address(word):
        return request
    if corpus.takes(word):
        return request
    _check(request)
    address = addresses.parsed(word)
    if corpus.is_address(word):
        everything = _meant(word, corpus)
        streams = _streams(request)
        for one in everything if not streams else ():
            mirror.ahead(one)
        for one in everything:
            mirror.whole(one, streams)
        return replace(request, address=str(mirror.standing(address) if streams else mirror.local(address)))
    source = mirror.whole(address, _streams(request))
    if source.is_file():  # what it names lies beside it
        mirror.top = address._replace(path=posixpath.dirname(address.path), query="")
    return replace(request, source=source, address=None)


def _streams(request: CorpusRequest) -> Tuple[str, ...]:
    """Endings of the files that are read where they are."""
    return ARCHIVE_SUFFIXES if request.options.get(STREAMING.key) else ()


def _meant(word: str, corpus: Corpus) -> "list[Address]":
    """Several where a pattern stands for them."""
    return [addresses.parsed(one) for one in (shards.expanded(word) if corpus.is_address(word) else [word])]


def _check(request: CorpusRequest) -> None:
    """Raises UsageError."""
    if request.root is not None:
        raise UsageError("--root is of files on this machine, and the corpus is not", fix="leave --root out")
