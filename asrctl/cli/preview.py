"""`asrctl prepare --show N`: its option, and how utterances are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Mapping

from asrctl.cli import numbers
from asrctl.cli.report import hanging
from asrctl.data import glyphs
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.commands.preview import Preview, ShownUtterance

SHOW = numbers.option(
    "--show",
    "a whole number",
    example="5",
    metavar="N",
    low=1,
    high=100,
    whole=True,
    help="Show N utterances, spread over the corpus, as they would enter the model; writes nothing.",
)
_LABELS, _CHARACTERS = 200, 12


def lines(shown: "Preview") -> List[str]:
    """A block for each utterance."""
    tokens = amounts.count(shown.vocabulary, "token")
    of = f"the vocabulary {shown.vocabulary_id}" if shown.vocabulary_id else "a vocabulary of their characters"
    found = [f"{len(shown.utterances)} of {amounts.count(shown.total, 'utterance')}, by {of} ({tokens})"]
    for number, utterance in enumerate(shown.utterances, 1):
        found += ["", *_block(number, utterance)]
    return found


def _block(number: int, item: "ShownUtterance") -> List[str]:
    parts = [
        ("path", _path(item)),
        ("audio", _audio(item)),
        ("text", item.text),
        ("by rules", item.normalized),
        ("labels", _labels(item)),
        ("decoded", item.decoded),
    ]
    if item.lost:
        parts.append(("lost", _counted(item.lost)))
    if item.unknown:
        parts.append(("unknown", f"{_counted(item.unknown)}: not in the vocabulary"))
    parts += [("note", f"{remark} ({detail})") for remark, detail in item.remarks]
    if item.rejected is not None:
        detail = f" ({item.rejected.detail})" if item.rejected.detail else ""
        parts.append(("rejected", f"{item.rejected.reason}{detail}: {item.rejected.meaning}"))
    split = item.split if item.split == item.corpus_split else f"{item.split} (from {item.corpus_split})"
    found = [f"{number}  {item.id}, {split}"]
    for name, text in parts:
        lead = f"   {name:<8}  "
        found += hanging(lead, " ".join(text.split())) or [f"{lead}(nothing)"]
    return found


def _path(item: "ShownUtterance") -> str:
    """Where the samples come from: file, stretch, channel."""
    start = f"{item.start_s or 0:g} s" if item.start_s is not None or item.end_s is not None else ""
    stretch = f", {start} to {'its end' if item.end_s is None else f'{item.end_s:g} s'}" if start else ""
    return item.audio + stretch + (f", channel {item.channel}" if item.channel is not None else "")


def _audio(item: "ShownUtterance") -> str:
    length = "of unknown length" if item.seconds is None else f"{item.seconds:.2f} s"
    if item.rejected is not None or item.peak_dbfs is None:
        return length
    return f"{length} at {item.sample_rate} Hz, level {item.level_dbfs:.1f} dBFS, peak {item.peak_dbfs:.1f} dBFS"


def _labels(item: "ShownUtterance") -> str:
    shown = " ".join(map(str, item.labels[:_LABELS])) + (" ..." if len(item.labels) > _LABELS else "")
    frames = "" if item.frames is None else f" in {amounts.count(item.frames, 'frame')}"
    return f"{len(item.labels)}{frames}: {shown}" if item.labels else ""


def _counted(found: Mapping[str, int]) -> str:
    """Characters as people can see them, with how often each is there."""
    told = [glyphs.counted(character, count) for character, count in list(found.items())[:_CHARACTERS]]
    more = f" and {len(found) - _CHARACTERS} more" if len(found) > _CHARACTERS else ""
    return ", ".join(told) + more
