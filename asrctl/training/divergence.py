"""Detect divergence: losses that are not finite or explode, and evaluations whose hypotheses are all empty.

The bounds lie where no run that learns comes. Losses are compared in nats per label, whatever the reduction, and a
loss has exploded when it is above all three: ten times the lowest smoothed one so far, the first one, and the
logarithm of the vocabulary (about what a model that knows nothing loses). Runs of tiny-cpu and demo from scratch stay
below a quarter of that line; with a hopeless learning rate they are above it from the second step on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Tuple

from asrctl.messages import amounts
from asrctl.training.trainer_state import TrainerState

# Steps in a row whose numbers are not finite before training gives up.
MAX_BAD_STEPS = 8
# Steps above the line, less those since then that were below it, before training gives up.
MAX_EXPLODED_STEPS = 50
# From so many on it is no outlier: nothing is saved or evaluated any more.
_DOUBTFUL_STEPS = 3
_EXPLODED_FACTOR = 10.0
_SMOOTHING = 0.1
# Share of hypotheses without a character, and with it the WER, from which an evaluation counts as silent.
_SILENT = 0.99
_SILENT_EVALUATIONS = 3
# A run that had a WER below this had learnt words: silence is then no plateau, and a tenth of its bound is enough.
_LEARNT_WER = 0.9
_LEARNT_SHARE = 0.1

NOT_FINITE = (
    "a learning rate that is too high, or a warm-up that is too short",
    "gradients that are not clipped (optim.max_grad_norm)",
    "numbers too large for fp16",
)
EXPLODED = NOT_FINITE[:2] + ("an Adam epsilon that is too small (optim.adam_eps)",)
SILENT = (
    "a learning rate that is too high or too low",
    "transcripts that do not belong to the audio",
    "masks or dropout that leave a small model too little",
)


@dataclass(frozen=True)
class Divergence:
    """Why a run is given up. advice: what to do, without what is kept."""

    message: str
    causes: Tuple[str, ...]
    advice: str


class DivergenceDetector:
    """The losses and evaluations of one run. What resuming needs is in `state`; no checkpoint is made while in doubt.

    spoils: a step that is not finite reaches the weights. vocabulary: its size. max_silent_steps: None for no bound.
    good_step: the last step whose weights gave a sensible loss in the step after it.
    """

    def __init__(
        self, state: TrainerState, *, spoils: bool, vocabulary: int, max_silent_steps: Optional[int], advice: str
    ) -> None:
        self.state, self.spoils, self.max_silent_steps, self.advice = state, spoils, max_silent_steps, advice
        self.floor = math.log(vocabulary)
        self.bad, self.exploded = 0, 0
        self.good_step = state.step
        self._last = 0.0

    @property
    def doubtful(self) -> bool:
        """The weights are spoilt, or may be: not to be saved."""
        return self.bad >= (1 if self.spoils else _DOUBTFUL_STEPS) or self.exploded >= _DOUBTFUL_STEPS

    @property
    def fell_silent(self) -> bool:
        """The last evaluation was silent, after others that had words right."""
        state = self.state
        learnt = state.best_wer is not None and state.best_wer < _LEARNT_WER
        return state.silent_since is not None and learnt

    def after_step(self, before: int, level: float, *, applied: bool) -> None:
        """Take in a call that began after step `before`. level: its loss in nats per label."""
        state, self._last = self.state, level
        if not (applied and math.isfinite(level)):
            self.bad += 1
            return
        self.bad = 0
        if state.first_level is None and level == 0:
            return  # nothing could be aligned in it, so it says nothing of what losses are like here
        if state.first_level is None or state.level is None or state.lowest_level is None:
            state.first_level = state.level = state.lowest_level = level
        if level > max(_EXPLODED_FACTOR * state.lowest_level, state.first_level, self.floor):
            self.exploded += 1
            return
        self.exploded = max(0, self.exploded - 1)
        state.level += _SMOOTHING * (level - state.level)
        state.lowest_level = min(state.lowest_level, state.level)
        if self.exploded == 0:
            self.good_step = before

    def evaluated(self, values: Mapping[str, Any]) -> None:
        """Take in an evaluation at the step where the run stands."""
        state = self.state
        if values["empty"] <= _SILENT or values["wer"] < _SILENT:
            state.silent_since, state.silent_evaluations = None, 0
            return
        state.silent_since = state.step if state.silent_since is None else state.silent_since
        state.silent_evaluations += 1

    def check(self, *, ended: bool = False) -> Optional[Divergence]:
        """Why the run is to be given up for its losses, or None. ended: no further step can tell otherwise."""
        if self.bad >= MAX_BAD_STEPS or (ended and self.doubtful and self.bad):
            steps = f"{self.bad} steps in a row" if self.bad > 1 else "the last step"
            return Divergence(f"{steps} gave numbers that are not finite", NOT_FINITE, self.advice)
        if self.exploded >= MAX_EXPLODED_STEPS or (ended and self.doubtful):
            lowest = self.state.lowest_level
            return Divergence(
                f"the loss has exploded: {self._last:.4g} per label in step {self.state.step}; until step"
                f" {self.good_step + 1} it had come down to {lowest:.4g}",
                EXPLODED,
                self.advice,
            )
        return None

    def check_silence(self) -> Optional[Divergence]:
        """Why the run is to be given up for its evaluations, or None."""
        state = self.state
        if self.max_silent_steps is None or state.silent_since is None:
            return None
        limit = self.max_silent_steps * (_LEARNT_SHARE if self.fell_silent else 1)
        steps = state.step - state.silent_since
        if steps < limit or state.silent_evaluations < _SILENT_EVALUATIONS:
            return None
        return Divergence(
            f"every hypothesis has been empty for {amounts.count(steps, 'step')}, since step {state.silent_since}",
            SILENT,
            "change optim.learning_rate, or look at what `asrctl eval` shows; a higher run.max_silent_steps waits"
            " longer",
        )
