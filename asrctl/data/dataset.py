"""Prepared speech on disk: int16 PCM and label ids in Arrow files, mapped into memory, never copied as a whole.

A split is a folder of `shard-NNNNN.arrow` (Arrow IPC streams of one batch, as shard_files.py has them, without any
library's metadata) and a `rejects.jsonl`. Every generation of pyarrow and datasets that we support reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from asrctl.data.mixing import Mixing, Shares
from asrctl.data.raw_texts import RawTexts
from asrctl.data.shard_files import FIX, PreparedUtterance, Shards, as_numpy, largest_label, open_shard
from asrctl.data.summary import SPLITS, PreparedSummary
from asrctl.data.text import Vocabulary
from asrctl.errors import BadData, MissingArtifact
from asrctl.messages import amounts
from asrctl.storage import records
from asrctl.storage.hashing import digest
from asrctl.storage.workspace import Artifact


class PreparedSplit:
    """A split, mapped: lengths are arrays, samples are read when an utterance is asked for.

    num_samples, num_labels, num_repeats: (utterances,) int32, in the order of the shards. mixing: of the split of a
    mixture that is to be drawn from. Another process, to which it is sent, maps the shards itself.
    Raises BadData where a shard is damaged.
    """

    mixing: Optional[Mixing] = None

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
                found.append(np.array(as_numpy(shard.column(name)), dtype=np.int32))  # a copy: the map may go
        self._ends = np.cumsum(counts, dtype=np.int64) if counts else np.zeros(0, dtype=np.int64)
        self._rows: Optional[np.ndarray] = None
        self.num_samples, self.num_labels, self.num_repeats = (np.concatenate(found) for found in lengths.values())

    def __getstate__(self) -> Dict[str, Any]:
        return {"arguments": self._arguments(), "rows": self._rows}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]
        if state["rows"] is not None:
            self.__dict__.update(self.only(state["rows"]).__dict__)

    def _arguments(self) -> Dict[str, Any]:
        """Of __init__, without the choice of `only`."""
        return {"folder": self.folder, "name": self.name, "sample_rate": self.sample_rate}

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
            labels=as_numpy(shard.column("labels")[row].values).astype(np.int32),
            pcm=as_numpy(column.values.slice(start, end - start)),
        )

    def __iter__(self) -> Iterator[PreparedUtterance]:
        return (self[index] for index in range(len(self)))

    def only(self, indices: np.ndarray) -> "PreparedSplit":
        """The same split with just these utterances, renumbered from 0."""
        view = object.__new__(type(self))  # not by copying, which is how another process gets it
        view.__dict__.update(self.__dict__)
        view._rows = np.asarray(indices, dtype=np.int64) if self._rows is None else self._rows[indices]
        for name in ("num_samples", "num_labels", "num_repeats"):
            setattr(view, name, getattr(self, name)[indices])
        return view

    @property
    def rows(self) -> np.ndarray:
        """(utterances,) int64: which rows of the split on disk these are."""
        return np.arange(len(self), dtype=np.int64) if self._rows is None else self._rows

    def count(self, label: int) -> int:
        """How often a label occurs in the split on disk."""
        return sum(int((as_numpy(shard.column("labels").flatten()) == label).sum()) for shard in self._shards)

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

    def raw_texts(self) -> Callable[[int], Optional[str]]:
        """Index -> the text as it stands in the corpus, None where it is the same. Raises BadData."""
        found = RawTexts(self.folder, int(self._ends[-1]) if len(self._ends) else 0)
        rows = self.rows
        return lambda index: found.text(int(rows[index]))

    def _locate(self, index: int) -> Tuple[Any, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        index = index if self._rows is None else int(self._rows[index])
        shard = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[shard - 1]) if shard else 0
        return self._shards[shard], index - start


class SplitOfPart(NamedTuple):
    """The split of a part of a mixture. labels: the mixture's label of each of the part's; None: the same."""

    name: str
    split: PreparedSplit
    labels: Optional[np.ndarray]


class MixedSplit(PreparedSplit):
    """The splits of several parts, one after another. An utterance's id begins with the name of its part.

    shares: how much each part has of an epoch; without, the split is not drawn from.
    """

    def __init__(
        self,
        parts: Sequence[SplitOfPart],
        *,
        folder: Path,
        name: str,
        sample_rate: int,
        shares: Optional[Shares] = None,
    ) -> None:
        self.name, self.folder, self.sample_rate = name, folder, sample_rate
        self._parts, self._shares = tuple(parts), shares
        self._rows: Optional[np.ndarray] = None
        self._ends = np.cumsum([len(part.split) for part in parts], dtype=np.int64)
        self.largest_label = max(
            part.split.largest_label if part.labels is None else int(part.labels.max(initial=-1)) for part in parts
        )
        self.num_samples, self.num_labels, self.num_repeats = (
            np.concatenate([getattr(part.split, lengths) for part in parts])
            for lengths in ("num_samples", "num_labels", "num_repeats")
        )

    def _arguments(self) -> Dict[str, Any]:
        return {**super()._arguments(), "parts": self._parts, "shares": self._shares}

    @property
    def mixing(self) -> Optional[Mixing]:  # type: ignore[override]
        """How an epoch is drawn from the utterances that this split has."""
        if self._shares is None:
            return None
        of = np.searchsorted(self._ends, self.rows, side="right")
        members = tuple(np.flatnonzero(of == part) for part in range(len(self._parts)))
        return Mixing(members, tuple(self._shares.quotas([len(member) for member in members])))

    def __getitem__(self, index: int) -> PreparedUtterance:
        part, row = self._part(index)
        utterance = part.split[row]
        labels = utterance.labels if part.labels is None else part.labels[utterance.labels]
        return replace(utterance, id=f"{part.name}/{utterance.id}", labels=labels)

    def text(self, index: int) -> str:
        part, row = self._part(index)
        return part.split.text(row)

    def id(self, index: int) -> str:
        part, row = self._part(index)
        return f"{part.name}/{part.split.id(row)}"

    def raw_texts(self) -> Callable[[int], Optional[str]]:
        found = {part.name: part.split.raw_texts() for part in self._parts}

        def text(index: int) -> Optional[str]:
            part, row = self._part(index)
            return found[part.name](row)

        return text

    def _part(self, index: int) -> Tuple[SplitOfPart, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = index if self._rows is None else int(self._rows[index])
        part = int(np.searchsorted(self._ends, row, side="right"))
        return self._parts[part], row - (int(self._ends[part - 1]) if part else 0)


def totals(folder: Path) -> Tuple[int, int]:
    """(utterances, samples) of a split on disk: one shard mapped at a time, in flat memory. Raises BadData."""
    utterances = samples = 0
    for path in sorted(folder.glob("shard-*.arrow")):
        counts = as_numpy(open_shard(path).column("num_samples"))
        utterances, samples = utterances + len(counts), samples + int(counts.sum(dtype=np.int64))
    return utterances, samples


@dataclass(frozen=True)
class PreparedData:
    """A `prepared` artifact: splits, vocabulary, and the rules it was made by. Of a mixture, its parts have the speech.

    planned: the vocabulary of a mixture that is not on disk yet.
    """

    artifact: Artifact
    planned: Optional[Vocabulary] = None
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
        if self.summary.mixture is not None:
            return digest([self.artifact.id, [part.content for part in self.summary.mixture.parts]])
        return digest([self.artifact.id, self.artifact.meta.get("files")])

    def parts(self) -> List[Tuple[str, "PreparedData"]]:
        """(name, data) of each part of a mixture. Raises MissingArtifact, and BadData where one holds other speech now
        than when it was mixed."""
        found = []
        for part in self.summary.mixture.parts if self.summary.mixture is not None else ():
            artifact = self.artifact.beside(part.id)
            if artifact is None:
                raise MissingArtifact(
                    f"{part.name} ({part.id}), a part of the mixture {self.summary.name}, is gone",
                    fix=f"prepare {part.name} again (`asrctl status` shows the command)",
                )
            data = PreparedData(artifact)
            if data.content != part.content:
                raise BadData(
                    f"{part.name} ({part.id}) was made again and holds other speech or labels than when it was mixed",
                    fix="mix again (`asrctl status` shows the command)",
                )
            found.append((part.name, data))
        return found

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
        return self.planned or Vocabulary.load(self.artifact.path / "vocab")

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
        if self.summary.mixture is not None:
            return self._mixed(name, Shares(self.summary.mixture.weights, self.summary.mixture.temperature))
        split = PreparedSplit(self.artifact.path / name, name=name, sample_rate=self.sample_rate)
        if split.largest_label >= len(self.vocabulary()):
            raise BadData(f"{split.folder} has labels beyond its vocabulary", fix=FIX)
        wanted = self.summary.splits[name].utterances
        if len(split) != wanted:
            raise BadData(
                f"{split.folder} is damaged: it holds {len(split)} of {amounts.count(wanted, 'utterance')}", fix=FIX
            )
        return split

    def _mixed(self, name: str, shares: Shares) -> MixedSplit:
        """A split of a mixture: of the parts that have it."""
        vocabulary = self.vocabulary()
        parts = [
            SplitOfPart(called, data.split(name), _relabeled(data.vocabulary(), vocabulary))
            for called, data in self.parts()
            if name in data.splits
        ]
        drawn = shares if name == "train" else None
        return MixedSplit(parts, folder=self.artifact.path, name=name, sample_rate=self.sample_rate, shares=drawn)


def _relabeled(part: Vocabulary, mixture: Vocabulary) -> Optional[np.ndarray]:
    """(tokens of the part,) int32: the mixture's label of each; None where both have the same. Raises BadData."""
    if part.digest == mixture.digest:
        return None
    ids = mixture.ids
    if not set(part.tokens) <= set(ids):
        raise BadData(
            "the vocabulary of a mixture lacks tokens of a part's", fix="mix again (`asrctl status` shows the command)"
        )
    return np.array([ids[token] for token in part.tokens], dtype=np.int32)
