"""A few utterances of a corpus as they would enter a model: `prepare --show`. Nothing is written."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from asrctl.commands.prepare_request import Found, PrepareRequest, listed
from asrctl.data import audio, glyphs, labels, shards, size_estimate, text_statistics
from asrctl.data.manifest import Listing
from asrctl.data.shard_files import PreparedUtterance
from asrctl.data.text import Vocabulary, build_vocabulary
from asrctl.data.utterance import Utterance, split_path
from asrctl.errors import BadData, MissingArtifact
from asrctl.events import Emit, ignore
from asrctl.messages import amounts
from asrctl.storage import files, records
from asrctl.storage.workspace import Workspace

_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class Rejection:
    """Why an utterance would be left out: a word of audio.REASONS, what that means, and what is known beyond."""

    reason: str
    meaning: str
    detail: str


@dataclass(frozen=True)
class ShownUtterance:
    """split: train, eval or test; corpus_split: its name in the corpus. start_s, end_s, channel: as in Utterance.

    seconds, level_dbfs, peak_dbfs: of the samples that a model would get; seconds alone is known of some rejects. The
    level is the root mean square, and 0 dBFS a sample at full scale. frames: of the model, None for rejects.
    text: as it stands in the corpus; normalized: by the text rules; decoded: what the labels stand for.
    lost: {character: count} of what the rules leave out or change, unknown: of what has no label of its own. Upper and
    lower case are the same there. remarks: [word of audio.REMARKS, detail].
    """

    id: str
    split: str
    corpus_split: str
    audio: str
    start_s: Optional[float]
    end_s: Optional[float]
    channel: Optional[int]
    sample_rate: int
    seconds: Optional[float]
    level_dbfs: Optional[float]
    peak_dbfs: Optional[float]
    text: str
    normalized: str
    labels: Tuple[int, ...]
    frames: Optional[int]
    decoded: str
    lost: Mapping[str, int]
    unknown: Mapping[str, int]
    rejected: Optional[Rejection]
    remarks: Tuple[Tuple[str, str], ...]


@dataclass(frozen=True)
class Preview:
    """total: utterances that have a role. vocabulary: tokens; vocabulary_id: None where it would be built."""

    name: str
    total: int
    vocabulary: int
    vocabulary_id: Optional[str]
    utterances: Tuple[ShownUtterance, ...]

    def as_dict(self) -> Dict[str, Any]:
        return records.as_dict(self)


def preview(workspace: Workspace, request: PrepareRequest, count: int, emit: Emit = ignore) -> Preview:
    """`count` utterances, spread over the corpus, always the same of the same corpus; nothing is written or fetched.

    Where no vocabulary is there yet, it is that of all texts; `prepare` leaves out the characters of utterances that
    it rejects. Raises what `prepare` raises, and MissingArtifact for a corpus that would have to be fetched.
    """
    missing = size_estimate.downloads(workspace, request.choice)
    _refuse_missing(request, missing)
    with listed(workspace, request, emit, None) as (found, listing):
        _refuse_missing(request, listing.to_fetch)
        scanned = text_statistics.scan(listing.utterances(), found.roles, found.rules.text)
        total = sum(scanned.utterances(role) for role in found.roles.names)
        vocabulary = _vocabulary(found, scanned)
        show = _Shower(found, vocabulary)
        shown = tuple(map(show, shards.sources(map(_readable, spread(listing, found, total, count)))))
    identity = None if found.given is None else found.given.id
    return Preview(found.name, total, len(vocabulary), identity, shown)


def _refuse_missing(request: PrepareRequest, missing: Mapping[str, int]) -> None:
    """Raises MissingArtifact. missing: {what: bytes} that would have to be fetched."""
    if missing:
        raise MissingArtifact(
            f"{request.choice.corpus} is not on this machine ({amounts.size(sum(missing.values()))} to download)",
            fix="leave out --show, so that it is fetched and prepared",
        )


def _vocabulary(found: Found, scanned: text_statistics.Scan) -> Vocabulary:
    """Raises BadData where there would be none, UsageError."""
    if found.given is not None:
        return Vocabulary.load(found.given.path)
    counts = scanned.characters(labels.splits(scanned, found.roles, found.rules))
    if not set(counts) - {" "}:
        raise BadData("the transcripts hold no characters", fix="check the text column and --remove")
    return build_vocabulary(counts, found.rules.text)


def spread(listing: Listing, found: Found, total: int, count: int) -> List[Utterance]:
    """One utterance of each of `count` equal stretches of the listing, in its order.

    Which one goes by a digest of the ids: a fixed step would follow any order that the corpus has.
    """
    stretches: Dict[int, Tuple[bytes, Utterance]] = {}
    used = (utterance for utterance in listing.utterances() if found.roles.of(utterance) is not None)
    for place, utterance in enumerate(used):
        rank = hashlib.sha256(utterance.id.encode("utf-8", "surrogatepass")).digest()
        stretch = place * count // total
        if stretch not in stretches or rank < stretches[stretch][0]:
            stretches[stretch] = (rank, utterance)
    return [utterance for _, utterance in stretches.values()]


class _Shower:
    """Converts utterances as `prepare` does, and says what came of each."""

    def __init__(self, found: Found, vocabulary: Vocabulary) -> None:
        self._found = found
        self._vocabulary = vocabulary
        self._encode = vocabulary.encoder()
        self._convert = shards.Converter(found.rules, vocabulary)

    def __call__(self, source: shards.Source) -> ShownUtterance:
        utterance, rules = source[0], self._found.rules
        outcome = self._convert(source)
        normalized = rules.text.apply(utterance.text)
        ids, unknown = self._encode(normalized)
        pcm = outcome.pcm if isinstance(outcome, PreparedUtterance) else None
        remarks = outcome.remarks if isinstance(outcome, shards.Remarked) else ()
        return ShownUtterance(
            id=utterance.id,
            split=self._found.roles.of(utterance) or "",
            corpus_split=utterance.split,
            audio=utterance.audio.encode("utf-8", "backslashreplace").decode("utf-8"),
            start_s=utterance.start_s,
            end_s=utterance.end_s,
            channel=utterance.channel,
            sample_rate=rules.audio.sample_rate,
            seconds=_stretch_s(utterance) if pcm is None else round(len(pcm) / rules.audio.sample_rate, 3),
            level_dbfs=None if pcm is None else _level_dbfs(pcm),
            peak_dbfs=None if pcm is None else _dbfs(float(np.abs(pcm.astype(np.int32)).max())),
            text=utterance.text,
            normalized=normalized,
            labels=tuple(ids),
            frames=None if pcm is None else audio.num_frames(len(pcm), rules.kernels, rules.strides),
            decoded=self._vocabulary.text(self._vocabulary.tokens[index] for index in ids),
            lost=_lost(utterance.text, rules.text.spelled(rules.text.replaced(utterance.text))),
            unknown=unknown,
            rejected=_rejection(outcome),
            remarks=tuple((remark.remark, remark.detail) for remark in remarks),
        )


def _readable(utterance: Utterance) -> Utterance:
    """The same, as if the digest of its audio had been taken, where there is a file to read."""
    is_there = files.regular_status(split_path(utterance.audio)[0]) is not None
    return replace(utterance, sha256="") if is_there else utterance


def _stretch_s(utterance: Utterance) -> Optional[float]:
    """Seconds that an utterance says, or its file's header; None where neither does."""
    container, member = split_path(utterance.audio)
    whole_s = audio.duration_s(Path(container)) if member is None and files.is_file(Path(container)) else None
    end_s = utterance.end_s if utterance.end_s is not None else whole_s
    return None if end_s is None else round(max(0.0, end_s - (utterance.start_s or 0.0)), 3)


def _level_dbfs(pcm: np.ndarray) -> Optional[float]:
    """pcm: (time,) int16."""
    return _dbfs(float(np.sqrt(np.mean(np.square(pcm, dtype=np.float64)))))


def _dbfs(amplitude: float) -> Optional[float]:
    return round(20 * math.log10(amplitude / _FULL_SCALE), 1) if amplitude else None


def _lost(before: str, after: str) -> Dict[str, int]:
    """What characters the rules leave out or change; case, spaces and how a character is composed do not count."""
    found = _folded(before) - _folded(after)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _folded(text: str) -> "Counter[str]":
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    return Counter(character for character in folded if glyphs.kind(character) != "space")


def _rejection(outcome: shards.Outcome) -> Optional[Rejection]:
    if isinstance(outcome, PreparedUtterance):
        return None
    return Rejection(outcome.reason, audio.REASONS[outcome.reason], outcome.detail)
