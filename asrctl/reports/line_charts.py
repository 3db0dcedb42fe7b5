"""Numbers over the steps of a run as inline SVG, which takes the colors of the page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Sequence, Tuple

from asrctl.reports.charts import round_numbers, shown
from asrctl.reports.page import Html, element, joined, markup
from asrctl.training.run_report import SeriesPoint

_WIDTH, _HEIGHT = 400, 210
_LEFT, _TOP, _BASE = 58, 8, 182
# Where the largest value is so many times the smallest, one chart shows both on a scale of powers alone.
_WIDE = 50.0
_POINTED = 60


@dataclass(frozen=True)
class Line:
    name: str
    points: Tuple[SeriesPoint, ...]


def line_chart(caption: str, unit: str, lines: Sequence[Line], *, from_zero: bool = False) -> Html:
    """A figure; the second line is dashed. from_zero: the scale begins there. Points say their step and value."""
    lines = [line for line in lines if line.points]
    told = joined([caption, element("span", unit, class_="soft")] if unit else [caption], "")
    if not lines:
        nothing = element("p", "nothing to show", class_="soft")
        return element("figure", joined([element("figcaption", told), nothing]))
    scale = _Scale([point for line in lines for point in line.points], from_zero=from_zero)
    drawing = [*scale.grid(), *(part for number, line in enumerate(lines) for part in _line(line, number, scale))]
    label = f"{caption} {unit}: " + ", ".join(f"{line.name} from {_ends(line)}" for line in lines)
    svg = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{markup(label)}">' + "".join(drawing) + "</svg>"
    )
    return element("figure", joined([element("figcaption", told), Html(svg), *_legend(lines)]))


def _ends(line: Line) -> str:
    return f"{shown(line.points[0].value)} to {shown(line.points[-1].value)}"


def _legend(lines: Sequence[Line]) -> List[Html]:
    if len(lines) < 2:
        return []
    names = (f"{line.name} ({'dashed' if number else 'solid'})" for number, line in enumerate(lines))
    return [element("div", ", ".join(names), class_="soft legend")]


def _line(line: Line, number: int, scale: "_Scale") -> List[str]:
    places = [(scale.across(point.step), scale.up(point.value)) for point in line.points]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashes = ' stroke-dasharray="5 3"' if number else ""
    parts = [f'<polyline points="{drawn}"{dashes}/>']
    if any(point.low < point.high for point in line.points):
        edge = [(scale.across(point.step), scale.up(point.high)) for point in line.points]
        edge += [(scale.across(point.step), scale.up(point.low)) for point in reversed(line.points)]
        parts.insert(0, f'<polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in edge)}"/>')
    radius = 3 if len(places) <= _POINTED else 0
    for point, (x, y) in zip(line.points, places):
        title = markup(f"{line.name}, step {point.step:,.0f}: {point.value:.4g}")
        # What can be pointed at is larger than what is seen.
        parts.append(
            f'<g><circle class="touch" cx="{x:.1f}" cy="{y:.1f}" r="7"/>'
            + (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>' if radius else "")
            + f"<title>{title}</title></g>"
        )
    return parts


class _Scale:
    def __init__(self, points: Sequence[SeriesPoint], *, from_zero: bool) -> None:
        low, high = min(point.low for point in points), max(point.high for point in points)
        self._powers = not from_zero and low > 0 and high > _WIDE * low
        if from_zero:
            low = min(low, 0.0)
        self._low, self._high = self._of(low), self._of(high)
        if self._high <= self._low:
            self._high = self._low + (abs(self._low) or 1.0)
        self._first = min(point.step for point in points)
        self._last = max(max(point.step for point in points), self._first + 1)

    def _of(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self._powers else value

    def across(self, step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 10) * (step - self._first) / (self._last - self._first)

    def up(self, value: float) -> float:
        return _BASE - (_BASE - _TOP) * (self._of(value) - self._low) / (self._high - self._low)

    def _values(self) -> Sequence[float]:
        if not self._powers:
            return round_numbers(self._low, self._high - self._low, 4)
        places = range(math.floor(self._low), math.ceil(self._high) + 1)
        parts = (1, 3) if len(places) <= 4 else (1,)
        found = [part * 10.0**place for place in places for part in parts]
        inside = [value for value in found if self._low <= math.log10(value) <= self._high]
        return inside[:: max(1, len(inside) // 4)]

    def grid(self) -> List[str]:
        parts = []
        for value in self._values():
            y = self.up(value)
            parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - 10}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 5:.1f}" text-anchor="end">{shown(value)}</text>')
        for step in round_numbers(self._first, self._last - self._first):
            x = self.across(step)
            anchor = "end" if x > _WIDTH - 40 else "middle"
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{shown(step)}</text>')
        return parts
