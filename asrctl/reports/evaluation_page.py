"""report.html of an evaluation."""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Optional, Sequence

import numpy as np

from asrctl.evaluation.error_analysis import BARS, Confusions, EvaluationReport, Listed
from asrctl.evaluation.groups import Group
from asrctl.messages import amounts
from asrctl.reports.aligned_texts import aligned
from asrctl.reports.charts import histogram
from asrctl.reports.intervals import Scale
from asrctl.reports.page import Html, element, joined, page, section
from asrctl.reports.players import Players
from asrctl.reports.reliability import reliability
from asrctl.reports.tables import Column, table

# So many are on the page; report.json has more, hypotheses.jsonl all.
_GROUPS, _CONFUSIONS, _WORST = 40, 15, 100
# The first of these have players, as long as they all fit into so many bytes.
HEARD, _PLAYER_BYTES = 30, 8_000_000
_TITLES = {
    "speaker": "speaker",
    "duration": "length of the recording",
    "level": "level of the speech",
    "length": "length of the text",
    "seen": "whether the sentence was in training",
    "data": "data of the mixture",
}
_IN_ORDER = ("duration", "level", "length")
# Index in the split -> (time,) int16.
Samples = Callable[[int], np.ndarray]


def render(report: EvaluationReport, samples: Optional[Samples], sample_rate: int) -> str:
    """The page. samples: None where there are none any more."""
    names = report.names
    who = f"run {names.run}" if names.run is not None else names.model
    title = f"Evaluation of {who} on {report.metrics['split']} of {names.data}"
    parts = [_opening(report), _rates(report), _charts(report)]
    parts += [_group(report, key, found) for key, found in report.groups.items()]
    parts += [
        _confusions("words", _unit(report), report.words),
        _confusions("characters", "character", report.characters),
    ]
    parts.append(reliability(report.metrics.get("confidence")))
    return page(title, [*parts, _worst(report, samples, sample_rate)])


def _unit(report: EvaluationReport) -> str:
    return "phoneme" if report.metrics.get("phones") else "word"


def _rate_name(report: EvaluationReport) -> str:
    return "PER" if report.metrics.get("phones") else "WER"


def _opening(report: EvaluationReport) -> Html:
    found = report.metrics
    told = (
        f"{amounts.count(found['utterances'], 'utterance')}, {found['audio_s'] / 60:.1f} min, {found['precision']} on "
        f"{found['device']}, {found['decoder']} decoding. Model {found['model'][:12]}, data {found['data']}."
    )
    return joined([element("p", told, class_="soft"), _headline(report)])


def _headline(report: EvaluationReport) -> Html:
    found = report.metrics
    rate = element("strong", f"{_rate_name(report)} {_percent(found['wer'])}")
    right = f"; {found['correct_utterances']:,} of {amounts.count(found['utterances'], 'utterance')} without an error."
    return element("p", joined([rate, right], ""))


def _rates(report: EvaluationReport) -> Html:
    found = report.metrics
    names = ("error rate", "95 % interval", "in reference", "substituted", "deleted", "inserted")
    rows: List[Sequence[Any]] = [_row(f"{_unit(report)}s", found, "wer", "words", "")]
    for name, score in (("words as in the corpus", found.get("raw")), ("words, normalized", found.get("normalized"))):
        if score is not None and score["wer"] != found["wer"]:
            rows.append(_row(name, score, "wer", "words", ""))
    if not found.get("phones"):
        rows.append(_row("characters", found, "cer", "characters", "character_"))
    return table([Column(""), *(Column(name, "number") for name in names)], rows, kind="cards compact")


def _row(name: str, found: Mapping[str, Any], rate: str, units: str, prefix: str) -> Sequence[Any]:
    edits = [f"{found[prefix + edit]:,}" for edit in ("substitutions", "deletions", "insertions")]
    return [name, _percent(found[rate]), _interval(found[f"{rate}_interval"]), f"{found[units]:,}", *edits]


def _charts(report: EvaluationReport) -> Html:
    width = 100 / BARS
    figure = histogram(
        f"Utterances by their {_rate_name(report)}", "% (the last: all above)", 0, width, report.utterances
    )
    return element("div", figure, class_="charts")


def _group(report: EvaluationReport, key: str, found: Sequence[Group]) -> Html:
    shown = found if key in _IN_ORDER else sorted(found, key=_surely, reverse=True)
    shown = shown[:_GROUPS]
    scale = Scale(report.metrics["wer"], [bound for one in shown for bound in (one.wer, *(one.wer_interval or ()))])
    columns = [
        Column(key),
        Column("utterances", "number"),
        Column(f"{_unit(report)}s", "number"),
        Column(_rate_name(report), "number"),
        Column("95 % interval", "number"),
        Column("", "drawing"),
    ]
    rows = [
        (
            one.name,
            f"{one.utterances:,}",
            f"{one.words:,}",
            _percent(one.wer),
            _interval(one.wer_interval),
            scale.drawing(one.wer, one.wer_interval),
        )
        for one in shown
    ]
    parts: List[Any] = [table(columns, rows, kind="cards compact")]
    if len(found) > len(shown):
        more = f"{len(found) - len(shown):,} more are in report.json beside this page"
        told = f"{more}; these have the highest lower ends of their intervals."
        parts.append(element("p", told, class_="soft"))
    return section(f"By {_TITLES.get(key, key)}", *parts, anchor=f"by-{key}")


def _surely(group: Group) -> Any:
    """What its rate is at least, so that a few unlucky words are not the worst of all."""
    low = 0.0 if group.wer_interval is None else group.wer_interval[0]
    return low, group.wer, group.words


def _confusions(title: str, unit: str, found: Confusions) -> Html:
    lists = (
        (
            "taken for another",
            (f"{unit}", "written as", "times"),
            [(_shown(one.reference), _shown(one.hypothesis), f"{one.count:,}") for one in found.substituted],
        ),
        ("left out", (f"{unit}", "times"), [(_shown(one.reference), f"{one.count:,}") for one in found.deleted]),
        ("added", (f"{unit}", "times"), [(_shown(one.hypothesis), f"{one.count:,}") for one in found.inserted]),
    )
    parts = [_list(*one) for one in lists if one[2]]
    if not parts:
        return Html("")
    return section(
        f"Confusions of {title}", element("div", joined(parts), class_="columns"), anchor=f"confused-{title}"
    )


def _list(caption: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Html:
    columns = [Column(name, "number" if name == "times" else "") for name in names]
    return element("div", joined([element("h3", caption), table(columns, rows[:_CONFUSIONS], kind="narrow")]))


def _shown(text: str) -> Any:
    return text if text.strip() else element("span", "space", class_="soft")


def _worst(report: EvaluationReport, samples: Optional[Samples], sample_rate: int) -> Html:
    shown = report.worst[:_WORST]
    if not shown:
        return Html("")
    players = Players(_PLAYER_BYTES)
    heard = [
        None if samples is None or place >= HEARD else players.player(samples(one.index), sample_rate, one.id)
        for place, one in enumerate(shown)
    ]
    wrong = report.metrics["utterances"] - report.metrics["correct_utterances"]
    told = f"{amounts.count(wrong, 'utterance has', 'utterances have')} errors; those with most come first. Below "
    told += "what differs stands what was written."
    if wrong > len(shown):
        told += f" {len(shown)} are shown; all are in hypotheses.jsonl beside this page."
    cards = [_card(one, player, _unit(report)) for one, player in zip(shown, heard)]
    return section("Most errors", element("p", told), *cards, anchor="worst")


def _card(one: Listed, player: Optional[Html], unit: str) -> Html:
    facts = [
        f"{amounts.count(one.errors, 'error')} in {amounts.count(one.words, unit)}",
        f"{one.seconds:.1f} s",
        *([f"speaker {one.speaker}"] if one.speaker else []),
        *([] if one.seen is None else ["sentence seen in training" if one.seen else "sentence not seen in training"]),
    ]
    parts: List[Any] = [element("code", one.id), " ", element("span", ", ".join(facts), class_="soft")]
    text = aligned(one.reference, one.hypothesis)
    return element("article", joined([element("div", joined(parts, "")), player or "", text], ""))


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"


def _interval(bounds: Optional[Sequence[float]]) -> str:
    return "-" if bounds is None else f"{100 * bounds[0]:.2f} - {100 * bounds[1]:.2f} %"
