"""What prepared speech will take on disk, before any of it is decoded, and what is to be fetched for it."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterator, List, Optional, Set

from asrctl.data import audio, corpora, elsewhere, split_roles, text_statistics
from asrctl.data.corpus import CorpusRequest
from asrctl.data.manifest import CorpusChoice
from asrctl.data.reading.embedded import CellReader
from asrctl.data.utterance import Utterance, is_table, split_path
from asrctl.errors import BadData
from asrctl.storage import files
from asrctl.storage.remote import streaming
from asrctl.storage.workspace import Workspace

# Headers that are read, at most about so many.
_SAMPLE = 64
# Of each table the cells where its rows begin: those further down cost reading what lies before them.
_OF_A_TABLE = 4
# Shards of FLAC at LibriSpeech's rate are 1.8 times as large as their source (115 against 65 MB per hour).
_ARCHIVE_GROWTH = 1.8


def num_bytes(
    utterances: Iterator[Utterance],
    assigned: split_roles.Roles,
    scanned: text_statistics.Scan,
    limits: audio.AudioRules,
) -> int:
    """Of int16 samples, from the headers of a few files or cells spread over the corpus (archives: from their size)."""
    total = sum(scanned.utterances(role) for role in assigned.names)
    step = max(1, total // _SAMPLE)
    durations_s: List[float] = []
    archive_bytes: Dict[str, int] = {}
    cells = _Cells()
    for index, utterance in enumerate(item for item in utterances if assigned.of(item) is not None):
        container, member = split_path(utterance.audio)
        if member is not None and is_table(container):
            length_s = cells.length_s(container, member)
            if length_s is not None:
                durations_s.append(_kept_s(utterance, length_s, limits))
        elif member is not None and container not in archive_bytes:
            status = files.regular_status(container)
            archive_bytes[container] = streaming.size_of(Path(container)) if status is not None else 0
        if member is None and index % step == 0:
            durations_s.append(_duration_s(utterance, limits))
    if any(archive_bytes.values()):
        return int(sum(archive_bytes.values()) * _ARCHIVE_GROWTH)
    mean_s = sum(durations_s) / max(1, len(durations_s))
    return int(mean_s * total * limits.sample_rate * 2)


def _duration_s(utterance: Utterance, limits: audio.AudioRules) -> float:
    """Seconds that this utterance will take; 0 where it will be rejected."""
    is_there = utterance.end_s is None and files.regular_status(utterance.audio) is not None
    return _kept_s(utterance, (audio.duration_s(Path(utterance.audio)) if is_there else None) or 0.0, limits)


def _kept_s(utterance: Utterance, length_s: float, limits: audio.AudioRules) -> float:
    """Seconds of a recording of length_s that this utterance will take; 0 where it will be rejected."""
    seconds = (length_s if utterance.end_s is None else utterance.end_s) - (utterance.start_s or 0.0)
    return seconds if 0 < seconds <= limits.max_s else 0.0


class _Cells:
    """Measures a few cells of tables that are asked for in the order of their rows."""

    def __init__(self) -> None:
        self._reader: Optional[CellReader] = None
        self._left = 0
        self._tables: Set[str] = set()

    def length_s(self, table: str, cell: str) -> Optional[float]:
        """Seconds of the recording in a cell, 0 where none can be read; None where it is not measured."""
        if self._reader is None or str(self._reader.path) != table:
            self._reader = CellReader(Path(table))
            self._left = _OF_A_TABLE if len(self._tables) < _SAMPLE and table not in self._tables else 0
            self._tables.add(table)
        if not self._left:
            return None
        self._left -= 1
        try:
            return audio.length_s(self._reader.read(cell)) or 0.0
        except BadData:
            return 0.0


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
        root=choice.root,
        allow_download=choice.download,
        write=False,
    )
    first = elsewhere.missing(workspace, corpus, request)
    if first:
        return first
    with elsewhere.reachable(workspace, corpus, request) as reached, corpus.blamed():
        return dict(corpus.downloads(reached))
