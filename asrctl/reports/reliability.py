"""How often words are right that the model is so sure of: the section of an evaluation's page."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence

from asrctl.messages import amounts
from asrctl.reports.page import Html, element, joined, markup, section
from asrctl.reports.tables import Column, table

_WIDTH, _HEIGHT, _LEFT, _BASE = 400, 300, 46, 270
# Points grow with their share of the words, within these radii.
_LEAST, _MOST = 3.0, 10.0


def reliability(found: Optional[Mapping[str, Any]]) -> Html:
    """`confidence` of metrics.json; nothing where there is none."""
    if not found:
        return Html("")
    raw, calibrated = found["raw"], found.get("calibrated")
    names = ("", "calibration error", "95 % interval", "right above wrong")
    rows: List[Sequence[Any]] = [_row("as the model has it" if calibrated else "confidence", raw)]
    if calibrated:
        rows.append(_row("calibrated on the eval split", calibrated))
    told = (
        "A word's confidence is to be the chance that it is right: points on the line. The calibration error is how "
        "far they are from it, on average over all words. Right above wrong: of a right and a wrong word, how often "
        "the right one has more."
    )
    figures = [_figure("As the model has it" if calibrated else "Confidence of words", raw)]
    figures += [_figure("Calibrated", calibrated)] if calibrated else []
    return section(
        "Confidence",
        element("p", told),
        table([Column(names[0]), *(Column(name, "number") for name in names[1:])], rows, kind="cards compact"),
        element("div", joined(figures), class_="charts"),
        anchor="confidence",
    )


def _row(name: str, found: Mapping[str, Any]) -> Sequence[Any]:
    bounds, separation = found["error_interval"], found["separation"]
    interval = "-" if bounds is None else f"{100 * bounds[0]:.2f} - {100 * bounds[1]:.2f} %"
    return [name, f"{100 * found['error']:.2f} %", interval, "-" if separation is None else f"{100 * separation:.1f} %"]


def _figure(caption: str, found: Mapping[str, Any]) -> Html:
    most = max(one["words"] for one in found["bins"])
    parts = [f'<line x1="{_x(0):.0f}" y1="{_y(0):.0f}" x2="{_x(1):.0f}" y2="{_y(1):.0f}"/>', *_axes()]
    for one in found["bins"]:
        told = (
            f"{amounts.count(one['words'], 'word')} with {100 * one['confidence']:.1f} % on average: "
            f"{100 * one['right']:.1f} % right"
        )
        size = max(_LEAST, _MOST * (one["words"] / most) ** 0.5)
        parts.append(
            f'<circle cx="{_x(one["confidence"]):.1f}" cy="{_y(one["right"]):.1f}" r="{size:.1f}">'
            f"<title>{markup(told)}</title></circle>"
        )
    label = f"{caption}: share of right words by confidence, {found['words']:,} words"
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{markup(label)}">' + "".join(parts) + "</svg>"
    unit = element("span", "right, % by confidence, %", class_="soft")
    return element("figure", joined([element("figcaption", joined([caption, unit], "")), Html(svg)]))


def _axes() -> List[str]:
    parts = [f'<line x1="{_LEFT}" y1="{_BASE}" x2="{_WIDTH}" y2="{_BASE}"/>']
    for percent in (0, 50, 100):
        share = percent / 100
        anchor = "end" if percent == 100 else "middle"
        parts.append(f'<text x="{_x(share):.0f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{percent}</text>')
        parts.append(f'<text x="{_LEFT - 14}" y="{_y(share) + 5:.0f}" text-anchor="end">{percent}</text>')
    return parts


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - 12)


def _y(share: float) -> float:
    return _BASE - share * (_BASE - 12)
