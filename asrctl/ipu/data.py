"""Prepared speech as an IPU takes it: static shapes, and the host's data order, as torch data sets.

Picklable: the loader's workers may be processes of their own, which map the shards anew.
"""

from __future__ import annotations

import signal
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

import numpy as np
import torch

from asrctl.data.augmentation.chain import Augmenter
from asrctl.data.collate import FeatureRules, collate, to_float
from asrctl.data.dataset import PreparedSplit
from asrctl.data.sampler import BatchPlan

# transformers' mark of a label that is padding.
NO_LABEL = -100


class StaticSpeech(torch.utils.data.Dataset):
    """Utterances in the order of `indices`, padded.

    An item: "input_values" (pad_to,) float32 or float16, "attention_mask" (pad_to,) int64 and, with max_labels,
    "labels" (max_labels,) int64.
    """

    def __init__(
        self,
        split: PreparedSplit,
        rules: FeatureRules,
        *,
        pad_to: int,
        max_labels: Optional[int],
        half: bool,
        augmenter: Optional[Augmenter] = None,
    ) -> None:
        self.split, self.rules, self.pad_to, self.max_labels, self.half = split, rules, pad_to, max_labels, half
        self.augmenter = augmenter

    def item(self, index: int, epoch: Optional[int] = None) -> Dict[str, torch.Tensor]:
        """epoch: of training, where the audio is to be changed as the recipe says."""
        _leave_signals_to_the_parent()
        utterance = self.split[index]
        samples = utterance.pcm
        if epoch is not None and self.augmenter is not None:
            samples = self.augmenter(to_float(samples), epoch, index)
        item = {name: rows[0] for name, rows in collate([samples], self.rules, pad_to=self.pad_to).items()}
        if self.half:
            item["input_values"] = item["input_values"].half()
        if self.max_labels is not None:
            labels = np.full(self.max_labels, NO_LABEL, dtype=np.int64)
            labels[: len(utterance.labels)] = utterance.labels
            item["labels"] = torch.from_numpy(labels)
        return item


class TrainingOrder(StaticSpeech):
    """Item i is the i-th utterance that training takes, over all epochs of the run: a run is one long epoch."""

    def __init__(self, *arguments: Any, plan: BatchPlan, total_steps: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.plan, self.total_steps = plan, total_steps
        self._epoch: Tuple[int, Sequence[np.ndarray]] = (-1, [])

    def __len__(self) -> int:
        return self.total_steps * self.plan.global_batch

    def batch(self, step: int) -> np.ndarray:
        """Indices in the split of the utterances of optimizer step `step`, 0-based."""
        epoch, place = divmod(step, self.plan.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self.plan.epoch(epoch))
        return self._epoch[1][place]

    def __getitem__(self, number: int) -> Dict[str, torch.Tensor]:
        step, place = divmod(number, self.plan.global_batch)
        return self.item(int(self.batch(step)[place]), epoch=step // self.plan.steps_per_epoch)


class FromStep(torch.utils.data.Sampler):
    """0, 1, 2, ... from `start` to `total`; its length is the whole, since IPUTrainer counts epochs by it."""

    def __init__(self, start: int, total: int) -> None:
        self.start, self.total = start, total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.total))

    def __len__(self) -> int:
        return self.total


class Evaluated(StaticSpeech):
    """The chosen utterances, and repeats of the last up to a multiple of `multiple`: the device takes no part batch."""

    def __init__(self, *arguments: Any, indices: Sequence[int], multiple: int, **options: Any) -> None:
        super().__init__(*arguments, max_labels=None, **options)
        self.indices = [int(index) for index in indices]
        self.padded = -(-len(self.indices) // multiple) * multiple

    def __len__(self) -> int:
        return self.padded

    def __getitem__(self, number: int) -> Dict[str, torch.Tensor]:
        return self.item(self.indices[min(number, len(self.indices) - 1)])


def stack(items: Sequence[Dict[str, torch.Tensor]]) -> Dict[str, torch.Tensor]:
    """Items of one shape -> a batch."""
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def _leave_signals_to_the_parent() -> None:
    # Ctrl-C reaches every process of the terminal; a worker that died of it would take the last step with it.
    if torch.utils.data.get_worker_info() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
