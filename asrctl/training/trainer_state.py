"""What a run knows of itself between steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from asrctl.storage import records
from asrctl.training.schedule import Schedule


@dataclass(frozen=True)
class Threads:
    """What a process on a CPU computes with: products are rounded otherwise with another number of threads."""

    each: int
    cores: int


@dataclass
class TrainerState:
    """What a run knows of itself between steps; stored in every checkpoint's state.json, under these names.

    first_level, level, lowest_level: losses in nats per label: the first, smoothed, and the lowest of the smoothed.
    silent_since: step of the first of the last evaluations that were all silent (see asrctl.training.divergence).
    scaler: the loss scale of mixed precision. pace: of a run whose time is limited, so that it goes on as planned.
    micro_batch_s: as it was found where the recipe leaves it open. threads: on a CPU. forgot_at: step of the evaluation
    at which the guard set was worse than before training, beyond chance.
    """

    step: int = 0
    best_step: Optional[int] = None
    best_wer: Optional[float] = None
    best_cer: Optional[float] = None
    evaluations_without_gain: int = 0
    first_level: Optional[float] = None
    level: Optional[float] = None
    lowest_level: Optional[float] = None
    silent_since: Optional[int] = None
    silent_evaluations: int = 0
    scaler: Optional[float] = None
    pace: Optional[Schedule] = None
    micro_batch_s: Optional[float] = records.absent()
    threads: Optional[Threads] = records.absent()
    forgot_at: Optional[int] = records.absent()


@dataclass(frozen=True)
class BackendState:
    """What a run on an IPU needs beside that to go on; rng_state: of each replica's random numbers."""

    device: str
    rng_state: Tuple[int, ...]
