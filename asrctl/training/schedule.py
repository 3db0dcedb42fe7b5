"""Learning-rate schedules: pure, and without torch, since a run's state names one and `status` reads that."""

from __future__ import annotations

import math
from dataclasses import dataclass

from asrctl.config.recipe import OptimSection


@dataclass(frozen=True)
class Schedule:
    """How the steps of a run go through the schedule of its recipe, which is `recipe` steps long.

    From step `start` on, which is at position `at` of the schedule, the rest of the schedule is gone through by the
    steps up to `total`. Where nothing cuts a run short, a step's position is the step itself.
    """

    recipe: int
    total: int
    start: int = 0
    at: float = 0.0

    @classmethod
    def whole(cls, recipe: int) -> "Schedule":
        return cls(recipe, recipe)

    def position(self, step: int) -> float:
        """The step of the recipe's schedule that optimizer step `step` (0-based, not before `start`) stands for."""
        if self.total == self.recipe and self.at == self.start:
            return step
        return self.at + (step - self.start) * (self.recipe - self.at) / max(1, self.total - self.start)

    def ending(self, total: int, step: int) -> "Schedule":
        """From `step` on a schedule, so that the schedule ends with `total` steps. The position goes on unbroken."""
        return Schedule(self.recipe, total, step, self.position(step))

    def rate(self, optim: OptimSection, step: int) -> float:
        """The learning rate of optimizer step `step` (0-based)."""
        return learning_rate(optim, self.position(step), self.recipe)


def learning_rate(optim: OptimSection, step: float, total: int) -> float:
    """The learning rate of optimizer step `step` (0-based) out of `total`.

    linear, cosine: as transformers' get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup, so that the
    first step of a warm-up has rate 0 and the rate after the last step would be 0. tri-stage: warm-up, hold, decay
    (Baevski et al. 2020, appendix B; shares and final value as in fairseq's tri_stage scheduler).
    """
    if optim.schedule == "tri-stage":
        return optim.learning_rate * _tri_stage(optim, step, total)
    warmup = round(optim.warmup_share * total) if optim.warmup_share else optim.warmup_steps
    if step < warmup:
        return optim.learning_rate * step / max(1, warmup)
    if optim.schedule == "constant":
        return optim.learning_rate
    left = max(0.0, (total - step) / max(1, total - warmup))
    return optim.learning_rate * (left if optim.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * left))


def _tri_stage(optim: OptimSection, step: float, total: int) -> float:
    warm, hold, decay = (share * total for share in optim.tri_stage)
    initial = 0.01  # fairseq's init_lr_scale
    if step < warm:
        return initial + (1 - initial) * step / warm
    if step < warm + hold:
        return 1.0
    passed = min(1.0, (step - warm - hold) / max(decay, 1e-9))
    return math.exp(math.log(optim.tri_stage_final) * passed)
