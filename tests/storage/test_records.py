"""Records: what is read has the kinds that its class says, and is written as it was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple

import pytest

from asrctl.errors import BadData
from asrctl.storage import records


@dataclass(frozen=True)
class Best:
    step: int
    wer: Optional[float]


@dataclass(frozen=True)
class Everything:
    name: str
    best: Optional[Best]
    emulated: bool = False
    command: Tuple[str, ...] = ()
    marks: Tuple[Best, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    inputs: Dict[str, Any] = field(default_factory=dict)
    times: Mapping[str, Optional[Tuple[int, ...]]] = field(default_factory=dict)
    reason: Optional[str] = records.absent()
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.seconds < 0:
            raise ValueError("seconds is below 0")


WHOLE = {
    "name": "x",
    "best": {"step": 3, "wer": 1},
    "emulated": True,
    "command": ["asrctl", "train"],
    "marks": [{"step": 1, "wer": None}],
    "versions": {"torch": "2"},
    "inputs": {"any": [1, {"thing": None}]},
    "times": {"a": [1, 2], "b": None},
    "reason": "finished",
    "seconds": 2,
}


def read(**changed: Any) -> Everything:
    return records.read(Everything, {**WHOLE, **changed}, "it is no such thing", fix="mend it")


def test_what_is_written_is_what_was_read_key_for_key_and_number_for_number():
    found = read()
    assert isinstance(found.best, Best) and found.marks == (Best(1, None),) and found.command == ("asrctl", "train")
    written = records.as_dict(found)
    assert written == WHOLE and list(written) == list(WHOLE)
    assert isinstance(written["seconds"], int) and isinstance(written["command"], list)


def test_a_key_may_be_missing_where_its_field_has_a_default_or_may_be_none():
    found = records.read(Everything, {"name": "x", "of a newer asrctl": 1}, "it", fix="")
    assert found == Everything("x", None)
    assert "reason" not in records.as_dict(found) and records.as_dict(found)["best"] is None


@pytest.mark.parametrize(
    "changed, problem",
    [
        ({"name": 1}, "name is not text"),
        ({"name": None}, "name is not text"),
        ({"best": 1}, "best is not a section of keys"),
        ({"best": {"wer": 1}}, "best.step is missing"),
        ({"best": {"step": True, "wer": 1}}, "best.step is not a whole number"),
        ({"best": {"step": 1.0, "wer": 1}}, "best.step is not a whole number"),
        ({"best": {"step": 1 << 64, "wer": 1}}, "best.step is not a whole number"),
        ({"best": {"step": 1, "wer": "1"}}, "best.wer is not a number"),
        ({"emulated": 1}, "emulated is not true or false"),
        ({"command": "asrctl"}, "command is not a list"),
        ({"command": ["asrctl", 1]}, "command[1] is not text"),
        ({"marks": [{}]}, "marks[0].step is missing"),
        ({"versions": {"torch": 2}}, "versions.torch is not text"),
        ({"inputs": []}, "inputs is not a section of keys"),
        ({"times": {"a": [0.5]}}, "times.a[0] is not a whole number"),
        ({"reason": None}, "reason is not text"),
        ({"seconds": False}, "seconds is not a number"),
        ({"seconds": -1}, "seconds is below 0"),
    ],
)
def test_the_first_problem_is_told_with_its_place(changed, problem):
    with pytest.raises(BadData) as caught:
        read(**changed)
    assert (caught.value.message, caught.value.fix) == (f"it is no such thing ({problem})", "mend it")


def test_values_that_are_used_as_they_are_are_only_looked_at():
    assert records.problem(Best, {"step": 1, "wer": None, "more": 1}) is None
    assert records.problem(Best, {"wer": 1}) == "step is missing"


@pytest.mark.parametrize("values", [None, 1, [], "x"])
def test_a_record_is_a_section_of_keys(values):
    with pytest.raises(BadData, match=r"it is no such thing \(it is not a section of keys\)"):
        records.read(Everything, values, "it is no such thing", fix="mend it")
