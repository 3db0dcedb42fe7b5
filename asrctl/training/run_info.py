"""What run.json holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Tuple

from asrctl.storage import records


@dataclass(frozen=True)
class DataRef:
    """Prepared data that a run was made from. content: a digest of what it holds (PreparedData.content)."""

    name: str
    id: str
    content: Optional[str] = records.absent()


@dataclass(frozen=True)
class Best:
    """The evaluation after which the model was the best so far. wer: as a fraction."""

    step: int
    wer: Optional[float]


@dataclass(frozen=True)
class RunInfo:
    """run.json: its keys are these fields, in this order. What has no value in a run that asrctl wrote itself has it
    in none of an earlier version, or of one that is damaged.

    sequence: the run that was started or resumed last has the largest. state: running | interrupted | failed |
    complete. base: what training started from. command: as it was typed first. total_steps: that the run is to have;
    recipe_steps: those of its whole recipe, where its time was enough for fewer. limits: {option: value} of --max-steps
    and --max-minutes, where they were typed. inputs: what it was made from (commands/same_run.py). versions: of what
    decides the numbers. seconds: of training, over all resumptions. engine: which arithmetic carries the model on a
    host. reason: why it ended; error: what stopped it. recordings: {key of batches.augment: digest of what its folder
    holds}. averaged: where `model/` holds a moving average of the weights, its decay. processes: how many trained
    together, where it was more than one.
    """

    schema: int = 1
    name: str = ""
    sequence: int = 0
    state: str = ""
    preset: Optional[str] = records.absent()
    device: Optional[str] = records.absent()
    emulated: bool = False
    precision: Optional[str] = records.absent()
    data: DataRef = DataRef("", "")
    vocabulary: str = ""
    base: Optional[str] = None
    command: Tuple[str, ...] = ()
    steps: int = 0
    total_steps: Optional[int] = records.absent()
    limits: Optional[Mapping[str, float]] = records.absent()
    inputs: Optional[Mapping[str, Any]] = records.absent()
    best: Optional[Best] = None
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    engine: Optional[str] = None
    recipe_steps: Optional[int] = records.absent()
    reason: Optional[str] = records.absent()
    error: Optional[str] = records.absent()
    recordings: Optional[Mapping[str, str]] = records.absent()
    averaged: Optional[float] = records.absent()
    processes: Optional[int] = records.absent()

    @property
    def rate_name(self) -> str:
        """What the WER of this run is called: of phonemes, a phone error rate."""
        text = (self.inputs or {}).get("text")
        return "PER" if isinstance(text, dict) and text.get("phonemes") else "WER"

    @property
    def lacks(self) -> Optional[str]:
        """What every run has and this one has not."""
        known = {"name": self.name, "state": self.state, "data": self.data.id, "vocabulary": self.vocabulary}
        return next((key for key, value in known.items() if not value), None)
