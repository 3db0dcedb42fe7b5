"""Decoding shared out to several jobs: each decodes a stretch of a corpus' listing, and one command merges it all.

Where a shard of prepared speech ends follows from what is kept of all that comes before it, so no job can write one.
It writes pieces instead, and merging is `prepare` as always, with samples and digests taken from them:

NAME/16/3/share.json         what this is the third of 16 shares of
NAME/16/3/piece-00000.arrow    id, samples, or why there are none, of some utterances in the order of the listing
NAME/16/3/digests-00000.arrow  id and digest of the same; written after the piece, so one that is there says it is whole
NAME/16/3/done.json            the share is whole

Nothing is locked: shares lie on file systems that several machines have, where locks may be missing. A job writes in
its own folder only, and two that do the same share by mistake write the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import pyarrow as pa

from asrctl.data import audio, shards
from asrctl.data.audio import AudioRules, Rejected
from asrctl.data.shard_files import as_numpy, open_batch, pcm_array
from asrctl.data.shards import Decoded, Source, printable
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData
from asrctl.events import Emit, Progress
from asrctl.runtime import memory
from asrctl.runtime.os_errors import fault_of_file
from asrctl.runtime.threads import in_order
from asrctl.storage import files, records

_FIX = "delete that folder and run the job again"
_TELL_EVERY = 32
_PIECE = pa.schema(
    [
        ("id", pa.string()),
        ("reason", pa.string()),  # of a reject; null where there are samples, or nothing was tried
        ("detail", pa.string()),
        ("is_decoded", pa.bool_()),
        ("remarks", pa.list_(pa.string())),  # name, detail, name, detail ...
        ("pcm", pa.list_(pa.int16())),
    ]
)
_DIGESTS = pa.schema([("id", pa.string()), ("sha256", pa.string())])


@dataclass(frozen=True)
class Share:
    """Which part of the work: number `number` of `of`, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def stretch(self, total: int) -> Tuple[int, int]:
        """(first, end) of the utterances of a listing that it has."""
        return (self.number - 1) * total // self.of, self.number * total // self.of


@dataclass(frozen=True)
class Work:
    """share.json: what is shared out. Shares of one work fit together.

    asrctl: its version. listing: digest of the listing before audio is read. audio: rules of decoding. decoders:
    {library: version}, as another may round otherwise.
    """

    asrctl: str
    listing: str
    utterances: int
    audio: Mapping[str, Any]
    decoders: Mapping[str, str]

    def differences(self, other: "Work") -> List[str]:
        """What `other` has otherwise, in words."""
        mine, theirs = records.as_dict(self), records.as_dict(other)
        words = {"listing": "the list of utterances", "utterances": "the number of utterances"}
        return [words.get(key, key) for key in mine if mine[key] != theirs[key]]


@dataclass(frozen=True)
class Done:
    """done.json. rejected: utterances that can not be used; left: those that are looked at when shares are merged."""

    utterances: int
    decoded: int
    rejected: int
    left: int


class _Outcome(NamedTuple):
    """What became of the audio of an utterance: samples, a reason, or neither: it is tried again when merged."""

    utterance: Utterance
    decoded: Optional[Decoded] = None
    rejected: Optional[Rejected] = None


class _Decoder:
    """An utterance and its audio -> an outcome. Called by several threads."""

    def __init__(self, rules: AudioRules) -> None:
        self._rules = rules

    def __call__(self, source: Source) -> _Outcome:
        utterance, stream = source
        if stream is None or isinstance(stream, (Exception, Decoded)):
            return _Outcome(utterance)
        found: List[Tuple[str, str]] = []
        try:
            pcm = audio.decode(
                stream,
                self._rules,
                utterance.start_s,
                utterance.end_s,
                lambda name, detail: found.append((name, detail)),
                channel=utterance.channel,
            )
        except Rejected as rejected:
            return _Outcome(utterance, rejected=rejected)
        except BadData:
            return _Outcome(utterance)
        except OSError as error:
            if fault_of_file(error) is None:
                raise
            return _Outcome(utterance)
        return _Outcome(utterance, Decoded(pcm, tuple(found)))


def build(
    folder: Path,
    work: Work,
    share: Share,
    utterances: Iterable[Utterance],
    rules: AudioRules,
    is_wanted: Callable[[Utterance], bool],
    *,
    workers: int,
    emit: Emit,
) -> Done:
    """Write what is missing of a share into its folder.

    utterances: with digests, from the first that is missing on (`begun`). is_wanted: whether the audio of an utterance
    is needed. Raises OSError, StorageError.
    """
    first, end = share.stretch(work.utterances)
    index, count = begun(folder)
    piece: List[_Outcome] = []
    held = 0
    sources = _wanted(shards.sources(utterances), is_wanted)
    for outcome in in_order(_Decoder(rules), sources, workers=workers, on_stall=shards.stalled(emit)):
        piece.append(outcome)
        held += 0 if outcome.decoded is None else outcome.decoded.pcm.nbytes
        count += 1
        if count % _TELL_EVERY == 0 or count == end - first:
            emit(Progress(f"shard {share}", count, end - first, "utterances"))
        if held >= shards.SHARD_BYTES or len(piece) >= shards.SHARD_UTTERANCES or count == end - first:
            _write(folder, index, piece)
            index, piece, held = index + 1, [], 0
            memory.give_back()
    done = _counted(folder)
    with files.unlocked_path(folder / "done.json") as temporary:
        temporary.write_text(json.dumps(records.as_dict(done)), encoding="utf-8")
    return done


def _wanted(sources: Iterable[Source], is_wanted: Callable[[Utterance], bool]) -> Iterator[Source]:
    for utterance, stream in sources:
        yield utterance, stream if is_wanted(utterance) else None


def begun(folder: Path) -> Tuple[int, int]:
    """(pieces, utterances) of a share that are there already. Raises BadData."""
    pieces = utterances = 0
    while (folder / f"digests-{pieces:05d}.arrow").exists():
        utterances += len(_digests(folder, pieces))
        pieces += 1
    return pieces, utterances


def has_samples(folder: Path) -> bool:
    """Whether what a share has decoded is still there: it goes when it is merged."""
    return begun(folder)[0] == 0 or (folder / "piece-00000.arrow").exists()


def _write(folder: Path, index: int, piece: Sequence[_Outcome]) -> None:
    decoded = [item.decoded or Decoded(np.zeros(0, dtype=np.int16)) for item in piece]
    rejected = [item.rejected for item in piece]
    told = [[printable(word) for pair in one.remarks for word in pair] for one in decoded]
    ids = pa.array([item.utterance.id for item in piece], pa.string())
    columns = [
        ids,
        pa.array([None if one is None else one.reason for one in rejected], pa.string()),
        pa.array([None if one is None else printable(one.detail) for one in rejected], pa.string()),
        pa.array([item.decoded is not None for item in piece], pa.bool_()),
        pa.array(told, pa.list_(pa.string())),
        pcm_array([one.pcm for one in decoded]),
    ]
    _write_arrow(folder / f"piece-{index:05d}.arrow", columns, _PIECE)
    digests = pa.array([item.utterance.sha256 for item in piece], pa.string())
    _write_arrow(folder / f"digests-{index:05d}.arrow", [ids, digests], _DIGESTS)


def _write_arrow(path: Path, columns: Sequence[Any], schema: pa.Schema) -> None:
    with files.unlocked_path(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(pa.record_batch(list(columns), schema=schema))


def _digests(folder: Path, index: int) -> pa.RecordBatch:
    path = folder / f"digests-{index:05d}.arrow"
    batch = open_batch(path, (_DIGESTS,), "a list of digests of a share", fix=_FIX)
    if batch.column("id").null_count:
        raise BadData(f"{path} is damaged (ids are missing)", fix=_FIX)
    return batch


def _piece(folder: Path, index: int) -> pa.RecordBatch:
    path = folder / f"piece-{index:05d}.arrow"
    batch = open_batch(path, (_PIECE,), "a piece of a share", fix=_FIX)
    reasons = set(batch.column("reason").unique().to_pylist()) - {None}
    if any(batch.column(name).null_count for name in ("id", "is_decoded", "remarks", "pcm")):
        raise BadData(f"{path} is damaged (values are missing)", fix=_FIX)
    if batch.column("pcm").values.null_count or not reasons <= set(audio.REASONS):
        raise BadData(f"{path} is damaged (a sample or a reason is none)", fix=_FIX)
    return batch


def _counted(folder: Path) -> Done:
    utterances = decoded = rejected = 0
    for index in range(begun(folder)[0]):
        piece = _piece(folder, index)
        utterances += len(piece)
        decoded += piece.column("is_decoded").true_count
        rejected += len(piece) - piece.column("reason").null_count
    return Done(utterances, decoded, rejected, utterances - decoded - rejected)


# -- merging ----------------------------------------------------------------------------------------------------------


class Shares:
    """All shares of a work, to be read in the order of the listing. folders: of the shares, in their order."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    def with_digests(self, utterances: Iterable[Utterance]) -> Iterator[Utterance]:
        """The utterances of the listing with the digests that the jobs have found. Raises BadData."""
        known = (row for folder, index in self._pieces() for row in _rows(_digests(folder, index), "id", "sha256"))
        for utterance in utterances:
            identity, sha256 = next(known, (None, None))
            if identity != utterance.id:
                raise BadData(
                    f"the shares are damaged: {utterance.id} should come, and {identity} does",
                    fix="run the jobs again with --force",
                )
            yield replace(utterance, sha256=sha256)

    def sources(self, utterances: Iterable[Utterance]) -> Iterator[Source]:
        """For shards.SplitJob: utterances in the order of the listing, some left out, with the audio that the jobs have
        decoded. What they could not read is read again."""
        stored = self._outcomes()
        for utterance in utterances:
            stream = next((stream for identity, stream in stored if identity == utterance.id), None)
            yield next(shards.sources([utterance])) if stream is None else (utterance, stream)

    def _outcomes(self) -> Iterator[Tuple[str, Union[Decoded, Rejected, None]]]:
        for folder, index in self._pieces():
            if not (folder / f"piece-{index:05d}.arrow").exists():  # merged before, and its room given back
                yield from ((identity, None) for (identity,) in _rows(_digests(folder, index), "id"))
                continue
            piece = _piece(folder, index)
            pcm = piece.column("pcm")
            places, samples = as_numpy(pcm.offsets), as_numpy(pcm.values)
            for row, (identity, reason, detail, is_decoded, remarks) in enumerate(
                _rows(piece, "id", "reason", "detail", "is_decoded", "remarks")
            ):
                if is_decoded:
                    pairs = tuple(zip(remarks[::2], remarks[1::2]))
                    yield identity, Decoded(samples[places[row] : places[row + 1]], pairs)
                else:
                    yield identity, None if reason is None else Rejected(reason, detail or "")

    def _pieces(self) -> Iterator[Tuple[Path, int]]:
        for folder in self._folders:
            index = 0
            while (folder / f"digests-{index:05d}.arrow").exists():
                yield folder, index
                index += 1

    def give_back(self) -> None:
        """Delete the samples; what is left is small, and merging again needs no more."""
        for folder, index in self._pieces():
            path = folder / f"piece-{index:05d}.arrow"
            if path.exists():
                path.unlink()


def _rows(batch: pa.RecordBatch, *names: str) -> Iterator[Tuple[Any, ...]]:
    return zip(*(batch.column(name).to_pylist() for name in names))
