"""What an audit can find: a record for each kind, with its sentence and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Dict, Optional, Tuple, Type

from asrctl.data import glyphs
from asrctl.messages import amounts
from asrctl.storage import records


@dataclass(frozen=True)
class Finding:
    """Something to look at. id: of the utterance, as in the corpus; split: that it is in."""

    id: str
    split: str

    kind: ClassVar[str] = ""
    title: ClassVar[str] = ""
    advice: ClassVar[str] = ""
    # Whether leaving the utterance out is a cure, so that `prepare --drop report.json` does.
    can_be_dropped: ClassVar[bool] = True

    @property
    def detail(self) -> str:
        """What is odd about it, in half a sentence."""
        raise NotImplementedError

    @property
    def severity(self) -> float:
        """The larger the odder, among those of a kind."""
        return 0.0

    def as_dict(self) -> Dict[str, Any]:
        return {"kind": self.kind, **records.as_dict(self), "detail": self.detail}


@dataclass(frozen=True)
class SameSentence(Finding):
    """other: an utterance of the split `other_split` with the same text; times: how many have it there."""

    text: str
    other: str
    other_split: str
    times: int

    kind = "same-sentence"
    title = "the same sentence in two splits"
    advice = (
        "results on these say less about other sentences: keep each sentence in one split (`eval` tells seen apart)"
    )

    @property
    def detail(self) -> str:
        more = f" and {self.times - 1} more" if self.times > 1 else ""
        return f"{self.other_split} has this text too, as {self.other}{more}"

    @property
    def severity(self) -> float:
        return float(len(self.text))


@dataclass(frozen=True)
class SameAudio(Finding):
    """other: an utterance of the split `other_split` of the same recording, whatever codec or gain."""

    text: str
    other: str
    other_split: str
    seconds: float

    kind = "same-audio"
    title = "the same audio in two splits"
    advice = "the model is tested on what it learned: keep each recording in one split"

    @property
    def detail(self) -> str:
        return f"{self.other_split} has this recording too, as {self.other}"

    @property
    def severity(self) -> float:
        return self.seconds


@dataclass(frozen=True)
class SameSpeaker(Finding):
    """id: the first of this speaker's utterances in `split`. utterances: there; other_utterances: in `other_split`."""

    speaker: str
    utterances: int
    other_split: str
    other_utterances: int

    kind = "same-speaker"
    title = "the same speaker in two splits"
    advice = "results hold for voices that were heard in training: name splits so that each speaker is in one"
    can_be_dropped = False

    @property
    def detail(self) -> str:
        return (
            f"speaker {self.speaker} has {amounts.count(self.utterances, 'utterance')} here and "
            f"{self.other_utterances} in {self.other_split}"
        )

    @property
    def severity(self) -> float:
        return float(self.utterances)


@dataclass(frozen=True)
class SpeechRate(Finding):
    """characters_per_s: without pauses; usual: of such texts; deviations: robust ones from that."""

    text: str
    seconds: float
    characters_per_s: float
    usual: float
    deviations: float

    kind = "speech-rate"
    title = "too much or too little text for the audio"
    advice = "listen to these: often the transcript belongs to another recording, or lacks a part"

    @property
    def detail(self) -> str:
        side = "much" if self.characters_per_s > self.usual else "little"
        return f"too {side} text: {self.characters_per_s:.1f} characters a second, usual are {self.usual:.1f}"

    @property
    def severity(self) -> float:
        return abs(self.deviations)


@dataclass(frozen=True)
class Level(Finding):
    """dbfs: of the speech in it; usual: of this corpus."""

    text: str
    dbfs: float
    usual: float

    kind = "level"
    title = "much quieter or louder than the others"
    advice = "make these again from their source at a usual level, or leave them out"

    @property
    def detail(self) -> str:
        side = "quieter" if self.dbfs < self.usual else "louder"
        return f"speech at {self.dbfs:.0f} dBFS, {abs(self.dbfs - self.usual):.0f} dB {side} than usual"

    @property
    def severity(self) -> float:
        return abs(self.dbfs - self.usual)


@dataclass(frozen=True)
class Clipping(Finding):
    """share: of the samples that lie in flat tops."""

    text: str
    share: float

    kind = "clipping"
    title = "clipped"
    advice = "make these again from their source with less gain, or leave them out"

    @property
    def detail(self) -> str:
        return f"{100 * self.share:.2f} % of the samples lie in flat tops"

    @property
    def severity(self) -> float:
        return self.share


@dataclass(frozen=True)
class Silence(Finding):
    """where: before, after or within the speech; most: of the recording; all: nothing is heard."""

    text: str
    where: str
    silent_s: float
    seconds: float

    kind = "silence"
    title = "silence"
    advice = "cut these (columns start and end), check that they hold what their text says, or leave them out"

    @property
    def detail(self) -> str:
        if self.where == "all":
            return f"nothing is heard in its {self.seconds:.1f} s"
        if self.where == "most":
            return f"{self.silent_s:.1f} of {self.seconds:.1f} s are silent"
        return f"{self.silent_s:.1f} s of silence {self.where} the speech"

    @property
    def severity(self) -> float:
        return self.silent_s if self.where != "all" else 1000.0 + self.silent_s


@dataclass(frozen=True)
class Bandwidth(Finding):
    """edge_hz: there is nothing above. sample_rate: of the prepared data."""

    text: str
    edge_hz: float
    sample_rate: int

    kind = "bandwidth"
    title = "a narrower band than the sample rate says"
    advice = "get these at their full rate, or leave them out; a corpus that is all so is best prepared at that rate"

    @property
    def detail(self) -> str:
        # The edge of a filter for 8000 Hz lies somewhat below 4000.
        cause = "speech of 8 kHz" if self.edge_hz <= 4200 else "a low-pass filter, as of MP3"
        return f"nothing above {self.edge_hz / 1000:.1f} kHz at {self.sample_rate / 1000:g} kHz: {cause}"

    @property
    def severity(self) -> float:
        return -self.edge_hz


@dataclass(frozen=True)
class Script(Finding):
    """letters: those of another script, script: its name; word: one that holds them. usual: the corpus' own scripts."""

    text: str
    letters: str
    script: str
    word: str
    usual: Tuple[str, ...]

    kind = "script"
    title = "letters of another script"
    advice = "correct these transcripts: letters that look alike are different labels"

    @property
    def detail(self) -> str:
        told = ", ".join(f"{letter} {glyphs.code_point(letter)}" for letter in self.letters[:4])
        return f"{self.script} {told} in {self.word!r}; the texts are {' and '.join(self.usual)}"

    @property
    def severity(self) -> float:
        return float(len(self.letters))


@dataclass(frozen=True)
class LabelDoubt(Finding):
    """score: nats per character by which what the model heard is likelier than the text; rank: 1 has most of it."""

    text: str
    heard: str
    score: float
    rank: int

    kind = "label-doubt"
    title = "the model heard something else"
    advice = "listen to these; leave wrong ones out with `prepare ... --drop report.json`"

    @property
    def detail(self) -> str:
        return f"{self.score:.1f} nats a character less likely than what was heard: {self.heard or '(nothing)'}"

    @property
    def severity(self) -> float:
        return self.score


KINDS: Dict[str, Type[Finding]] = {
    cls.kind: cls
    for cls in (
        SameAudio,
        SameSentence,
        SameSpeaker,
        LabelDoubt,
        SpeechRate,
        Silence,
        Level,
        Clipping,
        Bandwidth,
        Script,
    )
}


@dataclass(frozen=True)
class _Kind:
    """What tells which record it is."""

    kind: str


def read(values: Any, refusal: str, *, fix: str) -> Optional[Finding]:
    """A finding from parsed JSON; None of a kind that only a newer asrctl knows. Raises BadData."""
    kind = records.read(_Kind, values, refusal, fix=fix).kind
    return records.read(KINDS[kind], values, refusal, fix=fix) if kind in KINDS else None
