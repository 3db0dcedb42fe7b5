"""Whether a corpus still is what it was when it was prepared, by the sizes and times of a few of its files.

A sample, so that the answer is quick however large the corpus is: the list or folder that the user named, some audio
files and some files of transcripts drawn by the hash of their path, and the number of files in the folders where the
audio lies.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from asrctl.messages import amounts, command_lines
from asrctl.storage import files, records
from asrctl.storage.redact import redact_values
from asrctl.storage.workspace import Workspace

SAMPLE = 64
# Words of a command that say how it talks, not what it makes.
_TALK = ("--json", "--verbose", "-v", "--force", "--merge")


# Size and times in ns; that of the last change too, as an archive may give every version of a file the same mtime.
Signature = Tuple[int, ...]


@dataclass(frozen=True)
class SourceRecord:
    """What a corpus was when it was prepared, as it stands with the data's name. An earlier asrctl has less of it.

    command: as it was typed, in cwd. source: what the user named. list: signature of the source, where it is a file.
    audio, texts: {path: signature, None where there was no such file}. folders: {path: (time in ns, entries)}.
    """

    command: Tuple[str, ...] = ()
    cwd: str = ""
    source: Optional[str] = None
    list: Optional[Signature] = None
    audio: Mapping[str, Optional[Signature]] = field(default_factory=dict)
    texts: Mapping[str, Optional[Signature]] = field(default_factory=dict)
    folders: Mapping[str, Signature] = field(default_factory=dict)
    workspace: str = ""

    def __post_init__(self) -> None:
        if self.command[:1] not in ((), ("asrctl",)):  # it is shown to people, who may type it
            raise ValueError("its command is another program's")
        if any(len(seen) != 2 for seen in self.folders.values()):
            raise ValueError("folders")


class _Sample:
    """A sample of a stream of files. kept: {path: status, None where there is no such file}."""

    def __init__(self) -> None:
        self.kept: Dict[str, Optional[os.stat_result]] = {}
        self._heap: List[Tuple[int, str]] = []

    def offer(self, path: str, status: Callable[[], Optional[os.stat_result]]) -> None:
        """status: is asked only for a file that is kept."""
        if path in self.kept:
            return
        rank = -int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "big")
        if len(self._heap) >= SAMPLE and rank < self._heap[0][0]:
            return
        heapq.heappush(self._heap, (rank, path))
        self.kept[path] = status()
        if len(self._heap) > SAMPLE:
            del self.kept[heapq.heappop(self._heap)[1]]


class Watcher:
    """Records a sample of the audio and transcript files that reading a corpus touches.

    source: what the user named. workspace: its cache is of no account, and the folder itself counts for nothing where
    it lies among the recordings.
    """

    def __init__(self, source: Optional[Path], workspace: Path) -> None:
        self._source = str(source.absolute()) if source is not None else None
        self._workspace = str(workspace.absolute())
        self._cache = os.path.join(self._workspace, "cache", "")
        self._audio, self._texts, self._lists = _Sample(), _Sample(), _Sample()

    def saw(self, path: str, status: Optional[os.stat_result]) -> None:
        """path: an audio file or archive. status: None where there is no such file."""
        self._audio.offer(path, lambda: status)

    def passes(self, path: str) -> None:
        """path: an audio file or archive that another job has read; it is looked at only where it is in the sample."""
        self._audio.offer(path, lambda: files.regular_status(path))

    def reads(self, path: str) -> None:
        """path: a file of transcripts that is about to be read, so that a change while it is read is noticed later."""
        # A list speaks for many recordings, so it is not drawn among the transcripts of single ones.
        sample = self._texts if path.lower().endswith(".txt") else self._lists
        sample.offer(path, lambda: _status(path))

    def record(self, command: Sequence[str]) -> SourceRecord:
        """For `changes`, with the command that prepares the corpus and where it was typed."""
        seen = self._seen(self._audio)
        texts = {**self._seen(self._lists), **self._seen(self._texts)}
        folders = {str(Path(path).parent) for path in seen}
        if self._source is not None and Path(self._source).is_dir():
            folders.add(self._source)
        words = [word for word in command if word not in _TALK]
        return SourceRecord(
            command=tuple(redact_values(words)) if all(_is_text(word) for word in words) else (),
            cwd=str(Path.cwd()),
            source=self._source,
            list=_signature(_status(self._source)) if self._source and Path(self._source).is_file() else None,
            audio={path: _signature(status) for path, status in sorted(seen.items())},
            texts={path: _signature(status) for path, status in sorted(texts.items())},
            folders={path: _entries(path, self._workspace) for path in sorted(folders)},
            workspace=self._workspace,
        )

    def _seen(self, sample: _Sample) -> Dict[str, Optional[os.stat_result]]:
        seen = {str(Path(path).absolute()): status for path, status in sample.kept.items()}
        return {path: status for path, status in seen.items() if not path.startswith(self._cache)}


def checked(record: Any, name: str) -> SourceRecord:
    """The record of a name as it lies in a workspace; an empty one where there is none. Raises BadData."""
    damaged = f"what is known of {name!r} is damaged"
    return records.read(SourceRecord, record or {}, damaged, fix="prepare that corpus again")


def changes(record: SourceRecord) -> Optional[str]:
    """What is not as it was, in a sentence, or None. Looks at a sample: at most some dozens of files and folders."""
    source = record.source
    if source is not None and not Path(source).exists():
        return f"{source} is gone"
    if record.list is not None and not _same(_signature(_status(source)), record.list):
        return f"{source} has changed since"
    return (
        _other_files(record.audio, "audio files")
        or _other_files(record.texts, "files of transcripts")
        or _other_folder(record)
    )


def _other_files(then: Mapping[str, Optional[Signature]], what: str) -> Optional[str]:
    now = {path: _signature(_status(path)) for path in then}
    gone = [path for path in now if now[path] is None and then[path] is not None]
    other = [path for path in now if not _same(now[path], then[path]) and path not in gone]
    for paths, how in ((gone, "gone"), (other, "changed")):
        if paths:
            verb = "is" if len(paths) == 1 else "are"
            return f"{len(paths)} of {len(now)} {what} looked at {verb} {how}, such as {paths[0]}"
    return None


def command(record: SourceRecord, instead: Optional[Mapping[str, str]] = None) -> Optional[str]:
    """What to type to prepare the corpus again, from any folder. instead: {option: value} to give this time."""
    if not record.command or (instead and record.command[1:2] != ("prepare",)):
        return None
    words = command_lines.without(record.command, instead or {})
    words += [word for option, value in (instead or {}).items() for word in (option, value)]
    line = command_lines.shown(words)
    return line if record.cwd in ("", str(Path.cwd())) else f"cd {shlex.quote(record.cwd)} && {line}"


def again(workspace: Workspace, name: str, identity: str, options: Mapping[str, str]) -> str:
    """How to prepare data again with other options: by what was typed; with the options alone where that is not known.

    identity: of the data that is meant, which may not be what its name stands for any more. Raises BadData.
    """
    record = SourceRecord()
    if workspace.names("prepared").get(name) == identity:
        record = checked(workspace.ref("prepared", name).get("source"), name)
    typed = command(record, options)
    return f"by `{typed}`" if typed else f"with {' '.join(f'{option} {value}' for option, value in options.items())}"


def _other_folder(record: SourceRecord) -> Optional[str]:
    for path, (time_ns, count) in record.folders.items():
        status = _status(path)
        if status is None or not stat.S_ISDIR(status.st_mode) or status.st_mtime_ns == time_ns:
            continue
        now = _entries(path, record.workspace)[1]
        if now != count:
            return (
                f"{path} holds {amounts.count(now, 'file or folder', 'files and folders')}, {count} when it was "
                "prepared"
            )
    return None


def _status(path: Optional[str]) -> Optional[os.stat_result]:
    try:
        return Path(path).stat() if path is not None else None
    except (OSError, ValueError):
        return None


def _signature(status: Optional[os.stat_result]) -> Optional[Signature]:
    return None if status is None else (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _same(now: Optional[Signature], then: Optional[Signature]) -> bool:
    """Whether two signatures agree; a record of an earlier asrctl holds no time of the last change."""
    return now == then or (now is not None and then is not None and len(then) == 2 and now[:2] == then)


def _entries(folder: str, workspace: str) -> Signature:
    """(time of the folder in ns, visible entries but the workspace)."""
    status = _status(folder)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return 0, 0
    with os.scandir(folder) as entries:
        count = sum(1 for entry in entries if not entry.name.startswith(".") and entry.path != workspace)
    return status.st_mtime_ns, count


def _is_text(word: str) -> bool:
    """Whether people can read it, and type it again; file names need not be UTF-8."""
    try:
        word.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
