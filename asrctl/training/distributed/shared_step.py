"""The forward and backward passes of one optimizer step, shared out to the processes of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Optional, Sequence

import numpy as np

from asrctl.runtime.ranks import Group, Ranks
from asrctl.training.dataloader import StepBatch
from asrctl.training.distributed import dealing
from asrctl.training.distributed.dealing import Deal


@dataclass(frozen=True)
class Sums:
    """Of the micro-batches of a step, added in their order. loss: their shares of the step's loss."""

    loss: float
    labels: int
    audio_s: float


class SharedSteps:
    """deal: this process's share. in_order: gradients do not depend on the number of processes, bit for bit."""

    def __init__(self, ranks: Ranks, parameters: Sequence[Any], *, in_order: bool) -> None:
        self._ranks = ranks
        self.deal = Deal(ranks.rank, ranks.size, in_order)
        self._in_order: Any = None
        self._added_up: Any = None
        if isinstance(ranks, Group):
            from asrctl.training.distributed import gradients

            if in_order:
                self._in_order = gradients.InOrder(ranks, parameters)
            else:
                self._added_up = gradients.AddedUp(ranks, parameters)

    def carry_out(
        self, batch: StepBatch, backward: Callable[[int], float], stopped: Callable[[], bool]
    ) -> Optional[Sums]:
        """Leave the step's gradient in every process. None where one of them was asked to stop.

        backward: adds the gradient of a micro-batch to `.grad`, and gives its share of the loss.
        """
        # A row for each micro-batch: loss, labels, seconds. One more: whether to stop.
        rows = np.zeros((len(batch.micro_batches) + 1, 3))
        if self._in_order is not None:
            for turn in dealing.rounds(batch.seconds, self._ranks.size):
                self._take(turn[self._ranks.rank], batch, backward, stopped, rows)
                self._in_order.add(turn)
        else:
            for number in self.deal.mine(batch.seconds):
                self._take(number, batch, backward, stopped, rows)
        rows = self._ranks.total(rows)
        if rows[-1, 0]:
            if self._in_order is not None:
                self._in_order.clear()
            return None
        if self._ranks.size > 1:
            (self._in_order or self._added_up).finish()
        loss = audio_s = 0.0
        for row in rows[:-1]:
            loss, audio_s = loss + float(row[0]), audio_s + float(row[2])
        return Sums(loss, int(rows[:-1, 1].sum()), audio_s)

    def _take(
        self,
        number: Optional[int],
        batch: StepBatch,
        backward: Callable[[int], float],
        stopped: Callable[[], bool],
        rows: np.ndarray,
    ) -> None:
        """Compute a micro-batch, and write down what came of it. Nothing more is computed once a stop was asked for."""
        if rows[-1, 0] or stopped():
            rows[-1, 0] = 1
        elif number is not None:
            micro = batch.mine(number)
            rows[number] = backward(number), int(micro.label_lengths.sum()), micro.audio_s
