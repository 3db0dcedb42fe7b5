"""Batches of utterances. Pure: (lengths, seed, epoch, limits) -> the same batches on every machine."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, List, Optional, Sequence

import numpy as np

from asrctl.data.mixing import Mixing

# Utterances that `order: grouped` sorts together, in global batches: long enough for like lengths, short enough to mix.
_GROUP_BATCHES = 50
_ORDER_STREAM, _BATCH_STREAM, _MIX_STREAM = 1, 2, 7


def generator(*key: int) -> np.random.Generator:
    """A random generator that depends on nothing but the numbers given (numpy's SeedSequence)."""
    return np.random.default_rng(np.random.SeedSequence(key))


@dataclass(frozen=True)
class BatchPlan:
    """The batches of a training split.

    num_samples: (utterances,) int32. global_batch: utterances per optimizer step; or, where `batch_samples` is given,
    about so many samples per step. order: shuffled | grouped | curriculum. An epoch has `steps_per_epoch` steps, and
    each utterance once. mixing: of a mixture, whose epochs have as many utterances, some more often than others.
    """

    num_samples: np.ndarray
    global_batch: int
    order: str
    drop_last: bool
    seed: int
    batch_samples: Optional[int] = None
    mixing: Optional[Mixing] = None

    @functools.cached_property
    def epoch_samples(self) -> int:
        """Samples of an epoch; of a mixture, whose epochs differ, on average."""
        if self.mixing is not None:
            return self.mixing.expected_samples(self.num_samples)
        return int(self.num_samples.sum(dtype=np.int64))

    @functools.cached_property
    def most_epoch_samples(self) -> int:
        """Samples that no epoch has more of."""
        return self.epoch_samples if self.mixing is None else self.mixing.most_samples(self.num_samples)

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        if self.batch_samples is not None:
            # No quota below the longest utterance, so that no batch of `_cut_by_samples` is empty.
            quota = max(self.batch_samples, int(self.num_samples.max()))
            return max(1, self.epoch_samples // quota)
        count = len(self.num_samples) / self.global_batch
        return max(1, math.floor(count) if self.drop_last else math.ceil(count))

    def epoch(self, epoch: int) -> "Batches":
        """The global batches of one epoch."""
        order = self._drawn(epoch)
        if self.order == "curriculum" and epoch == 0:
            order = order[np.argsort(self.num_samples[order], kind="stable")]
        if self.order == "grouped":
            self._group(order)
        batches = self._cut(order)
        if self.order == "grouped":
            batches = batches.arranged(generator(self.seed, _BATCH_STREAM, epoch).permutation(len(batches)))
        return batches

    def _drawn(self, epoch: int) -> np.ndarray:
        """The utterances of an epoch, in random order."""
        order = generator(self.seed, _ORDER_STREAM, epoch).permutation(len(self.num_samples))
        return order if self.mixing is None else self.mixing.draw(epoch, self._permutation)[order]

    def _permutation(self, part: int, number: int) -> np.ndarray:
        """Number `number` of the permutations that a part of a mixture is drawn from."""
        size = len(self.mixing.members[part]) if self.mixing is not None else 0
        return generator(self.seed, _MIX_STREAM, part, number).permutation(size)

    def _cut(self, order: np.ndarray) -> "Batches":
        if self.batch_samples is not None:
            return self._cut_by_samples(order)
        starts = np.arange(0, len(order), self.global_batch)[: self.steps_per_epoch]
        return Batches(order, starts, np.minimum(starts + self.global_batch, len(order)))

    def _cut_by_samples(self, order: np.ndarray) -> "Batches":
        """Equal stretches of the epoch's audio; an utterance belongs where its middle lies.

        Middles are at most the longest utterance apart, and a stretch is at least that long: none is empty. Where an
        epoch of a mixture is shorter than most, each has one utterance all the same.
        """
        lengths = self.num_samples[order].astype(np.float64)
        middles = np.cumsum(lengths) - lengths / 2
        steps = self.steps_per_epoch
        edges = np.arange(1, steps) * (lengths.sum() / steps)
        cuts, places = np.searchsorted(middles, edges), np.arange(steps - 1)
        cuts = np.maximum.accumulate(np.maximum(cuts - places, 1)) + places
        cuts = np.minimum(cuts, len(order) - steps + 1 + places)
        return Batches(order, np.concatenate([[0], cuts]), np.concatenate([cuts, [len(order)]]))

    def _group(self, order: np.ndarray) -> None:
        """Put like lengths together, in place."""
        size = self.global_batch * _GROUP_BATCHES
        for start in range(0, len(order), size):
            group = order[start : start + size]
            order[start : start + size] = group[np.argsort(-self.num_samples[group], kind="stable")]


class Batches(Sequence[np.ndarray]):
    """The batches of an epoch: each an array of utterance indices, (utterances,) int64. A slice of them is one, too.

    order: of all utterances. starts, ends: (batches,) the places of each batch in it.
    """

    def __init__(self, order: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        self._order, self._starts, self._ends = order, starts, ends

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Batches(self._order, self._starts[place], self._ends[place])
        return self._order[self._starts[place] : self._ends[place]]

    def arranged(self, places: np.ndarray) -> "Batches":
        """The same in another order."""
        return Batches(self._order, self._starts[places], self._ends[places])


def samples_in(seconds: float, sample_rate: int) -> int:
    """Samples of a duration, to the nearest: 2.01 s at 16,000 a second are 32160, in floating point a little less."""
    return round(seconds * sample_rate)


def micro_batches(
    lengths: Sequence[int], *, max_samples: Optional[int], max_items: Optional[int] = None, pad_to: Optional[int] = None
) -> List[np.ndarray]:
    """Positions 0..n-1 of one global batch, cut into micro-batches: longest first, like lengths together.

    lengths: samples of each item. max_samples: most samples of a micro-batch, padding counted (every row as long as its
    longest, or as `pad_to`); an item longer than that is alone. max_items: most rows.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batches: List[np.ndarray] = []
    start = 0
    while start < len(order):
        row = pad_to if pad_to is not None else int(lengths[order[start]])
        rows = len(order) - start if max_samples is None else max(1, max_samples // max(row, 1))
        rows = rows if max_items is None else min(rows, max_items)
        batches.append(order[start : start + rows])
        start += rows
    return batches


def even_micro_batches(
    lengths: Sequence[int], *, about_samples: int, max_items: Optional[int] = None
) -> List[np.ndarray]:
    """The same for items that need no padding: parts of equal sums, as near to `about_samples` each as can be."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    sorted_lengths = np.asarray(lengths, dtype=np.float64)[order]
    total = sorted_lengths.sum()
    parts = max(1, round(total / about_samples))
    middles = np.cumsum(sorted_lengths) - sorted_lengths / 2
    cuts = np.split(order, np.searchsorted(middles, np.arange(1, parts) * (total / parts)))
    size = max_items or len(order)
    return [cut[start : start + size] for cut in cuts for start in range(0, len(cut), size)]
