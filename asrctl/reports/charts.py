"""Histograms as inline SVG, which takes the colors of the page."""

from __future__ import annotations

import math
from typing import Sequence

from asrctl.reports.page import Html, element, joined, markup

_WIDTH, _HEIGHT, _BASE, _TICKS = 400, 150, 130, 5


def histogram(caption: str, unit: str, start: float, width: float, counts: Sequence[int]) -> Html:
    """A figure. start: where the first bar begins; width: of each, in `unit`. Each bar says its range and count."""
    if not counts:
        return element(
            "figure", joined([element("figcaption", caption), element("p", "nothing to show", class_="soft")])
        )
    highest = max(counts)
    step = _WIDTH / len(counts)
    bars = []
    for place, count in enumerate(counts):
        if count:
            low = start + place * width
            # One utterance among a million can still be seen.
            tall = max(2.0, (_BASE - 10) * count / highest)
            told = f"{low:.4g} to {low + width:.4g} {unit}: {count:,}"
            bars.append(
                f'<rect x="{place * step:.2f}" y="{_BASE - tall:.2f}" width="{max(step - 1, 0.8):.2f}" '
                f'height="{tall:.2f}"><title>{markup(told)}</title></rect>'
            )
    drawing = [*bars, f'<line x1="0" y1="{_BASE}" x2="{_WIDTH}" y2="{_BASE}"/>', *_ticks(start, width * len(counts))]
    total = f"{caption}, {unit}: {sum(counts):,} utterances"
    svg = Html(
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{markup(total)}">' + "".join(drawing) + "</svg>"
    )
    return element(
        "figure",
        joined([element("figcaption", joined([caption, element("span", unit, class_="soft")], "")), svg]),
    )


def _ticks(start: float, reach: float) -> Sequence[str]:
    return [_tick((value - start) / reach, value) for value in round_numbers(start, reach)]


def round_numbers(start: float, reach: float, most: int = _TICKS) -> Sequence[float]:
    """A few from `start` on, for an axis of that length."""
    raw = reach / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
    first = math.ceil(start / step - 1e-9)
    places = range(first, math.floor((start + reach) / step + 1e-9) + 1)
    return [place * step for place in places]


def _tick(share: float, value: float) -> str:
    anchor = "start" if share < 0.06 else "end" if share > 0.94 else "middle"
    return f'<text x="{share * _WIDTH:.0f}" y="{_HEIGHT - 5}" text-anchor="{anchor}">{shown(value)}</text>'


def shown(value: float) -> str:
    """A number for people, of at most a few digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
