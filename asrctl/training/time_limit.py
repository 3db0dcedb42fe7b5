"""The steps for which the minutes of --max-minutes are enough, from how long steps and evaluations have taken."""

from __future__ import annotations

from typing import Optional

# Of the whole time: after this much more of it the plan is made anew.
_SHARE = 1 / 20
# Calls before the first plan, beside the one that warms up.
_FEWEST = 2


class TimeLimit:
    """What has passed of a limited time, and what is left of it.

    seconds: all that a run may take. elapsed, here and below: seconds since it began, as the caller's clock has them.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._warm = False
        self._calls = self._steps = 0
        self._spent = 0.0
        self._check: Optional[float] = None
        self._planned_at: Optional[float] = None

    def is_over(self, elapsed: float) -> bool:
        return elapsed >= self.seconds

    def stepped(self, steps: int, seconds: float) -> None:
        """What a call of the loop took. The first one warms up, or compiles, and tells nothing."""
        if self._warm:
            self._calls, self._steps, self._spent = self._calls + 1, self._steps + steps, self._spent + seconds
        self._warm = True

    def checked(self, seconds: float, elapsed: float) -> None:
        """What an evaluation took, with the checkpoint; from then on plans go by it."""
        self._check = seconds
        if self._planned_at is not None:
            self._planned_at = min(self._planned_at, elapsed - _SHARE * self.seconds)

    def is_due(self, elapsed: float) -> bool:
        """Whether to plan now: as soon as there is something to go by, then again and again."""
        if self._planned_at is None:
            return self._calls >= _FEWEST
        return self._calls > 0 and elapsed - self._planned_at >= _SHARE * self.seconds

    def steps_left(self, elapsed: float, every: int, check: float) -> int:
        """Steps that fit into what is left, with an evaluation after every `every` and one at the end; at least one.

        check: what an evaluation may take, as long as none has been made.
        """
        check = check if self._check is None else self._check
        step = self._spent / max(1, self._steps)
        self._calls = self._steps = 0
        self._spent, self._planned_at = 0.0, elapsed
        return max(1, int((self.seconds - elapsed - check) / max(step + check / every, 1e-9)))
