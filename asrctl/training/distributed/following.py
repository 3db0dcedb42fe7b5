"""What the processes of a training do that do not decide: what the main one announces, until there is no more."""

from __future__ import annotations

from enum import IntEnum
from typing import Callable, Mapping

from asrctl.runtime.ranks import Ranks


class Order(IntEnum):
    """What comes next. A step's value is its position in the schedule, which decides its rate and what learns."""

    END, STEP, SCORE = range(3)


def follow(ranks: Ranks, carried_out: Mapping[Order, Callable[[float], object]]) -> None:
    """Carry out orders as they come."""
    while True:
        order, value = ranks.heard()
        if order == Order.END:
            return
        carried_out[Order(order)](value)
