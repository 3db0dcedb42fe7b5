"""Fetch archives: told before, resumed after a break, checked by MD5, never trusted half.

What has arrived lies in NAME.part; the name without `.part` appears only after size and MD5 were right.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Dict, Iterator, List, Sequence

from asrctl.data.corpus import CorpusRequest
from asrctl.errors import BadData, Locked, MissingArtifact, StorageError
from asrctl.events import Emit, Note, Progress, Warned
from asrctl.messages import amounts, reasons
from asrctl.storage import flock
from asrctl.storage.files import fsync_path, make_folder

_BLOCK = 1 << 18
_MB = 1e6


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: where from, its name here, and what proves it right."""

    url: str
    name: str
    size: int
    md5: str


@dataclass(frozen=True)
class Patience:
    """timeout_s without a byte (or under `slowest` bytes per second for so long) breaks a connection; `tries` of these
    in a row that bring less than `progress` bytes end the download. Pauses between them start at pause_s and double."""

    timeout_s: float = 30.0
    tries: int = 5
    pause_s: float = 1.0
    slowest: int = 1000
    progress: int = 1 << 20


def missing_bytes(files: Sequence[RemoteFile], folder: Path) -> Dict[str, int]:
    """{name: bytes} of those that are not in `folder` yet."""
    return {file.name: file.size for file in files if not is_complete(file, folder)}


def fetched(files: Sequence[RemoteFile], request: CorpusRequest, corpus: str) -> List[Path]:
    """Where the files lie, fetched where they are missing, and only those. Raises BadData, MissingArtifact."""
    folder = request.downloads
    missing = [file for file in files if folder is None or not is_complete(file, folder)]
    if missing and (folder is None or not request.allow_download):
        names = ", ".join(file.name for file in missing)
        raise MissingArtifact(
            f"{names} would have to be downloaded ({amounts.size(sum(file.size for file in missing))})",
            fix=f"run without --no-download, or say where the corpus is: `asrctl prepare {corpus} FOLDER`",
        )
    if folder is None:
        return []
    if missing:
        _tell(missing, folder, request.emit)
    for file in missing:
        fetch(file, folder, request.emit)
    return [folder / file.name for file in files]


def is_complete(file: RemoteFile, folder: Path) -> bool:
    path = folder / file.name
    return path.is_file() and path.stat().st_size == file.size


def _tell(missing: Sequence[RemoteFile], folder: Path, emit: Emit) -> None:
    """Say how much will come and how much fits. Raises StorageError where it does not fit."""
    make_folder(folder)
    parts = [folder / f"{file.name}.part" for file in missing]
    have = sum(part.stat().st_size for part in parts if part.exists())
    rest, free = sum(file.size for file in missing) - have, shutil.disk_usage(str(folder)).free
    names = ", ".join(file.name for file in missing)
    emit(Note(f"to download: {names}, {amounts.size(rest)} into {folder} ({amounts.size(free)} free)"))
    if rest > free:
        raise StorageError(
            f"the download needs {amounts.size(rest)}, and {folder} has {amounts.size(free)} free",
            fix="free some space, or choose a --workspace on a larger disk",
        )


def fetch(file: RemoteFile, folder: Path, emit: Emit, patience: Patience = Patience()) -> Path:
    """Download `file` into `folder`, going on where an earlier try stopped; its path. Raises BadData, Locked."""
    target, part = folder / file.name, folder / f"{file.name}.part"
    make_folder(folder)
    if is_complete(file, folder):
        return target
    with _held(part) as stream:
        if is_complete(file, folder):  # somebody else was first, and took the .part that we did not see
            with suppress(FileNotFoundError):  # they may have taken it since
                part.unlink()
            return target
        _fill(file, stream, emit, patience)
        _verify(file, stream, part, emit)
        os.fsync(stream.fileno())
        os.replace(part, target)
    fsync_path(folder)
    return target


@contextmanager
def _held(part: Path) -> Iterator[IO[bytes]]:
    with open(part, "a+b") as stream:
        try:
            flock.take(stream, part)
        except BlockingIOError:
            raise Locked(f"another process is downloading {part.name}", fix="wait for it, then run again") from None
        yield stream


class _Broken(Exception):
    """The connection failed; what has arrived is kept. `final`: trying again is of no use."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


def _fill(file: RemoteFile, stream: IO[bytes], emit: Emit, patience: Patience) -> None:
    """Bring `stream` to file.size bytes."""
    failures, mark = 0, stream.seek(0, os.SEEK_END)
    if mark > file.size:
        mark = stream.truncate(0)
    while True:
        try:
            _receive(file, stream, emit, patience)
            return
        except _Broken as broken:
            have = stream.seek(0, os.SEEK_END)
            failures = 1 if have >= mark + patience.progress else failures + 1
            mark = have
            if broken.final or failures >= patience.tries:
                raise _given_up(file, broken.reason, have) from None
            emit(Warned(f"{file.name}: {broken.reason}; trying again at {amounts.size(have)}"))
            time.sleep(patience.pause_s * 2 ** (failures - 1))


def _receive(file: RemoteFile, stream: IO[bytes], emit: Emit, patience: Patience) -> None:
    """One connection: append what it brings, to file.size at most. Raises _Broken where that is not all."""
    have = stream.seek(0, os.SEEK_END)
    if have == file.size:
        return
    with _connected(file, have, patience) as answer:
        if have and not _goes_on(answer, have):
            have = stream.truncate(0)  # a server without ranges sends all of it again
        window, window_start = 0, time.monotonic()
        while have < file.size:
            data = _some(answer, file.size - have)
            stream.write(data)
            have += len(data)
            emit(Progress(f"download {file.name}", round(have / _MB, 1), round(file.size / _MB, 1), "MB"))
            window += len(data)
            elapsed = time.monotonic() - window_start
            if elapsed > patience.timeout_s:
                if window < patience.slowest * elapsed:
                    raise _Broken("the server has almost stopped sending")
                window, window_start = 0, time.monotonic()


@contextmanager
def _connected(file: RemoteFile, have: int, patience: Patience) -> Iterator[http.client.HTTPResponse]:
    headers = {"User-Agent": "asrctl", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(file.url, headers=headers), timeout=patience.timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            passing = error.code >= 500 or error.code in (408, 416, 429)
            raise _Broken(f"the server answers {error.code} {error.reason}", final=not passing) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        raise _Broken(reason, final=isinstance(error, ValueError)) from None
    with answer:
        yield answer


def _some(answer: http.client.HTTPResponse, limit: int) -> bytes:
    try:
        data = answer.read1(min(_BLOCK, limit))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Broken(reasons.reason(error)) from None
    if not data:
        raise _Broken("the connection ended early")
    return data


def _goes_on(answer: http.client.HTTPResponse, have: int) -> bool:
    """Whether the answer begins at byte `have`."""
    return answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _verify(file: RemoteFile, stream: IO[bytes], part: Path, emit: Emit) -> None:
    hasher, done = hashlib.md5(), 0
    stream.flush()
    stream.seek(0)
    for block in iter(lambda: stream.read(1 << 20), b""):
        hasher.update(block)
        done += len(block)
        emit(Progress(f"check {file.name}", round(done / _MB), round(file.size / _MB), "MB"))
    if done != file.size or hasher.hexdigest() != file.md5:
        part.unlink()
        raise BadData(
            f"{file.name} from {file.url} is not the published file (MD5 {hasher.hexdigest()}, not {file.md5})",
            fix="run the command again to fetch it anew, or get the archive from another mirror",
        )


def _given_up(file: RemoteFile, reason: str, have: int) -> BadData:
    place = f"{amounts.size(have)} of {amounts.size(file.size)}"
    return BadData(
        f"{file.url} could not be fetched: {reason}",
        fix=f"check the network and run the command again; it goes on at {place}",
    )
