"""Where transcripts go: to stdout, into one file, or into a folder, which is gone on with where it was stopped.

A folder keeps FILE beside its transcripts, a line for each finished recording: what was heard, and by what. What
another model, decoder or format would write differs, so it is not mixed.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from asrctl.commands.transcribe_inputs import Source
from asrctl.errors import BadData, Locked, UsageError
from asrctl.evaluation.transcript_files import FORMATS
from asrctl.storage import files, flock, output_files, output_paths, records
from asrctl.storage.output_files import OutputFile
from asrctl.storage.workspace import Workspace

FILE = ".asrctl-transcripts.jsonl"
_FIX = "choose another --output, or add --force to make all of them anew"
_FIX_SAME_NAME = "choose another folder for recordings of the same name: --output FOLDER"
_FIX_DAMAGED = "remove that file, and the transcripts are made anew"


@dataclass(frozen=True)
class Finished:
    """A line of FILE. name: of the recording; path: where it was; output: of its transcript, in the folder. size,
    changed: of the recording (bytes, nanoseconds). what: what decides a transcript beside the recording. audio_s: its
    length; words: how many."""

    name: str
    output: str
    size: int
    changed: int
    what: Mapping[str, Any]
    audio_s: float
    words: int
    path: str = ""


@dataclass(frozen=True)
class Folder:
    """A folder of transcripts. outputs: {recording: its transcript in the folder}; force: nothing is kept."""

    path: Path
    outputs: Mapping[str, str]
    what: Mapping[str, Any]
    force: bool
    done: Dict[str, Finished]

    def finished(self, source: Source) -> Optional[Finished]:
        """What was finished before and still holds."""
        found = self.done.get(source.name)
        if found is None or not files.is_file(self.path / found.output):
            return None
        same = (found.size, found.changed) == _stamp(source.path) and found.output == self.outputs[source.name]
        return found if same else None

    def write(self, source: Source, lines: Sequence[str], audio_s: float, words: int) -> Path:
        """The transcript, whole or not at all, and then the line that says so. Raises UsageError, OSError."""
        output = self.outputs[source.name]
        target = self.path / output
        if source.name not in self.done and not self.force:
            output_paths.refuse_overwriting(target, lambda path: True, what="a transcript", replace=False)
        files.write_text(target, "".join(f"{line}\n" for line in lines))
        path = os.path.realpath(str(source.path))
        self.done[source.name] = Finished(source.name, output, *_stamp(source.path), self.what, audio_s, words, path)
        with open(self.path / FILE, "ab") as stream:
            stream.write(json.dumps(records.as_dict(self.done[source.name])).encode("ascii") + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        return target

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other command writes here meanwhile. What a killed one left of its last line goes. Raises Locked."""
        files.make_folder(self.path)
        descriptor = os.open(str(self.path), os.O_RDONLY)
        try:
            flock.take(descriptor, self.path)
            rows = (json.dumps(records.as_dict(row)) for row in self.done.values())
            files.write_text(self.path / FILE, "".join(f"{row}\n" for row in rows))
            yield
        except BlockingIOError:
            raise Locked(f"another command writes transcripts to {self.path}", fix="wait until it ends") from None
        finally:
            os.close(descriptor)


def _stamp(path: Path) -> Tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def is_folder(output: Path, typed: str, sources: Sequence[Source], named: Sequence[str], form: str) -> bool:
    """Whether --output means a folder: one is there, or is spelled so, or the format has a file for each recording.

    named: what was typed as recordings.
    """
    if output.is_dir() or typed.endswith(("/", os.sep)):
        return True
    of_folder = any(files.is_folder(files.expanded(word)) for word in named)
    return (len(sources) > 1 or of_folder) and not (FORMATS[form].shared and output.suffix)


def folder(
    workspace: Workspace, output: Path, sources: Sequence[Source], form: str, what: Mapping[str, Any], *, force: bool
) -> Folder:
    """Raises UsageError where it can not be, or holds transcripts of another kind; BadData, OSError."""
    path = output_paths.resolve(output)
    workspace.refuse_managed(path)
    if os.path.lexists(str(path)) and not path.is_dir():
        raise UsageError(f"{path} is a file", fix="name a folder for several transcripts")
    output_paths.refuse_unwritable(path)
    done = {} if force else _read(path / FILE)
    for row in done.values():
        differ = sorted(key for key in {*row.what, *what} if row.what.get(key) != what.get(key))
        if differ:
            was = ", ".join(f"{key} {row.what.get(key)}" for key in differ)
            raise UsageError(f"{path} holds transcripts of another kind ({was})", fix=_FIX)
    found = Folder(path, _names(sources, FORMATS[form].suffix), what, force, done)
    _refuse_strangers(found, sources)
    return found


def _refuse_strangers(found: Folder, sources: Sequence[Source]) -> None:
    """Raises UsageError where a file that we did not write, or the transcript of another recording which is still
    there, has the name of a transcript."""
    for source in sources:
        target = found.path / found.outputs[source.name]
        before = Path(found.done[source.name].path) if source.name in found.done else source.path
        if files.is_file(before) and not before.samefile(source.path):
            raise UsageError(f"{target} is the transcript of {before}", fix=_FIX_SAME_NAME)
        if os.path.lexists(str(target)) and source.name not in found.done and not found.force:
            raise UsageError(f"{target} is there already, and not from this command", fix=_FIX)


def _read(path: Path) -> Dict[str, Finished]:
    if not files.is_file(path):
        return {}
    found = {}
    with files.open_regular(path, fix=_FIX_DAMAGED) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(files.MAX_LINE_BYTES), b""), 1):
            if not line.endswith(b"\n"):
                break  # a killed command was writing it
            try:
                values = files.parse_json(line.decode("utf-8"))
            except (ValueError, RecursionError) as error:
                raise BadData(f"{path}, line {number} is damaged ({error})", fix=_FIX_DAMAGED) from None
            row = records.read(Finished, values, f"{path}, line {number} is damaged", fix=_FIX_DAMAGED)
            found[row.name] = row
    return found


def _names(sources: Sequence[Source], suffix: str) -> Dict[str, str]:
    """{recording: its transcript}: `a/talk.mp3` becomes `a/talk.txt`; where talk.wav is beside it, `a/talk.mp3.txt`.

    Raises UsageError where two would be called the same.
    """
    stems: Dict[str, List[Source]] = {}
    for source in sources:
        stem = PurePosixPath(source.name).with_suffix("") if PurePosixPath(source.name).suffix else source.name
        stems.setdefault(str(stem).casefold(), []).append(source)
    found: Dict[str, str] = {}
    for same in stems.values():
        for source in same:
            whole = len(same) > 1
            name = (
                source.name
                if whole or not PurePosixPath(source.name).suffix
                else str(PurePosixPath(source.name).with_suffix(""))
            )
            found[source.name] = name + suffix
    counts = Counter(found[source.name].casefold() for source in sources)
    twice = [found[source.name] for source in sources if counts[found[source.name].casefold()] > 1]
    if twice:
        raise UsageError(f"several recordings would be written to {twice[0]}", fix=_FIX_SAME_NAME)
    return found


def single(workspace: Workspace, output: Path, force: bool) -> OutputFile:
    """One file for all transcripts. Raises UsageError, OSError."""
    return output_files.meant(workspace, output, lambda path: True, what="a transcript", replace=force)
