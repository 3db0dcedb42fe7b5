"""Recordings that commands write, as wav.scp may name them: run once, and kept in files of bounded size.

Kaldi hands what stands before the "|" to popen, so it is a line for the shell, with pipes and quotes, and run with the
rights of whoever runs Kaldi (src/util/kaldi-io.cc). Nobody's commands are run here who has not asked for it.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from select import select
from typing import Any, List, Optional

from asrctl.data.reading.tally import Tally
from asrctl.errors import StorageError
from asrctl.storage import files
from asrctl.storage.hashing import canonical_json

OUTPUTS = ("*.audio",)
# A command that writes nothing for as long has come to grief.
_SILENT_S = 600.0
_BRIEF_S = 1.0
_BLOCK = 1 << 20
_MAX_TOLD = 300
_SHELL = "/bin/sh"


class _Failed(Exception):
    """A command that gave no recording."""


class Commands:
    """Runs commands, each in a folder; their output lies in `cache`, None for a pass that may not write.

    most_bytes: of all that lies there.
    """

    def __init__(self, cache: Optional[Path], most_bytes: int) -> None:
        self._cache = cache
        self._left = most_bytes
        self._most = most_bytes
        self.run = 0
        self.failed = Tally()
        if cache is not None:
            self._left -= sum(path.stat().st_size for path in cache.glob(OUTPUTS[0]) if path.is_file())

    def output(self, command: str, folder: Path) -> str:
        """The file with what a command writes; none is there where it fails. Raises StorageError, OSError."""
        self.run += 1
        path = (self._cache or Path(os.devnull)) / f"{_digest(command, folder)}{OUTPUTS[0][1:]}"
        if self._cache is None or files.is_file(path):
            return str(path)
        try:
            with files.atomic_path(path) as temporary:
                self._left -= _written(command, folder, temporary, self._left)
        except _Failed as failure:
            self.failed.add(f"`{command}`: {failure}")
        except _TooMuch:
            raise StorageError(
                f"what commands write takes more than {self._most / 1e9:g} GB ({path.parent})",
                fix="allow more with --commands-gb, delete it with `asrctl clean cache --yes`, or write the "
                "recordings to files of your own and name these",
            ) from None
        return str(path)


class _TooMuch(Exception):
    """More output than there is room for."""


def _digest(command: str, folder: Path) -> str:
    """Another one when the command, or a file that it names, is another."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    seen: List[Any] = []
    for word in words:
        status = files.regular_status(os.path.join(str(folder), word))
        if status is not None:
            seen.append([word, status.st_size, status.st_mtime_ns])
    return hashlib.sha256(canonical_json([command, str(folder), seen])).hexdigest()[:32]


def _written(command: str, folder: Path, path: Path, most: int) -> int:
    """Bytes that a command has written to `path`. Raises _Failed, _TooMuch."""
    process = subprocess.Popen(
        [_SHELL, "-c", command],
        cwd=str(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    told = _Told(process.stderr)
    try:
        with open(path, "wb") as target:
            count = _copied(process.stdout, target, most)
        status = process.wait(timeout=_SILENT_S)
    except subprocess.TimeoutExpired:
        raise _Failed("it does not end") from None
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # what it has started goes with it
        process.wait()
        told.join(_BRIEF_S)  # something that goes on in the background may hold it open
        for stream in (process.stdout, process.stderr):
            stream.close()  # type: ignore[union-attr]
    if status != 0 or not count:
        why = f"it ends with {status}" if status else "it writes nothing"
        raise _Failed(f"{why}{told}")
    return count


def _copied(source: Any, target: Any, most: int) -> int:
    count = 0
    while True:
        if not select([source], [], [], _SILENT_S)[0]:
            raise _Failed(f"it has written nothing for {_SILENT_S:.0f} s")
        block = os.read(source.fileno(), _BLOCK)
        if not block:
            return count
        count += len(block)
        if count > most:
            raise _TooMuch
        target.write(block)


class _Told(threading.Thread):
    """Reads what a command says on stderr, and keeps the end of it."""

    def __init__(self, stream: Any) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._end = b""
        self.start()

    def run(self) -> None:
        with suppress(OSError, ValueError):
            for block in iter(lambda: os.read(self._stream.fileno(), 1 << 16), b""):
                self._end = (self._end + block)[-4096:]

    def __str__(self) -> str:
        found = [line.strip() for line in self._end.decode("utf-8", "replace").splitlines() if line.strip()]
        return f" ({found[-1][:_MAX_TOLD]})" if found else ""
