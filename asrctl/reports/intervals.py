"""Rates with their intervals as small drawings, all on one scale."""

from __future__ import annotations

from typing import Optional, Sequence

from asrctl.reports.page import Html, markup

_WIDTH, _HEIGHT = 160, 18


class Scale:
    """From 0 to what holds all of them. usual: the rate of the whole, where a line is drawn."""

    def __init__(self, usual: float, rates: Sequence[float]) -> None:
        self._usual = usual
        self._most = max([usual, *rates, 1e-9]) * 1.05

    def drawing(self, rate: float, bounds: Optional[Sequence[float]]) -> Html:
        """A point for the rate, and a line over its interval."""
        middle = _HEIGHT / 2
        told = f"{100 * rate:.2f} %" + ("" if bounds is None else f", {100 * bounds[0]:.2f} to {100 * bounds[1]:.2f} %")
        usual = self._place(self._usual)
        parts = [f'<line x1="{usual:.1f}" y1="0" x2="{usual:.1f}" y2="{_HEIGHT}"/>']
        if bounds is not None:
            low, high = (self._place(bound) for bound in bounds)
            parts.append(
                f'<rect class="range" x="{low:.1f}" y="{middle - 2:.1f}" width="{max(high - low, 1):.1f}" height="4"/>'
            )
        parts.append(f'<circle cx="{self._place(rate):.1f}" cy="{middle:.1f}" r="4"/>')
        return Html(
            f'<svg class="interval" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{markup(told)}">'
            + "".join(parts)
            + "</svg>"
        )

    def _place(self, rate: float) -> float:
        return 4 + (_WIDTH - 8) * min(rate / self._most, 1.0)
