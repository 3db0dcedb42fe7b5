"""report.html of an audit."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from asrctl.data.audit.findings import LabelDoubt
from asrctl.data.audit.report import AuditReport, KindReport
from asrctl.messages import amounts
from asrctl.reports.charts import histogram
from asrctl.reports.page import Html, element, joined, page, prose, section
from asrctl.reports.players import Players
from asrctl.reports.tables import Column, table

# Of each kind: so many are listed, of which the first have a player.
_ROWS, HEARD = 100, 10
_RANKING = "ranking"
# Of all players of the page together: opened at once, also from a mail.
_PLAYER_BYTES = 8_000_000

# (split, id) -> (time,) int16; None where there is no such utterance.
Samples = Callable[[str, str], Optional[np.ndarray]]


def render(report: AuditReport, samples: Samples) -> str:
    """The page. samples: of the first HEARD utterances of each kind."""
    players, left_out = _players(report, samples)
    kinds = [_kind(kind, players) for kind in report.kinds]
    parts: List[Any] = [_opening(report), _charts(report), _summary(report), *kinds, _ranking(report, players)]
    if left_out:
        limit = amounts.size(_PLAYER_BYTES)
        count = amounts.count(left_out, "player is", "players are")
        told = f"{count} left out: all players together take at most {limit}."
        parts.append(element("p", told, class_="soft screen"))
    return page(f"Audit of {report.data}", parts)


def ranked(report: AuditReport) -> Sequence[Dict[str, Any]]:
    """What the model doubts most, where that is more than the findings show."""
    odd = {finding["id"] for kind in report.kinds if kind.kind == LabelDoubt.kind for finding in kind.findings}
    return [] if odd >= {one["id"] for one in report.ranking[:HEARD]} else report.ranking


def _players(report: AuditReport, samples: Samples) -> Tuple[Dict[Tuple[str, int], Html], int]:
    """({(kind, place in its list): player}, how many found no room). The oddest of each kind come first."""
    players = Players(_PLAYER_BYTES)
    made: Dict[Tuple[str, int], Html] = {}
    lists = {**{kind.kind: kind.findings for kind in report.kinds}, _RANKING: tuple(ranked(report))}
    for place in range(HEARD):
        for name, findings in lists.items():
            finding = findings[place] if place < len(findings) else None
            pcm = None if finding is None else samples(finding["split"], finding["id"])
            player = None if finding is None or pcm is None else players.player(pcm, report.sample_rate, finding["id"])
            if player is not None:
                made[name, place] = player
    return made, players.left_out


def _opening(report: AuditReport) -> Html:
    sizes = ", ".join(
        f"{name} {amounts.count(split.utterances, 'utterance')} ({split.seconds / 3600:.2f} h)"
        for name, split in report.splits.items()
    )
    found = amounts.count(report.findings, "finding") if report.findings else "Nothing was found"
    lines = [element("p", f"Prepared data {report.id}: {sizes}, {report.sample_rate} Hz.", class_="soft")]
    lines.append(element("p", element("strong", f"{found}.")))
    lines += [element("p", _sentence(fact)) for fact in report.facts]
    return joined(lines)


def _charts(report: AuditReport) -> Html:
    figures = [histogram(one.title, one.unit, one.start, one.width, one.counts) for one in report.charts]
    return element("div", joined(figures), class_="charts")


def _summary(report: AuditReport) -> Html:
    if not report.kinds:
        return Html("")
    columns = (Column("what"), Column("how many", "number"), Column("where"), Column("what to do"))
    rows = [
        (element("a", kind.title, href=f"#{kind.kind}"), f"{kind.count:,}", _where(kind), prose(kind.advice))
        for kind in report.kinds
    ]
    return table(columns, rows)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _where(kind: KindReport) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in kind.splits.items())


def _kind(kind: KindReport, players: Mapping[Tuple[str, int], Html]) -> Html:
    shown = kind.findings[:_ROWS]
    heading = joined([kind.title, element("span", f"{kind.count:,}", class_="badge")], " ")
    parts: List[Any] = [element("p", prose(_sentence(kind.advice))), _table(kind.kind, shown, players)]
    if kind.count > len(shown):
        told = f"{kind.count - len(shown):,} more are in findings.jsonl beside this page."
        parts.append(element("p", told, class_="soft"))
    return section(heading, *parts, anchor=kind.kind)


def _table(name: str, findings: Sequence[Dict[str, Any]], players: Mapping[Tuple[str, int], Html]) -> Html:
    names = (("", "player"), ("utterance", "name"), ("split", "word"), ("what", ""), ("text", ""))
    rows = [
        (players.get((name, place), ""), one["id"], one["split"], one["detail"], one.get("text", ""))
        for place, one in enumerate(findings)
    ]
    return table([Column(*one) for one in names], rows)


def _ranking(report: AuditReport, players: Mapping[Tuple[str, int], Html]) -> Html:
    """What the model doubts most, for people who look further than what is odd."""
    shown = ranked(report)
    if not shown:
        return Html("")
    told = f"What the model of run {report.run} doubts most, whether that is unusual or not."
    return section("most in doubt", element("p", told), _table(_RANKING, shown, players), anchor=_RANKING)
