"""What a trainer is given, and what it gives back: the same for the host and the IPU."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

from asrctl.config.recipe import Recipe
from asrctl.data.augmentation.recordings import Recordings
from asrctl.data.dataset import PreparedSplit
from asrctl.data.sampler import BatchPlan
from asrctl.models.loading import Recognizer
from asrctl.runtime.ranks import ALONE, Ranks
from asrctl.runtime.signals import StopRequest
from asrctl.training.checkpoints import Checkpoint
from asrctl.training.guard import GuardSet
from asrctl.training.trainer_state import TrainerState


@dataclass(frozen=True)
class TrainingJob:
    """A training, resolved: all that a trainer is to do. Made once (asrctl.commands.train.plan) and passed on as it is.

    folder: the run's own; a trainer writes only there and in the caches. train: utterances that the model can align.
    total_steps: optimizer steps of the complete run. resume: go on from the run's newest checkpoint. max_steps,
    max_minutes: limits, as they were typed. cache: where executables compiled for an IPU are kept, outside the run.
    features: where a frozen encoder's output is kept (None: nowhere). data: a digest of what the prepared data holds.
    command: the words that the user typed. recordings: {key: what the folder holds} of `batches.augment`.
    guard: what may not get worse.
    processes: how many train together; what comes out does not depend on it.
    """

    recipe: Recipe
    folder: Path
    train: PreparedSplit
    eval: Optional[PreparedSplit]
    device: Any
    precision: str
    total_steps: int
    resume: bool = False
    max_steps: Optional[int] = None
    max_minutes: Optional[float] = None
    cache: Optional[Path] = None
    features: Optional[Path] = None
    data: str = ""
    command: Sequence[str] = ()
    recordings: Mapping[str, Recordings] = field(default_factory=dict)
    guard: Optional[GuardSet] = None
    processes: int = 1

    @functools.cached_property
    def batches(self) -> BatchPlan:
        """The batches of an epoch."""
        return batch_plan(self.recipe, self.train)


def batch_plan(recipe: Recipe, train: PreparedSplit) -> BatchPlan:
    """The batches of a training split under a recipe."""
    seconds = recipe.optim.global_batch_s
    return BatchPlan(
        num_samples=train.num_samples,
        global_batch=recipe.optim.global_batch,
        batch_samples=None if seconds is None else int(seconds * train.sample_rate),
        order=recipe.batches.order,
        drop_last=recipe.batches.drop_last,
        seed=recipe.optim.seed,
        mixing=train.mixing,
    )


@dataclass(frozen=True)
class StartPoint:
    """Where this process begins to train. checkpoint: the one to go on from; None at the beginning of a run.

    ranks: the processes that train together.
    """

    recognizer: Recognizer
    checkpoint: Optional[Checkpoint] = None
    stop: StopRequest = field(default_factory=StopRequest)
    ranks: Ranks = ALONE


@dataclass(frozen=True)
class Outcome:
    """reason: finished | early-stopping | guard | max-minutes | interrupted. kept_step: of the newest checkpoint, if
    any.

    total: steps that the run was to have in the end.
    """

    reason: str
    state: TrainerState
    seconds: float
    audio_s: float
    kept_step: Optional[int]
    total: int
