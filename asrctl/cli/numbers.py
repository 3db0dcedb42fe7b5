"""Numbers that options take: what is no number, and what lies beyond the limits, is refused in our own words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Optional

import typer

from asrctl.errors import UsageError


@dataclass(frozen=True)
class Number:
    """What one option takes.

    what: for the sentence that says what would be right, such as "a number of seconds". low, high: inclusive.
    whole: no fractions. share: 20% means 0.2.
    """

    option: str
    what: str
    example: str
    low: Optional[float] = None
    high: Optional[float] = None
    whole: bool = False
    share: bool = False

    def parse(self, typed: Any) -> Any:
        """The number that was typed. Raises UsageError."""
        if not isinstance(typed, str):  # a default
            return typed
        text = typed.strip()
        if not text:
            raise self._wrong("is empty")
        number = self._read(text)
        if number is None:
            raise self._wrong(f"is {typed!r}, not {self.what}")
        if self.low is not None and number < self.low:
            raise self._wrong(f"is {text}, and the least is {_shown(self.low)}")
        if self.high is not None and number > self.high:
            raise self._wrong(f"is {text}, and the most is {_shown(self.high)}")
        return int(number) if self.whole else number

    def _read(self, text: str) -> Optional[float]:
        percent = self.share and text.endswith("%")
        try:
            number = int(text) if self.whole and text.lstrip("+-").isdecimal() else float(text.rstrip("%" * percent))
        except ValueError:
            return None
        if not math.isfinite(number) or (self.whole and number != int(number)):
            return None
        return number / 100 if percent else number

    def _wrong(self, problem: str) -> UsageError:
        if self.high is None:
            between = "" if self.low is None else f" of at least {_shown(self.low)}"
        else:
            between = f" from {_shown(self.low or 0)} to {_shown(self.high)}"
        return UsageError(f"{self.option} {problem}", fix=f"give {self.what}{between}, such as {self.example}")


def _shown(number: float) -> str:
    return f"{number:,.15g}"


def option(
    name: str,
    what: str,
    *,
    example: str,
    metavar: str,
    help: str,
    default: Any = None,
    low: Optional[float] = None,
    high: Optional[float] = None,
    whole: bool = False,
    share: bool = False,
) -> Any:
    """An option that takes a number; see Number."""
    number = Number(name, what, example, low, high, whole, share)
    return typer.Option(default, name, metavar=metavar, help=help, parser=number.parse)
