"""What the loop between steps asks of a trainer, on whatever device, and gets from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping, Optional

from asrctl.evaluation.comparison import Difference
from asrctl.training.trainer_state import BackendState


@dataclass(frozen=True)
class StepResult:
    """The result of a call of the trainer. step: optimizer steps of the run so far; a call of an IPU makes several.

    loss: mean over the call's utterances. utterances, labels, audio_s: how much of each the call took. grad_norm: None
    where the loop does not know it. applied: the weights took the update.
    """

    step: int
    loss: float
    rate: float
    utterances: int
    labels: int
    audio_s: float
    grad_norm: Optional[float] = None
    applied: bool = True


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds beside the TrainerState; the values of checkpoints.save."""

    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    average: Optional[Mapping[str, Any]] = None
    backend: Optional[BackendState] = None
    extra: Optional[Callable[[Any], Any]] = None


class Trainer:
    """What the loop asks of a trainer.

    bad_steps_spoil: a step that is not finite reaches the weights. bad_steps_advice: what to change then.
    """

    bad_steps_spoil = False
    bad_steps_advice = "lower optim.learning_rate, lengthen the warm-up, set optim.max_grad_norm=1, or use fp32"

    def weights_are_finite(self) -> bool:
        """Every weight is finite."""
        raise NotImplementedError

    def score(self) -> Dict[str, Any]:
        """{"wer", "cer", "empty"} of the model as it stands."""
        raise NotImplementedError

    def guarded(self) -> Optional[Difference]:
        """The guard set before training and now; None where there is none."""
        return None

    def save_model(self) -> None:
        """Make the model as it stands the run's `model/`."""
        raise NotImplementedError

    def snapshot(self) -> Snapshot:
        """Everything that resuming needs."""
        raise NotImplementedError
