"""Emulated popart: the two enums that optimum-graphcore turns into option values."""

from __future__ import annotations

import enum

from poptorch._errors import refuse_unknown


class AccumulateOuterFragmentSchedule(enum.IntEnum):
    Scheduler = 0
    Serial = 1
    OverlapCycleOptimized = 2
    OverlapMemoryOptimized = 3


class SubgraphCopyingStrategy(enum.IntEnum):
    OnEnterAndExit = 0
    JustInTime = 1


__getattr__ = refuse_unknown(__name__)
