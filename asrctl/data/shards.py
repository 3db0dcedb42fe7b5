"""Utterances -> the shards of one split: decoded by threads, written in order, continued where a killed run stopped.

A shard is full at a size, or after a number of utterances, so where it ends follows from its content alone. Beside it
lies `part-NNNNN.json` with the rejects and remarks among its utterances. It is written after the shard: a part that is
there says that its shard is whole. At the end the parts become `rejects.jsonl`, and `remarks.jsonl` if there are any.
"""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from asrctl.data import audio, rejects, remarks
from asrctl.data.audio import Rejected, num_frames
from asrctl.data.reading.archives import MemberReader
from asrctl.data.reading.embedded import CellReader
from asrctl.data.rejects import Reject, RejectLimit, Unread
from asrctl.data.remarks import Remark
from asrctl.data.rules import Rules
from asrctl.data.shard_files import PreparedUtterance, count_repeats, write_shard
from asrctl.data.text import Vocabulary
from asrctl.data.utterance import Utterance, is_table, split_path
from asrctl.errors import BadData, StorageError
from asrctl.events import Emit, Progress, Warned
from asrctl.messages import amounts
from asrctl.runtime import memory
from asrctl.runtime.os_errors import fault_of_file
from asrctl.runtime.threads import in_order
from asrctl.storage import files, records

SHARD_BYTES = 16 << 20
SHARD_UTTERANCES = 2048
_TELL_EVERY_S = 0.2
_GIVE_UP_S = 600.0
_FIX_PART = "delete that folder and prepare the corpus again"


@dataclass(frozen=True)
class Remarked(PreparedUtterance):
    """An utterance that is used with a change."""

    remarks: Tuple[Remark, ...] = ()


@dataclass(frozen=True)
class Decoded:
    """Audio that was decoded before. pcm: (time,) int16. remarks: (name, detail) of each."""

    pcm: np.ndarray
    remarks: Tuple[Tuple[str, str], ...] = ()


Outcome = Union[PreparedUtterance, Reject]
# Where samples come from: a file, a member's bytes, samples themselves, or nowhere, with the reason.
Stream = Union[Path, io.BytesIO, Decoded, Exception, None]
Source = Tuple[Utterance, Stream]


class Converter:
    """An utterance and its audio -> what training reads, or why not. Called by several threads."""

    def __init__(self, rules: Rules, vocabulary: Vocabulary, dropped: Optional[Mapping[str, str]] = None) -> None:
        """dropped: {id: why} of utterances that are left out unheard."""
        self._dropped = dropped or {}
        self._rules = rules
        self._encode = vocabulary.encoder()

    def __call__(self, source: Source) -> Outcome:
        utterance, stream = source
        path = printable(utterance.audio)
        if utterance.id in self._dropped:
            return Reject(utterance.id, path, rejects.DROPPED, printable(self._dropped[utterance.id]))
        try:
            return self._convert(utterance, stream)
        except Rejected as rejected:
            return Reject(utterance.id, path, rejected.reason, printable(rejected.detail))
        except BadData as error:  # an archive that is damaged, or without this member
            return Reject(utterance.id, path, "no-audio", printable(error.message))
        except OSError as error:
            fault = fault_of_file(error)
            if fault is None:
                raise
            return Unread(utterance.id, path, "no-audio", fault)

    def _convert(self, utterance: Utterance, stream: Stream) -> PreparedUtterance:
        if isinstance(stream, Exception):
            raise stream
        if stream is None:
            raise Rejected("no-audio", _why_unreadable(Path(split_path(utterance.audio)[0])))
        text = self._rules.text.apply(utterance.text)
        if not text:
            raise Rejected("no-transcript")
        found: List[Remark] = []

        def remark(name: str, detail: str) -> None:
            found.append(Remark(utterance.id, printable(utterance.audio), name, detail))

        pcm = self._pcm(utterance, stream, remark)
        labels, _ = self._encode(text)
        frames = num_frames(len(pcm), self._rules.kernels, self._rules.strides)
        if frames == 0:
            raise Rejected("too-short", f"{amounts.count(len(pcm), 'sample gives', 'samples give')} no frame")
        needed = len(labels) + count_repeats(labels)
        if needed > frames:
            raise Rejected(
                "ctc-impossible",
                f"{amounts.count(needed, 'label and repeat', 'labels and repeats')}, {amounts.count(frames, 'frame')}",
            )
        values = utterance.id, utterance.speaker, text, np.asarray(labels, dtype=np.int32), pcm
        return Remarked(*values, remarks=tuple(found)) if found else PreparedUtterance(*values)

    def _pcm(
        self, utterance: Utterance, stream: Union[Path, io.BytesIO, Decoded], remark: Callable[[str, str], None]
    ) -> np.ndarray:
        if isinstance(stream, Decoded):
            for name, detail in stream.remarks:
                remark(name, detail)
            return stream.pcm
        return audio.decode(
            stream, self._rules.audio, utterance.start_s, utterance.end_s, remark, channel=utterance.channel
        )


def _why_unreadable(path: Path) -> str:
    """What keeps a file from being read, as far as a look at it tells."""
    try:
        with files.open_regular(path, fix="") as stream:
            stream.read(1)
    except BadData as error:
        return error.message.replace(f"{path} ", "", 1).replace("is ", "", 1)
    except OSError as error:
        return error.strerror or str(error)
    return "it can not be read to its end"


def printable(path: str) -> str:
    """Text that can be written, of a path that need not be."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def sources(utterances: Iterable[Utterance]) -> Iterator[Source]:
    """Utterances with their audio; archives and tables are read here, as a stream, member after member."""
    reader: Union[MemberReader, CellReader, None] = None
    for utterance in utterances:
        container, member = split_path(utterance.audio)
        # What is wrong with a cell is known when it is read again, and of an archive nothing can be.
        if utterance.sha256 is None and (member is None or not is_table(container)):
            yield utterance, None
        elif member is None:
            yield utterance, Path(container)
        else:
            if reader is None or str(reader.path) != container:
                reader = (CellReader if is_table(container) else MemberReader)(Path(container))
            yield utterance, _member(reader, member)


def _member(reader: Union[MemberReader, CellReader], name: str) -> Stream:
    try:
        return io.BytesIO(reader.read(name))
    except (BadData, OSError) as error:
        return error


@dataclass(frozen=True)
class SplitJob:
    """One split to build: its name, folder, number of utterances, and who converts them.

    sources: how utterances get their audio.
    """

    name: str
    folder: Path
    total: int
    convert: Converter
    workers: int
    sample_rate: int
    sources: Callable[[Iterable[Utterance]], Iterator[Source]] = sources


def build_split(job: SplitJob, utterances: Iterable[Utterance], limit: RejectLimit, emit: Emit) -> Dict[str, int]:
    """Write what is missing of a split; {reason: rejects} of all of it. Raises BadData, StorageError, OSError."""
    job.folder.mkdir(parents=True, exist_ok=True)
    merged = job.folder / rejects.FILE
    if merged.exists():
        limit.add(rejects.read(merged), job.total)
        limit.check()
    else:
        _write_parts(job, utterances, limit, emit)
        _merge_parts(job.folder)
    for path in _parts(job.folder):
        path.unlink()
    reasons = Counter(reject.reason for reject in rejects.read(merged))
    return dict(sorted(reasons.items()))


def _write_parts(job: SplitJob, utterances: Iterable[Utterance], limit: RejectLimit, emit: Emit) -> None:
    progress = _Progress(job, emit)
    index = 0
    for part in _finished_parts(job.folder):
        index += 1
        progress.add(part.utterances, part.samples)
        limit.add(part.rejects, part.utterances)
    limit.check()
    rest = islice(utterances, progress.utterances, None)
    shard = _Shard()
    unread: List[Any] = []

    def finish() -> None:
        limit.add(shard.rejects, shard.count)
        unread.extend(reject for reject in shard.rejects if isinstance(reject, Unread))
        if unread:
            limit.check()  # before it is written: when the disk is mended, these recordings are tried again
        shard.write(job.folder, index)
        limit.check()

    for outcome in in_order(job.convert, job.sources(rest), workers=job.workers, on_stall=stalled(emit)):
        shard.add(outcome)
        progress.add(1, 0 if isinstance(outcome, Reject) else len(outcome.pcm))
        if shard.is_full:
            finish()
            index, shard = index + 1, _Shard()
            memory.give_back()
    if shard.count:
        finish()
    progress.tell()
    if unread:
        emit(Warned(_told_unread(job.name, unread)))


def _told_unread(split: str, unread: Sequence[Reject]) -> str:
    count = f"{len(unread)} recordings" if len(unread) > 1 else "a recording"
    such = ", such as" if len(unread) > 1 else ":"
    first = unread[0]
    return (
        f"{count} of the {split} split could be read before and now can not{such} {first.audio} ({first.detail});"
        " once that is mended, prepare with --force"
    )


@dataclass(frozen=True)
class Part:
    """What part-NNNNN.json holds: utterances that were looked at for a shard, samples that are in it."""

    utterances: int
    samples: int
    rejects: Tuple[Reject, ...]
    remarks: Tuple[Remark, ...] = ()

    def __post_init__(self) -> None:
        if self.utterances < 0 or self.samples < 0:
            raise ValueError("a count is below 0")


class _Shard:
    """The shard being filled."""

    def __init__(self) -> None:
        self.rejects: List[Reject] = []
        self._remarks: List[Remark] = []
        self.count = 0
        self._accepted: List[PreparedUtterance] = []
        self._samples = 0

    def add(self, outcome: Outcome) -> None:
        self.count += 1
        if isinstance(outcome, Reject):
            self.rejects.append(outcome)
        else:
            self._accepted.append(outcome)
            self._remarks.extend(outcome.remarks if isinstance(outcome, Remarked) else ())
            self._samples += len(outcome.pcm)

    @property
    def is_full(self) -> bool:
        return 2 * self._samples >= SHARD_BYTES or self.count >= SHARD_UTTERANCES

    def write(self, folder: Path, index: int) -> None:
        if self._accepted:
            write_shard(folder / f"shard-{index:05d}.arrow", self._accepted)
        part = Part(self.count, self._samples, tuple(self.rejects), tuple(self._remarks))
        files.write_json(folder / f"part-{index:05d}.json", records.as_dict(part))


def _parts(folder: Path) -> List[Path]:
    return sorted(folder.glob("part-*.json"))


def _finished_parts(folder: Path) -> Iterator[Part]:
    """Those of the finished shards. Raises BadData."""
    for path in _parts(folder):
        yield records.read(Part, files.read_json(path, fix=_FIX_PART), f"{path} is damaged", fix=_FIX_PART)


def _merge_parts(folder: Path) -> None:
    remarks.write(folder, (remark for part in _finished_parts(folder) for remark in part.remarks))
    with files.atomic_path(folder / rejects.FILE) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        for part in _finished_parts(folder):
            for reject in part.rejects:
                stream.write(json.dumps(records.as_dict(reject), ensure_ascii=False) + "\n")


class _Progress:
    """Tells now and then how far the split is."""

    def __init__(self, job: SplitJob, emit: Emit) -> None:
        self._job = job
        self._emit = emit
        self._told = 0.0
        self.utterances = 0
        self._samples = 0

    def add(self, utterances: int, samples: int) -> None:
        self.utterances += utterances
        self._samples += samples
        if time.monotonic() - self._told > _TELL_EVERY_S:
            self.tell()

    def tell(self) -> None:
        self._told = time.monotonic()
        detail = f"{self._samples / self._job.sample_rate:.0f} s of audio"
        self._emit(Progress(f"prepare {self._job.name}", self.utterances, self._job.total, "utterances", detail))


def stalled(emit: Emit) -> Any:
    """For `in_order`: tells what takes long, and gives up after ten minutes."""

    def tell(source: Source, waited_s: float) -> None:
        path = printable(source[0].audio)
        if waited_s >= _GIVE_UP_S:
            raise StorageError(
                f"no progress for {waited_s:.0f} s: {path} can not be read",
                fix="check the disk that it lies on, or remove it, and run again; what is done is kept",
            )
        emit(Warned(f"no progress for {waited_s:.0f} s: still decoding {path}"))

    return tell
