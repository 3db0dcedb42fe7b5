"""What `asrctl eval --hotwords` shows of the hotwords."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional

from asrctl.cli.report import table
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.evaluation.metrics import HotwordScores

_MOST_SHOWN = 20


def hotword_lines(found: "Optional[HotwordScores]") -> List[str]:
    """Each hotword with the list and without it, and all of them with other weights."""
    if found is None:
        return []
    lines = ["", "hotwords, with the list (without it):"]
    rows = [
        (
            row.words,
            f"{row.weight:g}",
            f"{row.said:,}",
            f"{row.heard:,} ({row.heard_without:,})",
            f"{row.false_alarms:,} ({row.false_alarms_without:,})",
        )
        for row in found.words[:_MOST_SHOWN]
    ]
    lines += table(rows, ("", "weight", "said", "heard", "false alarms")) if rows else []
    more = len(found.words) - len(rows)
    lines += [f"and {more:,} more, which `--json` lists"] if more else []
    if found.others:
        lines.append(f"{amounts.count(found.others, 'hotword was', 'hotwords were')} neither said nor heard")
    totals = [
        (
            "without" if not row.factor else f"times {row.factor:g}",
            f"{row.heard:,} of {row.said:,}",
            f"{row.false_alarms:,}",
            f"{100 * row.wer:.2f} %",
        )
        for row in found.factors
    ]
    return [*lines, "", *table(totals, ("all weights", "heard", "false alarms", "WER"))]
