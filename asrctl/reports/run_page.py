"""report.html of a run."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

from asrctl.messages import amounts
from asrctl.reports.line_charts import Line, line_chart
from asrctl.reports.page import Html, element, joined, page, prose, section
from asrctl.reports.tables import Column, table
from asrctl.training.run_info import RunInfo
from asrctl.training.run_report import Evaluation, RunReport, Series

_EVALUATIONS = 50


def render(report: RunReport) -> str:
    """The page."""
    parts = [_opening(report.info), _charts(report), _evaluations(report), _later(report)]
    return page(f"Run {report.info.name}", parts)


def _opening(info: RunInfo) -> Html:
    total = "" if info.total_steps is None else f" of {info.total_steps:,}"
    reason = f" ({info.reason})" if info.reason else ""
    first = [f"{info.state}{reason} after step {info.steps:,}{total}"]
    if info.best is not None and info.best.wer is not None:
        first.append(f"best {info.rate_name} {100 * info.best.wer:.2f} % at step {info.best.step:,}")
    first.append(f"{info.seconds / 60:.1f} min of training")
    device = f"{info.device}{' (emulated)' if info.emulated else ''}"
    how = [f"preset {info.preset}", f"data {info.data.name} ({info.data.id})", f"{info.precision} on {device}"]
    if info.engine:
        how.append(f"engine {info.engine}")
    if info.base:
        how.append(f"from {info.base}")
    versions = ", ".join(f"{name} {version}" for name, version in info.versions.items())
    lines = [element("p", element("strong", f"{first[0][:1].upper()}{first[0][1:]}; {'; '.join(first[1:])}."))]
    lines += [element("p", told, class_="soft") for told in (", ".join(how) + ".", versions) if told]
    if info.error:
        lines.append(element("p", f"It ended with: {info.error}"))
    return joined(lines)


def _charts(report: RunReport) -> Html:
    found = report.series
    rate = report.info.rate_name
    figures = [
        line_chart("Loss", "mean over the utterances of a step", [_of("loss", found.get("loss"))]),
        line_chart(
            f"{rate} and CER on the eval split",
            "%",
            [_of(rate, found.get("wer"), 100), _of("CER", found.get("cer"), 100)],
            from_zero=True,
        ),
        line_chart("Learning rate", "", [_of("learning rate", found.get("learning_rate"))], from_zero=True),
        line_chart("Gradient norm", "before clipping", [_of("gradient norm", found.get("grad_norm"))]),
        line_chart(
            "Throughput", "seconds of speech a second", [_of("throughput", found.get("audio_s_per_s"))], from_zero=True
        ),
    ]
    return element("div", joined(figures), class_="charts wide")


def _of(name: str, series: Optional[Series], factor: float = 1) -> Line:
    return Line(name, () if series is None else tuple(point.times(factor) for point in series.points))


def _evaluations(report: RunReport) -> Html:
    if not report.evaluations:
        return Html("")
    best = None if report.info.best is None else report.info.best.step
    shown = _chosen(report.evaluations, best)
    columns = [Column("step", "number"), Column(report.info.rate_name, "number"), Column("CER", "number")]
    columns += [Column("silent", "number"), Column("")]
    rows: List[Sequence[Any]] = [
        (f"{one.step:,}", _percent(one.wer), _percent(one.cer), _percent(one.empty), _best(one, best)) for one in shown
    ]
    parts: List[Any] = [table(columns, rows, kind="cards compact")]
    if len(shown) < len(report.evaluations):
        told = f"{len(shown)} of {amounts.count(len(report.evaluations), 'evaluation')} are shown."
        parts.append(element("p", told, class_="soft"))
    return section("Evaluations during training", *parts)


def _chosen(found: Sequence[Evaluation], best: Optional[int]) -> List[Evaluation]:
    """The best, the last, and some between."""
    every = -(-len(found) // _EVALUATIONS)
    return [one for place, one in enumerate(found) if place % every == 0 or one in (found[-1],) or one.step == best]


def _best(one: Evaluation, best: Optional[int]) -> Any:
    return element("strong", "best") if one.step == best else ""


def _later(report: RunReport) -> Html:
    """What `asrctl eval` has found since."""
    if not report.later:
        return Html("")
    columns = [Column("evaluation", "name"), Column("split", "word"), Column("data")]
    columns += [
        Column(report.info.rate_name, "number"),
        Column("95 % interval", "number"),
        Column("utterances", "number"),
    ]
    rows = [
        (one.id, one.split, one.data, _percent(one.wer), _bounds(one.wer_interval), f"{one.utterances:,}")
        for one in report.later
    ]
    told = element("p", prose("Each has a page of its own: `asrctl report ID` says where."))
    return section("Evaluations of its model", told, table(columns, rows, kind="cards compact"))


def _percent(rate: Optional[float]) -> str:
    return "-" if rate is None else f"{100 * rate:.2f} %"


def _bounds(bounds: Optional[Sequence[float]]) -> str:
    return "-" if bounds is None else f"{100 * bounds[0]:.2f} - {100 * bounds[1]:.2f} %"
