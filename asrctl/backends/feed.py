"""Micro-batches of tensors, made by threads ahead of the training loop."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Deque, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from asrctl import augment
from asrctl.batches import Plan, generator, micro_batches
from asrctl.features import FeatureRules, collate, to_float
from asrctl.prepared import PreparedSplit
from asrctl.recipe import Augment

_AHEAD_STEPS = 3
_JOIN_STREAM, _AUDIO_STREAM = 3, 4


@dataclass(frozen=True)
class MicroBatch:
    """One forward pass.

    inputs: "input_values" (items, time) float32, "attention_mask" (items, time) int64. labels (items, longest) int64,
    label_lengths (items,), weights (items,): utterances that each item stands for. audio_s: seconds without padding.
    """

    inputs: Any
    labels: Any
    label_lengths: Any
    weights: Any
    audio_s: float


@dataclass(frozen=True)
class StepBatch:
    """All micro-batches of one optimiser step, and the utterances in them."""

    step: int
    epoch: int
    micro_batches: List[MicroBatch]
    utterances: int


@dataclass(frozen=True)
class Limits:
    """Of a micro-batch: most padded samples, most items; pad_to: the static length, or None for the longest item's."""

    max_samples: Optional[int]
    max_items: Optional[int]
    pad_to: Optional[int]


@dataclass(frozen=True)
class Feed:
    """Everything that makes a step's tensors; depends on nothing but the step's number."""

    split: PreparedSplit
    plan: Plan
    features: FeatureRules
    augment: Augment
    limits: Limits
    delimiter: int
    max_item_samples: int

    def steps(self, start: int, end: int, workers: int) -> Iterator[StepBatch]:
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
        items = augment.joins(indices, self.split.num_samples, self.augment.join, self.max_item_samples, rng)
        rows = [self._item(item, epoch) for item in items]
        lengths = [len(samples) for samples, _ in rows]
        cuts = micro_batches(
            lengths,
            max_samples=self.limits.max_samples,
            max_items=self.limits.max_items,
            pad_to=self.limits.pad_to,
        )
        made = [self._micro_batch([rows[i] for i in cut], [len(items[i]) for i in cut]) for cut in cuts]
        return StepBatch(step, epoch, made, len(indices))

    def _item(self, item: Sequence[int], epoch: int) -> Tuple[np.ndarray, np.ndarray]:
        """Utterance indices -> (samples, label ids)."""
        utterances = [self.split[index] for index in item]
        samples = [
            self._audio(utterance.pcm, generator(self.plan.seed, _AUDIO_STREAM, epoch, index))
            for utterance, index in zip(utterances, item)
        ]
        labels = augment.joined_labels([utterance.labels for utterance in utterances], self.delimiter)
        return (samples[0] if len(samples) == 1 else np.concatenate(samples)), labels

    def _audio(self, pcm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return augment.change(to_float(pcm), self.augment, self.split.sample_rate, rng)

    def _micro_batch(self, rows: Sequence[Tuple[np.ndarray, np.ndarray]], counts: Sequence[int]) -> MicroBatch:
        import torch

        label_lengths = [len(labels) for _, labels in rows]
        padded = np.zeros((len(rows), max(label_lengths + [1])), dtype=np.int64)
        for index, (_, labels) in enumerate(rows):
            padded[index, : len(labels)] = labels
        audio_s = sum(len(samples) for samples, _ in rows) / self.split.sample_rate
        return MicroBatch(
            inputs=collate([samples for samples, _ in rows], self.features, pad_to=self.limits.pad_to),
            labels=torch.from_numpy(padded),
            label_lengths=torch.tensor(label_lengths, dtype=torch.int64),
            weights=torch.tensor(counts, dtype=torch.float32),
            audio_s=audio_s,
        )

    def longest(self) -> MicroBatch:
        """The largest micro-batch that the limits allow, of the split's longest utterance: for a trial at the start."""
        index = int(np.argmax(self.split.num_samples))
        samples, labels = to_float(self.split[index].pcm), self.split[index].labels
        rows = 1
        if self.limits.max_samples is not None:
            rows = max(1, self.limits.max_samples // (self.limits.pad_to or len(samples)))
        rows = min(rows, self.plan.global_batch, self.limits.max_items or rows)
        return self._micro_batch([(samples, labels)] * rows, [1] * rows)
