"""Utterances in groups by what is known of them, and the word error rate of each group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np

from asrctl.evaluation.comparison import quantile_groups
from asrctl.evaluation.metrics import bootstrap_interval, rate

UNKNOWN = "unknown"
PARTS = 4


@dataclass(frozen=True)
class Group:
    """Utterances that have a value in common. errors, words: of their words; wer: a fraction."""

    name: str
    utterances: int
    words: int
    errors: int
    wer: float
    wer_interval: Optional[Tuple[float, ...]]


def quarters(values: Sequence[float], unit: str) -> List[str]:
    """For each value the name of its group: four of like size, in the order of what they hold."""
    groups = quantile_groups(values, PARTS)
    bounds = {group: [value for value, mine in zip(values, groups) if mine == group] for group in set(groups.tolist())}
    between = "to" if min(values, default=0.0) < 0 else "-"
    names = {group: f"{min(held):.3g} {between} {max(held):.3g} {unit}" for group, held in bounds.items()}
    return [f"{group + 1}. {names[group]}" for group in groups.tolist()]


def scored(values: Sequence[str], errors: np.ndarray, words: np.ndarray) -> Tuple[Group, ...]:
    """The groups, in the order of their names. values: of each utterance; errors, words: (utterances,) integers."""
    names, of = np.unique(np.asarray(values, dtype=object).astype(str), return_inverse=True)
    order = np.argsort(of, kind="stable")
    bounds = np.searchsorted(of[order], np.arange(len(names) + 1))
    found = []
    for place, name in enumerate(names):
        mine = order[bounds[place] : bounds[place + 1]]
        wrong, total = int(errors[mine].sum(dtype=np.int64)), int(words[mine].sum(dtype=np.int64))
        interval = bootstrap_interval(errors[mine], words[mine])
        found.append(Group(str(name), len(mine), total, wrong, rate(wrong, total), interval))
    return tuple(found)
