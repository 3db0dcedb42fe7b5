"""What prepared speech will take on disk, before any of it is decoded, and what is to be fetched for it."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterator, List

from asrctl.data import audio, corpora, split_roles, text_statistics
from asrctl.data.corpus import CorpusRequest
from asrctl.data.manifest import CorpusChoice
from asrctl.data.utterance import Utterance, split_path
from asrctl.storage import files
from asrctl.storage.workspace import Workspace

# Headers that are read, at most about so many.
_SAMPLE = 64
# Shards of FLAC at LibriSpeech's rate are 1.8 times as large as their source (115 against 65 MB per hour).
_ARCHIVE_GROWTH = 1.8


def num_bytes(
    utterances: Iterator[Utterance],
    assigned: split_roles.Roles,
    scanned: text_statistics.Scan,
    limits: audio.AudioRules,
) -> int:
    """Of int16 samples, from the headers of a few files spread over the corpus (archives: from their size)."""
    total = sum(scanned.utterances(role) for role in assigned.names)
    step = max(1, total // _SAMPLE)
    durations_s: List[float] = []
    archive_bytes: Dict[str, int] = {}
    for index, utterance in enumerate(item for item in utterances if assigned.of(item) is not None):
        container, member = split_path(utterance.audio)
        if member is not None and container not in archive_bytes:
            status = files.regular_status(container)
            archive_bytes[container] = status.st_size if status is not None else 0
        if member is None and index % step == 0:
            durations_s.append(_duration_s(utterance, limits))
    if any(archive_bytes.values()):
        return int(sum(archive_bytes.values()) * _ARCHIVE_GROWTH)
    mean_s = sum(durations_s) / max(1, len(durations_s))
    return int(mean_s * total * limits.sample_rate * 2)


def _duration_s(utterance: Utterance, limits: audio.AudioRules) -> float:
    """Seconds that this utterance will take; 0 where it will be rejected."""
    end_s = utterance.end_s
    if end_s is None:
        is_there = files.regular_status(utterance.audio) is not None
        end_s = (audio.duration_s(Path(utterance.audio)) if is_there else None) or 0.0
    seconds = end_s - (utterance.start_s or 0.0)
    return seconds if 0 < seconds <= limits.max_s else 0.0


def downloads(workspace: Workspace, choice: CorpusChoice) -> Dict[str, int]:
    """{archive: bytes} that would be fetched."""
    corpus = corpora.find(choice.corpus)
    wanted = split_roles.wanted_splits(corpus, choice.splits)
    request = CorpusRequest(
        source=choice.source,
        address=choice.address,
        splits=wanted.required,
        optional_splits=wanted.optional,
        options=corpora.options(corpus, choice.options),
        downloads=workspace.root / "downloads",
    )
    with corpus.blamed():
        return dict(corpus.downloads(request))
