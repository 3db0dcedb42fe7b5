"""Tables that become cards on a narrow screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

from asrctl.reports.page import Html, element, joined


@dataclass(frozen=True)
class Column:
    """kind: number (to the right), name (of fixed width), word (never broken), drawing, or nothing."""

    title: str
    kind: str = ""


def table(columns: Sequence[Column], rows: Sequence[Sequence[Any]], *, kind: str = "cards") -> Html:
    """rows: of cells, which are markup or values.

    kind: of cards (a line for each cell), "cards compact" (cells beside each other) or "narrow" (as it is everywhere).
    """
    head = element("tr", joined(element("th", one.title, class_=one.kind or None, scope="col") for one in columns))
    body = joined(_row(columns, row) for row in rows)
    return element("table", joined([element("thead", head), element("tbody", body)]), class_=kind)


def _row(columns: Sequence[Column], row: Sequence[Any]) -> Html:
    cells = (
        element("td", cell, class_=column.kind or None, data_label=column.title or None)
        for column, cell in zip(columns, row)
    )
    return element("tr", joined(cells))
