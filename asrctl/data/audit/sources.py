"""The files of prepared data, those of a mixture's parts too, with the names by which people know what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import pyarrow as pa

from asrctl.data.dataset import PreparedData
from asrctl.data.shard_files import open_shard


class Source(NamedTuple):
    """A shard. part: of the mixture, in whose names it comes first; "" where the data is none."""

    split: str
    path: Path
    part: str = ""

    def open(self) -> pa.RecordBatch:
        """Raises BadData."""
        return open_shard(self.path)

    def ids(self, batch: pa.RecordBatch) -> List[str]:
        return [self._named(name) for name in batch.column("id").to_pylist()]

    def speakers(self, batch: pa.RecordBatch) -> List[Optional[str]]:
        """Two corpora may call two people the same."""
        found = batch.column("speaker").to_pylist()
        return [None if speaker is None else self._named(speaker) for speaker in found]

    def _named(self, name: str) -> str:
        return f"{self.part}/{name}" if self.part else name


def sources(data: PreparedData, splits: Sequence[str]) -> Iterator[Source]:
    """Split by split, in this order; those that the data has. Raises MissingArtifact, BadData."""
    parts = whole(data)
    for split in splits:
        for name, part in parts:
            if split in part.splits:
                for path in sorted((part.artifact.path / split).glob("shard-*.arrow")):
                    yield Source(split, path, name)


def whole(data: PreparedData) -> List[Tuple[str, PreparedData]]:
    """(name, data) of the parts of a mixture; of any other data itself, without a name."""
    return data.parts() if data.summary.mixture is not None else [("", data)]
