"""What a backend is given, and what it gives back: the same for the host and the IPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from asrctl.checkpoints import Checkpoint
from asrctl.interrupts import StopRequest
from asrctl.models import Recogniser
from asrctl.prepared import PreparedSplit
from asrctl.recipe import Recipe


@dataclass(frozen=True)
class TrainingJob:
    """A training run, with everything resolved. folder: the run's own; the backend writes only there.

    resume: the checkpoint to go on from, or None to start. total_steps: optimiser steps when the run is complete.
    cache: where executables compiled for an IPU are kept, outside the run. features: where a frozen encoder's output
    is kept (None: nowhere). data: the ID of the prepared data.
    """

    recipe: Recipe
    folder: Path
    recogniser: Recogniser
    train: PreparedSplit
    eval: Optional[PreparedSplit]
    device: Any
    precision: str
    total_steps: int
    stop: StopRequest
    resume: Optional[Checkpoint] = None
    max_minutes: Optional[float] = None
    cache: Optional[Path] = None
    features: Optional[Path] = None
    data: str = ""


@dataclass
class Standing:
    """What a run knows of itself between steps; stored in every checkpoint."""

    step: int = 0
    best_step: Optional[int] = None
    best_wer: Optional[float] = None
    evaluations_without_gain: int = 0
    bad_steps: int = 0
    first_loss: Optional[float] = None
    scaler: Optional[float] = None

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Standing":
        return cls(**{name: values[name] for name in cls().__dict__ if name in values})


@dataclass(frozen=True)
class Outcome:
    """reason: finished | early-stopping | max-minutes | interrupted."""

    reason: str
    standing: Standing
    seconds: float
    audio_s: float
    trained_steps: int
    final: Mapping[str, Any]
