"""What was said in a recording, in the forms that programs read: text, JSON, SRT, WebVTT, CTM, a manifest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence

from asrctl.evaluation.word_times import Word

# Subtitles: two lines of 42 characters, seven seconds (as Netflix' and the BBC's rules have it).
_LINE, _CUE_S, _CUE_CHARACTERS = 42, 7.0, 84
_CUE_GAP_S = 1.0
# Utterances of a manifest: what training takes by default is 20 s long at most.
_UTTERANCE_S, _UTTERANCE_GAP_S, _MARGIN_S = 15.0, 1.0, 0.1


@dataclass(frozen=True)
class Transcript:
    """name: of the recording, as it is shown. path: as a manifest has it. stretches: words between pauses.

    length_s: of the recording. is_calibrated: whether confidences are. about: what JSON says of it beside that (model,
    decoder, remarks ...).
    """

    name: str
    path: str
    length_s: float
    stretches: Sequence[Sequence[Word]]
    is_calibrated: bool
    about: Mapping[str, Any]

    @property
    def words(self) -> Iterator[Word]:
        return (word for stretch in self.stretches for word in stretch)

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


def confidence(words: Sequence[Word]) -> Optional[float]:
    """Mean of the words' confidences; None for none."""
    return round(sum(word.confidence for word in words) / len(words), 4) if words else None


def as_dict(found: Transcript) -> Dict[str, Any]:
    words = list(found.words)
    segments = [
        {"start": piece[0].start_s, "end": piece[-1].end_s, "text": _joined(piece), "confidence": confidence(piece)}
        for piece in found.stretches
        if piece
    ]
    return {
        "recording": found.path,
        "audio_s": found.length_s,
        "text": found.text,
        "confidence": confidence(words),
        "calibrated": found.is_calibrated,
        "words": [
            {"word": word.text, "start": word.start_s, "end": word.end_s, "confidence": word.confidence}
            for word in words
        ],
        "segments": segments,
        **found.about,
    }


def _text(found: Transcript) -> Iterator[str]:
    yield found.text


def _json(found: Transcript) -> Iterator[str]:
    yield json.dumps(as_dict(found), ensure_ascii=False)


def _srt(found: Transcript) -> Iterator[str]:
    for number, cue in enumerate(_cues(found), 1):
        yield from (str(number), f"{_clock(cue[0].start_s, ',')} --> {_clock(cue[-1].end_s, ',')}", *_lines(cue), "")


def _vtt(found: Transcript) -> Iterator[str]:
    yield from ("WEBVTT", "")
    for cue in _cues(found):
        text = (line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in _lines(cue))
        yield from (f"{_clock(cue[0].start_s, '.')} --> {_clock(cue[-1].end_s, '.')}", *text, "")


def _ctm(found: Transcript) -> Iterator[str]:
    """NIST's: recording, channel, start, duration, word, confidence."""
    name = "_".join(found.name.split()) or "recording"
    for word in found.words:
        length_s = max(0.001, word.end_s - word.start_s)
        yield f"{name} 1 {word.start_s:.3f} {length_s:.3f} {word.text} {word.confidence:.4f}"


def _manifest(found: Transcript) -> Iterator[str]:
    """A line for each utterance, as `asrctl prepare manifest` reads it."""
    pieces = list(_pieces(found.stretches, _UTTERANCE_S, _UTTERANCE_GAP_S, None))
    for number, piece in enumerate(pieces):
        start, end = piece[0].start_s - _MARGIN_S, piece[-1].end_s + _MARGIN_S
        start = max(start, (pieces[number - 1][-1].end_s + piece[0].start_s) / 2 if number else 0.0)
        end = min(end, (pieces[number + 1][0].start_s + piece[-1].end_s) / 2 if number + 1 < len(pieces) else end)
        row = {"path": found.path, "start": round(start, 3), "end": round(min(end, found.length_s), 3)}
        sure = {"confidence": confidence(piece), "calibrated": found.is_calibrated}
        yield json.dumps({**row, "text": _joined(piece), **sure}, ensure_ascii=False)


@dataclass(frozen=True)
class Format:
    """lines: of a recording. suffix: of its file. shared: whether one file may hold several recordings.
    tells_confidence: whether that is in it."""

    suffix: str
    lines: Callable[[Transcript], Iterable[str]]
    shared: bool
    tells_confidence: bool


FORMATS = {
    "text": Format(".txt", _text, shared=False, tells_confidence=False),
    "json": Format(".json", _json, shared=True, tells_confidence=True),
    "srt": Format(".srt", _srt, shared=False, tells_confidence=False),
    "vtt": Format(".vtt", _vtt, shared=False, tells_confidence=False),
    "ctm": Format(".ctm", _ctm, shared=True, tells_confidence=True),
    "manifest": Format(".jsonl", _manifest, shared=True, tells_confidence=True),
}


# -- cues and utterances ----------------------------------------------------------------------------------------------


def _joined(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


def _cues(found: Transcript) -> Iterator[List[Word]]:
    return _pieces(found.stretches, _CUE_S, _CUE_GAP_S, _CUE_CHARACTERS)


def _pieces(
    stretches: Sequence[Sequence[Word]], most_s: float, gap_s: float, characters: Optional[int]
) -> Iterator[List[Word]]:
    """Words that go together: not across a silence of `gap_s`, within `most_s` and so many characters.

    One that would be too long ends where the longest silence in its second half is.
    """
    piece: List[Word] = []
    for word in (word for stretch in stretches for word in stretch):
        if piece and word.start_s - piece[-1].end_s >= gap_s:
            yield piece
            piece = []
        while piece and _is_too_long([*piece, word], most_s, characters):
            at = _best_break(piece)
            yield piece[:at]
            piece = piece[at:]
        piece = [*piece, word]
    if piece:
        yield piece


def _is_too_long(words: Sequence[Word], most_s: float, characters: Optional[int]) -> bool:
    too_wide = characters is not None and len(_joined(words)) > characters
    return too_wide or words[-1].end_s - words[0].start_s > most_s


def _best_break(words: Sequence[Word]) -> int:
    """How many words come before the break; all of them where the break is behind the last."""
    half = len(words) // 2
    gaps = [(words[at].start_s - words[at - 1].end_s, at) for at in range(max(1, half), len(words))]
    gap, at = max(gaps, default=(0.0, len(words)))
    return at if gap > 0.2 else len(words)


def _lines(words: Sequence[Word]) -> List[str]:
    """One line, or two of about the same length."""
    text = _joined(words)
    if len(text) <= _LINE or len(words) < 2:
        return [text]
    middle = len(text) / 2
    places = [place for place, character in enumerate(text) if character == " "]
    at = min(places, key=lambda place: abs(place - middle))
    return [text[:at], text[at + 1 :]]


def _clock(seconds: float, mark: str) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}{mark}{whole % 1000:03d}"
