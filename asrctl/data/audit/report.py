"""What report.json of an audit holds."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from asrctl.data.audit.distribution import Histogram
from asrctl.data.audit.findings import KINDS, Finding
from asrctl.storage import records

SCHEMA = 1
# Of each kind, the oddest. All of them are in findings.jsonl.
LISTED = 2000
# What is longer, nobody reads in a list. IDs stay whole.
_MOST_TEXT, _TEXTS = 400, ("text", "heard", "word", "detail")


@dataclass(frozen=True)
class Chart:
    """A histogram. start: where the first bar begins; width: of each; both in `unit`."""

    name: str
    title: str
    unit: str
    start: float
    width: float
    counts: Tuple[int, ...]


def _check(listed: Tuple[Any, ...]) -> None:
    """Raises ValueError where one is not as Finding.as_dict writes it."""
    for values in listed:
        kind = values.get("kind") if isinstance(values, dict) else None
        if not isinstance(kind, str) or not isinstance(values.get("detail"), str):
            raise ValueError("a finding does not say what it is")
        problem = records.problem(KINDS.get(kind, Finding), values)
        if problem is not None:
            raise ValueError(f"a finding is damaged: {problem}")


@dataclass(frozen=True)
class KindReport:
    """Findings of a kind. splits: {split: how many}. findings: the oddest, as Finding.as_dict has them."""

    kind: str
    title: str
    advice: str
    count: int
    splits: Mapping[str, int]
    findings: Tuple[Any, ...]

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if not self.findings:
            raise ValueError("a kind has no finding")
        _check(self.findings)


@dataclass(frozen=True)
class SplitSize:
    utterances: int
    seconds: float


@dataclass(frozen=True)
class AuditReport:
    """findings: of all kinds together. facts: sentences on what is no fault. run: whose model gave label doubts;
    ranking: the first of these, odd or not.
    """

    schema: int
    data: str
    id: str
    sample_rate: int
    splits: Mapping[str, SplitSize]
    findings: int
    kinds: Tuple[KindReport, ...]
    facts: Tuple[str, ...]
    charts: Tuple[Chart, ...]
    run: Optional[str] = None
    ranking: Tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError."""
        _check(self.ranking)


def chart(name: str, title: str, unit: str, histogram: Histogram) -> Chart:
    start, width, counts = histogram.bars()
    return Chart(name, title, unit, round(start, 4), round(width, 4), counts)


class Tally:
    """Counts findings, and keeps the oddest of each kind."""

    def __init__(self) -> None:
        self._splits: Dict[str, Dict[str, int]] = {}
        self._kept: Dict[str, List[Tuple[float, int, Finding]]] = {}
        self._number = 0

    def add(self, finding: Finding) -> None:
        splits = self._splits.setdefault(finding.kind, {})
        splits[finding.split] = splits.get(finding.split, 0) + 1
        kept = self._kept.setdefault(finding.kind, [])
        self._number += 1
        item = (finding.severity, -self._number, finding)  # of equals the first
        (heapq.heappush if len(kept) < LISTED else heapq.heappushpop)(kept, item)

    @property
    def total(self) -> int:
        return sum(sum(splits.values()) for splits in self._splits.values())

    def kinds(self) -> Tuple[KindReport, ...]:
        return tuple(self._kind(kind) for kind in KINDS if kind in self._kept)

    def _kind(self, kind: str) -> KindReport:
        cls, splits = KINDS[kind], self._splits[kind]
        ordered = [finding for _, _, finding in sorted(self._kept[kind], key=lambda item: item[:2], reverse=True)]
        listed = tuple(shortened(finding.as_dict()) for finding in ordered)
        return KindReport(kind, cls.title, cls.advice, sum(splits.values()), dict(sorted(splits.items())), listed)


def shortened(values: Dict[str, Any]) -> Dict[str, Any]:
    """The same, with no text longer than people read."""
    return {
        key: value[: _MOST_TEXT - 3] + "..." if key in _TEXTS and len(value) > _MOST_TEXT else value
        for key, value in values.items()
    }
