"""How often something was noticed, and where first."""

from __future__ import annotations


class Tally:
    """False as long as nothing was added."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, what: str) -> None:
        self.count, self.first = self.count + 1, self.first or what

    def __bool__(self) -> bool:
        return self.count > 0
