"""Prepared speech on disk: int16 PCM and label ids in Arrow files, mapped into memory, never copied as a whole.

A split is a folder of `shard-NNNNN.arrow` (Arrow IPC streams of one batch, as shard_files.py has them, without any
library's metadata) and a `rejects.jsonl`. Every generation of pyarrow and datasets that we support reads them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator, List, Optional, Tuple

import numpy as np

from asrctl.data.shard_files import FIX, PreparedUtterance, Shards, largest_label, open_shard
from asrctl.data.summary import SPLITS, PreparedSummary
from asrctl.data.text import Vocabulary
from asrctl.errors import BadData, MissingArtifact
from asrctl.messages import amounts
from asrctl.storage import records
from asrctl.storage.hashing import digest
from asrctl.storage.workspace import Artifact


class PreparedSplit:
    """A split, mapped: lengths are arrays, samples are read when an utterance is asked for.

    num_samples, num_labels, num_repeats: (utterances,) int32, in the order of the shards.
    Raises BadData where a shard is damaged.
    """

    def __init__(self, folder: Path, *, name: str, sample_rate: int) -> None:
        self.name = name
        self.folder = folder
        self.sample_rate = sample_rate
        self._shards = Shards(sorted(folder.glob("shard-*.arrow")))
        lengths = {name: [np.zeros(0, dtype=np.int32)] for name in ("num_samples", "num_labels", "num_repeats")}
        counts, self.largest_label = [], -1
        for shard in self._shards:
            counts.append(len(shard))
            self.largest_label = max(self.largest_label, largest_label(shard))
            for name, found in lengths.items():
                found.append(np.array(shard.column(name), dtype=np.int32))  # a copy: the map may go
        self._ends = np.cumsum(counts, dtype=np.int64) if counts else np.zeros(0, dtype=np.int64)
        self._rows: Optional[np.ndarray] = None
        self.num_samples, self.num_labels, self.num_repeats = (np.concatenate(found) for found in lengths.values())

    def __len__(self) -> int:
        return len(self.num_samples)

    def __getitem__(self, index: int) -> PreparedUtterance:
        shard, row = self._locate(index)
        column = shard.column("pcm")
        start, end = column.offsets[row].as_py(), column.offsets[row + 1].as_py()
        return PreparedUtterance(
            id=shard.column("id")[row].as_py(),
            speaker=shard.column("speaker")[row].as_py(),
            text=shard.column("text")[row].as_py(),
            labels=np.asarray(shard.column("labels")[row].values, dtype=np.int32),
            pcm=column.values.slice(start, end - start).to_numpy(zero_copy_only=True),
        )

    def __iter__(self) -> Iterator[PreparedUtterance]:
        return (self[index] for index in range(len(self)))

    def only(self, indices: np.ndarray) -> "PreparedSplit":
        """The same split with just these utterances, renumbered from 0."""
        view = copy.copy(self)
        view._rows = np.asarray(indices, dtype=np.int64) if self._rows is None else self._rows[indices]
        for name in ("num_samples", "num_labels", "num_repeats"):
            setattr(view, name, getattr(self, name)[indices])
        return view

    @property
    def rows(self) -> np.ndarray:
        """(utterances,) int64: which rows of the split on disk these are."""
        return np.arange(len(self), dtype=np.int64) if self._rows is None else self._rows

    @property
    def seconds(self) -> float:
        """Seconds of speech in the split."""
        return float(self.num_samples.sum(dtype=np.int64)) / self.sample_rate

    def text(self, index: int) -> str:
        shard, row = self._locate(index)
        return shard.column("text")[row].as_py()

    def id(self, index: int) -> str:
        shard, row = self._locate(index)
        return shard.column("id")[row].as_py()

    def _locate(self, index: int) -> Tuple[Any, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        index = index if self._rows is None else int(self._rows[index])
        shard = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[shard - 1]) if shard else 0
        return self._shards[shard], index - start


def totals(folder: Path) -> Tuple[int, int]:
    """(utterances, samples) of a split on disk: one shard mapped at a time, in flat memory. Raises BadData."""
    utterances = samples = 0
    for path in sorted(folder.glob("shard-*.arrow")):
        counts = open_shard(path).column("num_samples").to_numpy()
        utterances, samples = utterances + len(counts), samples + int(counts.sum(dtype=np.int64))
    return utterances, samples


@dataclass(frozen=True)
class PreparedData:
    """A published `prepared` artifact: splits, vocabulary, and the rules it was made by."""

    artifact: Artifact
    summary: PreparedSummary = field(init=False)

    def __post_init__(self) -> None:
        refusal = f"{self.artifact.path} does not say what it holds"
        summary = records.read(PreparedSummary, self.artifact.summary, refusal, fix=FIX)
        object.__setattr__(self, "summary", summary)

    @property
    def content(self) -> str:
        """A digest of what the data holds; its ID says what it was made from.

        They part where it was made again by another release of a decoder or resampler.
        """
        return digest([self.artifact.id, self.artifact.meta.get("files")])

    @property
    def splits(self) -> List[str]:
        return list(self.summary.splits)

    @property
    def trains(self) -> bool:
        """Whether there is a split for training; else the data is for evaluation only."""
        return "train" in self.splits

    @property
    def usual_split(self) -> str:
        """The split to evaluate where nobody names one: the one that chooses, or all that data without training has."""
        return "eval" if self.trains or "eval" in self.splits else self.splits[0]

    @property
    def sample_rate(self) -> int:
        return self.summary.sample_rate

    def vocabulary(self) -> Vocabulary:
        return Vocabulary.load(self.artifact.path / "vocab")

    def split(self, name: str) -> PreparedSplit:
        """Raises MissingArtifact where the data has no such split, BadData where it is damaged."""
        if name == "train" and not self.trains:
            raise MissingArtifact(
                f"the prepared data {self.summary.name} is for evaluation only (it has {', '.join(self.splits)})",
                fix="name data that has a split for training with --data, or run `asrctl prepare CORPUS` on some",
            )
        if name not in self.splits:
            again = f", or prepare the corpus again with a split for it (--{name})" if name in SPLITS else ""
            there = next(split for split in ("eval", "test", "train") if split in self.splits)
            raise MissingArtifact(
                f"the prepared data has no split {name!r} (it has {', '.join(self.splits)})",
                fix=f"choose one that is there, such as `--split {there}`{again}",
            )
        split = PreparedSplit(self.artifact.path / name, name=name, sample_rate=self.sample_rate)
        if split.largest_label >= len(self.vocabulary()):
            raise BadData(f"{split.folder} has labels beyond its vocabulary", fix=FIX)
        wanted = self.summary.splits[name].utterances
        if len(split) != wanted:
            raise BadData(
                f"{split.folder} is damaged: it holds {len(split)} of {amounts.count(wanted, 'utterance')}", fix=FIX
            )
        return split
