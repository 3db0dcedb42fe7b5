"""Events of a running stage. Stages never print: they call `emit(event)`, and the caller shows or records it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Optional, Union


@dataclass(frozen=True)
class Note:
    """A sentence worth reading in passing."""

    message: str


@dataclass(frozen=True)
class Warned:
    """Something the user should know and may want to change."""

    message: str


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units (None: not known) of one task, shown as a bar with time left."""

    task: str
    done: float
    total: Optional[float] = None
    unit: str = ""
    detail: str = ""


@dataclass(frozen=True)
class StepDone:
    """One optimizer step of training; `values` holds loss, learning rate, audio seconds per second and so on.

    total: steps of the whole run; None as long as nobody knows how many its time is enough for.
    """

    step: int
    total: Optional[int]
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """An evaluation inside training."""

    step: int
    values: Mapping[str, Any]
    best: bool


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint was published and verified."""

    step: int
    path: str


Event = Union[Note, Warned, Progress, StepDone, Evaluated, CheckpointSaved]
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The emitter of whoever does not listen."""
