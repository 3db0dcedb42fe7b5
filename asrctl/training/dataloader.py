"""Micro-batches of tensors, made by threads ahead of the training loop."""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Deque, Generator, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from asrctl.data.augmentation import joining
from asrctl.data.augmentation.chain import Augmenter
from asrctl.data.collate import FeatureRules, collate, input_values, to_float
from asrctl.data.dataset import PreparedSplit
from asrctl.data.sampler import BatchPlan, even_micro_batches, generator, micro_batches
from asrctl.training.distributed.dealing import Deal
from asrctl.training.feature_cache import FeatureCache

_AHEAD_STEPS = 3
# Samples at 16 kHz from which on attention takes more memory than the rest (see `_cost`).
_EVEN_SAMPLES = 435 * 320
_JOIN_STREAM = 3


@dataclass(frozen=True)
class Item:
    """One item of a batch: an utterance, or several joined.

    labels: (labels,) int32. utterances: how many. index: of the one utterance, where it is one. num_samples: its
    length. samples: (time,) float32, or None where there are features, (frames, channels): the encoder's output.
    """

    labels: np.ndarray
    utterances: int
    index: Optional[int]
    num_samples: int
    samples: Optional[np.ndarray] = None
    features: Any = None


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass.

    inputs: "input_values" (items, time) float32, "attention_mask" (items, time) int64; or None where each of `items`
    is given alone, its samples normalized. labels (items, longest) int64, label_lengths (items,), weights (items,):
    utterances that each item stands for. audio_s: seconds without padding.
    """

    inputs: Any
    items: Sequence[Item]
    labels: Any
    label_lengths: Any
    weights: Any
    audio_s: float


@dataclass(frozen=True)
class StepBatch:
    """All micro-batches of one optimizer step, and the utterances in them.

    micro_batches: None for one that another process computes. seconds: of audio in each.
    """

    step: int
    epoch: int
    micro_batches: List[Optional[MicroBatch]]
    utterances: int
    seconds: Sequence[float]

    def mine(self, number: int) -> MicroBatch:
        """A micro-batch that this process computes."""
        found = self.micro_batches[number]
        if found is None:
            raise KeyError(number)
        return found


@dataclass(frozen=True)
class Limits:
    """Of a micro-batch: most padded samples, most items; pad_to: the static length, or None for the longest item's.

    is_about: max_samples is what is best rather than a limit, for items that are not padded.
    """

    max_samples: Optional[int]
    max_items: Optional[int]
    pad_to: Optional[int]
    is_about: bool = False

    def cut(self, lengths: Sequence[int]) -> List[np.ndarray]:
        """Positions of one global batch's items, as micro-batches."""
        if self.is_about and self.max_samples is not None:
            return even_micro_batches(lengths, about_samples=self.max_samples, max_items=self.max_items)
        return micro_batches(lengths, max_samples=self.max_samples, max_items=self.max_items, pad_to=self.pad_to)


@dataclass(frozen=True)
class TrainingDataLoader:
    """Everything that makes a step's tensors; depends on nothing but the step's number.

    pads: whether micro-batches are padded, or hold each item alone. cache: of encoder outputs, for items alone whose
    audio is not changed. deal: which of a step's micro-batches this process computes; others are not made.
    """

    split: PreparedSplit
    plan: BatchPlan
    features: FeatureRules
    augmenter: Augmenter
    limits: Limits
    delimiter: Optional[int]
    max_item_samples: int
    pads: bool = True
    cache: Optional[FeatureCache] = None
    deal: Deal = Deal()

    def steps(self, start: int, end: int, workers: int) -> Generator[StepBatch, None, None]:
        """Steps start..end-1 in order; threads work a few steps ahead. Closing the iterator stops them."""
        numbered = self._batches(start, end)
        if workers == 0:
            for step, epoch, indices in numbered:
                yield self.make(step, epoch, indices)
            return
        pool = ThreadPoolExecutor(workers, thread_name_prefix="asrctl-feed")
        pending: Deque["Future[StepBatch]"] = deque()
        try:
            for arguments in numbered:
                pending.append(pool.submit(self.make, *arguments))
                if len(pending) >= _AHEAD_STEPS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            pool.shutdown(wait=True)

    def _batches(self, start: int, end: int) -> Iterator[Tuple[int, int, np.ndarray]]:
        step, per_epoch = start, self.plan.steps_per_epoch
        while step < end:
            epoch = step // per_epoch
            for indices in self.plan.epoch(epoch)[step % per_epoch :][: end - step]:
                yield step, epoch, indices
                step += 1

    def make(self, step: int, epoch: int, indices: np.ndarray) -> StepBatch:
        rng = generator(self.plan.seed, _JOIN_STREAM, step)
        most = self.augmenter.rules.join
        items = joining.joins(indices, self.split.num_samples, most, self.max_item_samples, rng)
        lengths = [sum(self._length(index, epoch) for index in item) for item in items]
        cuts = self.limits.cut(lengths)
        seconds = [sum(lengths[place] for place in cut) / self.split.sample_rate for cut in cuts]
        mine = set(self.deal.mine(seconds))
        made = [
            self._micro_batch([self._item(items[place], epoch) for place in cut]) if number in mine else None
            for number, cut in enumerate(cuts)
        ]
        return StepBatch(step, epoch, made, len(indices), seconds)

    def _length(self, index: int, epoch: int) -> int:
        """Samples of an utterance as the model hears it."""
        return self.augmenter.length(int(self.split.num_samples[index]), epoch, index)

    def _item(self, item: Sequence[int], epoch: int) -> Item:
        utterances = [self.split[index] for index in item]
        index = item[0] if len(item) == 1 else None
        labels = joining.joined_labels([utterance.labels for utterance in utterances], self.delimiter)
        known = self.cache.read(index) if self.cache is not None and index is not None else None
        if known is not None:
            return Item(labels, 1, index, len(utterances[0].pcm), features=known)
        samples = [self.augmenter(to_float(utterance.pcm), epoch, index) for utterance, index in zip(utterances, item)]
        joined = samples[0] if len(samples) == 1 else np.concatenate(samples)
        return Item(labels, len(item), index, len(joined), self._input_values(joined))

    def _input_values(self, samples: np.ndarray) -> np.ndarray:
        return samples if self.pads else input_values(samples, self.features)

    def _micro_batch(self, items: Sequence[Item]) -> MicroBatch:
        import torch

        label_lengths = [len(item.labels) for item in items]
        padded = np.zeros((len(items), max(label_lengths + [1])), dtype=np.int64)
        for row, item in zip(padded, items):
            row[: len(item.labels)] = item.labels
        inputs = None
        if self.pads:
            inputs = collate([item.samples for item in items], self.features, pad_to=self.limits.pad_to)
        return MicroBatch(
            inputs=inputs,
            items=() if self.pads else items,
            labels=torch.from_numpy(padded),
            label_lengths=torch.tensor(label_lengths, dtype=torch.int64),
            weights=torch.tensor([item.utterances for item in items], dtype=torch.float32),
            audio_s=sum(item.num_samples for item in items) / self.split.sample_rate,
        )

    def largest(self) -> MicroBatch:
        """The micro-batch that needs most memory of all that can come, for a trial at the start."""
        rows, samples = self.largest_shape()
        pcm = self.split[int(np.argmax(self.split.num_samples))].pcm
        labels = self.split[int(np.argmax(self.split.num_labels))].labels
        label_count = len(labels) * self.augmenter.rules.join + self.augmenter.rules.join - 1
        labels = np.resize(labels, label_count) if len(labels) else labels
        return self._micro_batch(
            [Item(labels, 1, None, samples, self._input_values(np.resize(to_float(pcm), samples)))] * rows
        )

    def largest_shape(self) -> Tuple[int, int]:
        """(rows, samples of each): as if every utterance were as long as that leaves room for.

        As many of the longest as fit, or one more that are just short enough: what is costlier is estimated.
        """
        longest, plan, limits = self._longest_item(), self.plan, self.limits
        length, most_rows = limits.pad_to or longest, plan.global_batch
        if plan.batch_samples is not None:
            # A step has so much audio at most, but a micro-batch pads the shortest to its longest.
            # Where an epoch is not much longer than a step, it is shared out to fewer and larger ones.
            stretch = math.ceil(plan.most_epoch_samples / plan.steps_per_epoch)
            step_samples = math.ceil(max(plan.batch_samples, stretch) / (1 - self.augmenter.rules.speed)) + 2 * longest
            most_rows = math.ceil(step_samples / max(1, int(self.split.num_samples.min()))) + 1
        most_rows = min(most_rows, limits.max_items or most_rows)
        budget = most_rows * length
        if limits.max_samples is not None:
            # Equal parts are at most half as long again, and an item belongs where its middle lies.
            most = limits.max_samples * 3 // 2 + longest if limits.is_about else limits.max_samples
            budget = min(budget, most)
        rows = max(1, min(budget // length, most_rows))
        shapes = [(rows, longest)]
        if limits.pad_to is None and rows < most_rows:
            shapes.append((rows + 1, budget // (rows + 1)))
        return max(shapes, key=lambda shape: _cost(*shape))

    def _longest_item(self) -> int:
        """Samples of the longest item that joining and slowing down can make."""
        longest = int(self.split.num_samples.max())
        if self.augmenter.rules.join > 1:
            longest = max(longest, min(self.max_item_samples, self.augmenter.rules.join * longest))
        return math.ceil(longest / (1 - self.augmenter.rules.speed))


def _cost(rows: int, samples: int) -> float:
    """Memory of a micro-batch, relative.

    Activations of a transformer layer grow as 34 + 5 a s / h per frame (Korthikanti et al. 2022, section 4; heads a,
    width h, s frames), so attention overtakes the rest at 435 frames of 20 ms.
    """
    return rows * samples * (1 + samples / _EVEN_SAMPLES)
