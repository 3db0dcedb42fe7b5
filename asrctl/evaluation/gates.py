"""Limits of the error rate, of the whole and of groups, and whether they were met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from asrctl.evaluation.groups import Group

# A group of fewer utterances is only above a limit where its whole interval is; else nobody can tell.
ENOUGH = 20


@dataclass(frozen=True)
class GroupGate:
    """No group of `key` may have a rate above `limit`, a fraction."""

    key: str
    limit: float

    @property
    def name(self) -> str:
        return f"{self.key}:{self.limit:g}"


@dataclass(frozen=True)
class Verdict:
    """Of one gate. message: what was found, a sentence. above: groups above the limit; too_small: those that seem to
    be, and have too few utterances to tell.
    """

    name: str
    passed: bool
    message: str
    limit: Optional[float] = None
    above: Tuple[Group, ...] = ()
    too_small: Tuple[Group, ...] = ()

    def as_dict(self) -> Dict[str, Any]:
        named = {"above": [one.name for one in self.above], "too_small": [one.name for one in self.too_small]}
        return {"gate": self.name, "passed": self.passed, "limit": self.limit, "message": self.message, **named}


def judge_whole(rate: float, limit: float, unit: str) -> Verdict:
    """Of all utterances. unit: word or phone."""
    side = "above" if rate > limit else "within"
    message = f"the {unit} error rate is {100 * rate:.2f} %, {side} the limit of {100 * limit:.2f} %"
    return Verdict("max-wer", rate <= limit, message, limit)


def judge_groups(gate: GroupGate, found: Sequence[Group]) -> Verdict:
    above: List[Group] = []
    too_small: List[Group] = []
    for group in sorted(found, key=lambda one: (-one.wer, one.name)):
        if group.wer <= gate.limit:
            continue
        surely = group.wer_interval is not None and group.wer_interval[0] > gate.limit
        (above if surely or group.utterances >= ENOUGH else too_small).append(group)
    limit = f"the limit of {100 * gate.limit:.2f} %"
    if above:
        many = f"{len(above)} of {len(found)} groups by {gate.key} {'is' if len(above) == 1 else 'are'} above {limit}"
        message = f"{many}: {listed(above)}"
    else:
        message = f"no group by {gate.key} is above {limit}"
        if too_small:
            message += f", as far as can be told: too small to judge are {listed(too_small)}"
    return Verdict(gate.name, not above, message, gate.limit, tuple(above), tuple(too_small))


def listed(found: Sequence[Group], most: int = 5) -> str:
    """The first of them with their rates."""
    shown = ", ".join(f"{one.name} {100 * one.wer:.2f} % (of {one.words:,})" for one in found[:most])
    return shown + (f" and {len(found) - most} more" if len(found) > most else "")
