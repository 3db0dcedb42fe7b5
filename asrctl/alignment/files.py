"""Alignments as other programs read them: manifest, Praat's TextGrid, CTM, JSON, and a table for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence, Tuple, Union

from asrctl.alignment.result import AlignedUtterance, Alignment, Unwritten

# What utterances of a manifest have around them, as far as their neighbors leave room.
_MARGIN_S = 0.1
_LEAST_S = 0.001


@dataclass(frozen=True)
class Named:
    """name: of the recording, in one word where a format wants that. path: as a manifest names it."""

    name: str
    path: str
    found: Alignment


def _text(named: Named) -> Iterator[str]:
    """A line for each utterance, stretch and text that is not said: start, end, score, text, with tabs between."""
    for start, end, score, text in rows(named.found):
        yield "\t".join((start, end, score, text))


def rows(found: Alignment) -> List[Tuple[str, str, str, str]]:
    """(start, end, score, text) as shown, in the order of the recording; what is not said stands where it would be."""
    said = [(one.start_s, 0, one.line, _seconds(one, f"{one.score:.2f}", one.text)) for one in found.utterances]
    heard = [(one.start_s, 0, 0, _seconds(one, "-", f"[not in the text: {one.heard}]")) for one in found.unwritten]
    placed = sorted(said + heard)
    for sentence in found.not_said:
        at = next((place for place, row in enumerate(placed) if row[2] > sentence.line), len(placed))
        when = placed[at][0] if at < len(placed) else found.audio_s
        placed.insert(at, (when, 0, 0, ("-", "-", "-", f"[not said: {sentence.text}]")))
    return [row for _, _, _, row in placed]


def _seconds(one: Union[AlignedUtterance, Unwritten], score: str, text: str) -> Tuple[str, str, str, str]:
    return f"{one.start_s:.2f}", f"{one.end_s:.2f}", score, text


def _json(named: Named) -> Iterator[str]:
    yield json.dumps({"recording": named.path, **named.found.as_dict()}, ensure_ascii=False)


def _ctm(named: Named) -> Iterator[str]:
    """NIST's: recording, channel, start, duration, word, confidence."""
    for utterance in named.found.utterances:
        for word in utterance.words:
            length = max(_LEAST_S, word.end_s - word.start_s)
            yield f"{named.name} 1 {word.start_s:.3f} {length:.3f} {_one(word.text)} {word.confidence:.4f}"


def _one(text: str) -> str:
    """A word without spaces: phonemes have some."""
    return "_".join(text.split())


def _manifest(named: Named) -> Iterator[str]:
    """A line for each utterance, as `asrctl prepare manifest` reads it."""
    found = named.found.utterances
    for number, one in enumerate(found):
        before = found[number - 1].end_s if number else 0.0
        after = found[number + 1].start_s if number + 1 < len(found) else named.found.audio_s
        start = max(one.start_s - _MARGIN_S, min(one.start_s, (before + one.start_s) / 2), 0.0)
        end = min(one.end_s + _MARGIN_S, max(one.end_s, (after + one.end_s) / 2), named.found.audio_s)
        row = {"path": named.path, "start": round(start, 3), "end": round(end, 3), "text": one.text}
        yield json.dumps({**row, "score": one.score}, ensure_ascii=False)


# -- TextGrid: Praat's manual, "TextGrid file formats" ----------------------------------------------------------------


def _textgrid(named: Named) -> Iterator[str]:
    """Tiers of utterances, of words, and of what is not in the text."""
    found = named.found
    utterances = [(one.start_s, one.end_s, one.text) for one in found.utterances]
    words = [(word.start_s, word.end_s, word.text) for one in found.utterances for word in one.words]
    unwritten = [(one.start_s, one.end_s, one.heard) for one in found.unwritten]
    tiers = {"utterances": utterances, "words": words, "not in the text": unwritten}
    yield from ('File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {found.audio_s}")
    yield from ("tiers? <exists>", f"size = {len(tiers)}", "item []:")
    for number, (name, marked) in enumerate(tiers.items(), 1):
        intervals = _intervals(marked, found.audio_s)
        yield from (f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"')
        yield from ("        xmin = 0", f"        xmax = {found.audio_s}")
        yield f"        intervals: size = {len(intervals)}"
        for count, (start, end, text) in enumerate(intervals, 1):
            quoted = text.replace('"', '""')
            yield from (f"        intervals [{count}]:", f"            xmin = {start}", f"            xmax = {end}")
            yield f'            text = "{quoted}"'


def _intervals(marked: Sequence[Tuple[float, float, str]], audio_s: float) -> List[Tuple[float, float, str]]:
    """The same without overlap, and with empty ones between, so that they fill the recording."""
    found: List[Tuple[float, float, str]] = []
    at = 0.0
    for start, end, text in marked:
        start = max(start, at)
        if end - start < _LEAST_S:
            continue
        if start > at:
            found.append((at, start, ""))
        found.append((start, end, text))
        at = end
    if at < audio_s or not found:
        found.append((at, audio_s, ""))
    return found


# -- what is ours -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """lines: of an alignment. suffix: of its file. begins: what an earlier one, which may be replaced, begins with."""

    suffix: str
    lines: Callable[[Named], Iterator[str]]
    begins: bytes


FORMATS: Dict[str, Format] = {
    "text": Format(".txt", _text, b""),
    "json": Format(".json", _json, b'{"recording"'),
    "manifest": Format(".jsonl", _manifest, b'{"path"'),
    "textgrid": Format(".TextGrid", _textgrid, b"File type"),
    "ctm": Format(".ctm", _ctm, b""),
}


def of_suffix(path: Path) -> str:
    """The format of a file that is called so; manifest where its name says nothing."""
    found = {form.suffix.lower(): name for name, form in FORMATS.items()}
    return found.get(path.suffix.lower(), "manifest")


def is_alike(path: Path, form: str) -> bool:
    """Whether what lies there begins as that format does, or is empty."""
    with open(path, "rb") as stream:
        head = stream.read(64)
    return not head or head.startswith(FORMATS[form].begins)
