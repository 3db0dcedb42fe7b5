"""What went wrong in an evaluation, and where: the content of report.json."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from asrctl.evaluation import groups, metrics
from asrctl.evaluation.groups import Group
from asrctl.storage import records

SCHEMA = 1
# Of confusions of each kind, and of utterances. All of them follow from hypotheses.jsonl.
CONFUSIONS_KEPT, WORST_KEPT = 100, 200
# Shares of wrong words, of which the last is for 100 % and more.
BARS = 20


@dataclass(frozen=True)
class Confusion:
    """reference was taken for hypothesis, so often; "" where one side has nothing."""

    reference: str
    hypothesis: str
    count: int


@dataclass(frozen=True)
class Confusions:
    """The most frequent of each kind."""

    substituted: Tuple[Confusion, ...]
    deleted: Tuple[Confusion, ...]
    inserted: Tuple[Confusion, ...]


@dataclass(frozen=True)
class Listed:
    """One of the worst utterances. index: its place in the split. seen: its sentence was in training."""

    id: str
    index: int
    errors: int
    words: int
    seconds: float
    reference: str
    hypothesis: str
    speaker: Optional[str] = records.absent()
    seen: Optional[bool] = records.absent()


@dataclass(frozen=True)
class Names:
    """What was evaluated on what, as people call it. run: None for a model of a folder; model: that folder's name."""

    run: Optional[str]
    model: str
    data: str


@dataclass(frozen=True)
class EvaluationReport:
    """metrics: as in metrics.json. groups: {key: its groups}, by speaker, duration ... utterances: how many have 0 to
    5, 5 to 10 ... % of their words wrong. worst: with most errors first.
    """

    schema: int
    names: Names
    metrics: Mapping[str, Any]
    groups: Mapping[str, Tuple[Group, ...]]
    words: Confusions
    characters: Confusions
    utterances: Tuple[int, ...]
    worst: Tuple[Listed, ...]


@dataclass(frozen=True)
class Known:
    """What is known of the utterances of a split, beside their texts.

    seconds: (utterances,) float. values: {key: a value for each utterance} that they are grouped by.
    """

    seconds: np.ndarray
    speakers: Sequence[Optional[str]]
    seen: Optional[np.ndarray]
    values: Mapping[str, Sequence[str]]


class Analysis:
    """Takes the scored utterances of a split in its order."""

    def __init__(self, known: Known) -> None:
        count = len(known.seconds)
        self._known = known
        self._errors, self._words = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        self._counts = {"words": _Counts(), "characters": _Counts()}
        self._worst: List[Tuple[Tuple[int, float, int], Listed]] = []

    def add(self, index: int, identity: str, reference: str, hypothesis: str) -> None:
        edits = metrics.word_edits(reference, hypothesis)
        self._errors[index], self._words[index] = edits.errors, edits.units
        if reference == hypothesis:
            return
        self._counts["words"].add(metrics.align(reference, hypothesis))
        self._counts["characters"].add(metrics.align_characters(reference, hypothesis))
        if edits.errors:
            self._list(index, identity, reference, hypothesis, edits)

    def _list(self, index: int, identity: str, reference: str, hypothesis: str, edits: metrics.Edits) -> None:
        rank = (edits.errors, edits.rate, -index)
        if len(self._worst) >= WORST_KEPT and rank < self._worst[0][0]:
            return
        known = self._known
        listed = Listed(
            identity,
            index,
            edits.errors,
            edits.units,
            round(float(known.seconds[index]), 3),
            reference,
            hypothesis,
            known.speakers[index],
            None if known.seen is None else bool(known.seen[index]),
        )
        heapq.heappush(self._worst, (rank, listed))
        if len(self._worst) > WORST_KEPT:
            heapq.heappop(self._worst)

    def report(self, names: Names, found: Mapping[str, Any]) -> EvaluationReport:
        """found: metrics.json."""
        return EvaluationReport(
            schema=SCHEMA,
            names=names,
            metrics={key: value for key, value in found.items() if key != "worst"},
            groups=self._groups(),
            words=self._counts["words"].most(),
            characters=self._counts["characters"].most(),
            utterances=self._bars(),
            worst=tuple(listed for _, listed in sorted(self._worst, key=lambda item: item[0], reverse=True)),
        )

    def _groups(self) -> Dict[str, Tuple[Group, ...]]:
        lengths = groups.quarters(self._words.tolist(), "words") if len(self._words) else []
        values = {**self._known.values, "length": lengths}
        found = {key: groups.scored(each, self._errors, self._words) for key, each in values.items()}
        return {key: each for key, each in found.items() if len(each) > 1 or (each and each[0].name != groups.UNKNOWN)}

    def _bars(self) -> Tuple[int, ...]:
        shares = self._errors / np.maximum(self._words, 1)
        places = np.minimum((shares * BARS).astype(np.int64), BARS)
        return tuple(np.bincount(places, minlength=BARS + 1).tolist())


class _Counts:
    """How often what stood for what."""

    def __init__(self) -> None:
        self._pairs: "Counter[Tuple[str, str]]" = Counter()

    def add(self, pairs: Sequence[Tuple[str, str]]) -> None:
        self._pairs.update(pair for pair in pairs if pair[0] != pair[1])

    def most(self) -> Confusions:
        kinds: Dict[str, List[Confusion]] = {"substituted": [], "deleted": [], "inserted": []}
        for (left, right), count in self._pairs.items():
            kind = "deleted" if not right else "substituted" if left else "inserted"
            kinds[kind].append(Confusion(left, right, count))
        return Confusions(**{kind: _most(found) for kind, found in kinds.items()})


def _most(found: List[Confusion]) -> Tuple[Confusion, ...]:
    found.sort(key=lambda one: (-one.count, one.reference, one.hypothesis))
    return tuple(found[:CONFUSIONS_KEPT])
