"""An alignment in seconds: utterances with their words, and what of text and recording is not in the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from asrctl.alignment.document import Found, Said, Span
from asrctl.alignment.heard import Heard
from asrctl.alignment.sentences import Sentence
from asrctl.alignment.spelling import Word
from asrctl.data.text import Vocabulary
from asrctl.evaluation import word_times
from asrctl.evaluation.word_times import Clock, Levels

# So much of the sound around an utterance tells how quiet it is there.
_AROUND_S = 1.0
# Characters: what is heard beside utterances and is shorter is the edge of one, misheard.
_LEAST_HEARD = 3


@dataclass(frozen=True)
class AlignedWord:
    """Times in seconds. confidence: 0 to 1, see document.Said."""

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class AlignedUtterance:
    """text: as it stands in the file, from its line `line` on. score, mean: see document.Said."""

    text: str
    line: int
    start_s: float
    end_s: float
    score: float
    mean: float
    words: Tuple[AlignedWord, ...]

    def as_dict(self) -> Dict[str, Any]:
        words = [
            {"word": word.text, "start": word.start_s, "end": word.end_s, "confidence": word.confidence}
            for word in self.words
        ]
        own = {"line": self.line, "start": self.start_s, "end": self.end_s, "score": self.score, "mean": self.mean}
        return {"text": self.text, **own, "words": words}


@dataclass(frozen=True)
class Unwritten:
    """A stretch that the text does not have. heard: what the model makes of it."""

    start_s: float
    end_s: float
    heard: str

    def as_dict(self) -> Dict[str, Any]:
        return {"start": self.start_s, "end": self.end_s, "heard": self.heard}


@dataclass(frozen=True)
class Alignment:
    """utterances: in the order of the recording. not_said: those of the text that are not in it. low: those whose score
    is too low, which are in no output. unwritten: stretches of speech that are not in the text.
    """

    audio_s: float
    utterances: Tuple[AlignedUtterance, ...]
    not_said: Tuple[Sentence, ...]
    low: Tuple[AlignedUtterance, ...]
    unwritten: Tuple[Unwritten, ...]

    def as_dict(self) -> Dict[str, Any]:
        return {
            "audio_s": self.audio_s,
            "utterances": [utterance.as_dict() for utterance in self.utterances],
            "low": [utterance.as_dict() for utterance in self.low],
            "not_said": [{"text": sentence.text, "line": sentence.line} for sentence in self.not_said],
            "unwritten": [stretch.as_dict() for stretch in self.unwritten],
        }


@dataclass(frozen=True)
class Times:
    """What turns frames into seconds, and labels into text."""

    clock: Clock
    level_s: float
    audio_s: float
    vocabulary: Vocabulary

    def levels(self, heard: Heard, span: Span) -> Levels:
        """How loud it is around frames."""
        start_s = max(0.0, self.clock.middle_s(span.first) - _AROUND_S)
        first = int(start_s / self.level_s)
        last = int((self.clock.middle_s(span.last) + _AROUND_S) / self.level_s) + 1
        return Levels(heard.db[first:last], first * self.level_s, self.level_s)


def timed(
    found: Found,
    texts: Sequence[Sentence],
    spelled: Sequence[Sequence[Word]],
    heard: Heard,
    times: Times,
    min_score: Optional[float],
) -> Alignment:
    """texts, spelled: the utterances, as they stand in the file and in labels."""
    utterances: List[AlignedUtterance] = []
    for said, sentence, words in zip(found.said, texts, spelled):
        if said is not None:
            after = utterances[-1].end_s if utterances else 0.0
            utterances.append(_utterance(said, sentence, words, heard, times, after))
    unwritten = [_unwritten(span, heard, times) for span in found.unwritten]
    low = tuple(one for one in utterances if min_score is not None and one.score < min_score)
    return Alignment(
        audio_s=round(times.audio_s, 3),
        utterances=tuple(one for one in utterances if min_score is None or one.score >= min_score),
        not_said=tuple(sentence for said, sentence in zip(found.said, texts) if said is None),
        low=low,
        unwritten=tuple(one for one in unwritten if len(one.heard) >= _LEAST_HEARD),
    )


def _utterance(
    said: Said, sentence: Sentence, words: Sequence[Word], heard: Heard, times: Times, after_s: float
) -> AlignedUtterance:
    """after_s: when the utterance before it ends."""
    levels = times.levels(heard, said.span)
    clock = times.clock
    edges = [(clock.middle_s(span.first), clock.middle_s(span.last)) for span in said.words if span is not None]
    reached = iter(word_times.reached(edges, levels))
    aligned: List[AlignedWord] = []
    for word, span, confidence in zip(words, said.words, said.confidences):
        if span is None or confidence is None:
            continue
        start, end = next(reached)
        start = round(min(max(start, after_s), times.audio_s), 3)
        after_s = end = round(min(max(end, start), times.audio_s), 3)
        aligned.append(AlignedWord(word.text, start, end, round(confidence, 4)))
    first, last = aligned[0].start_s, aligned[-1].end_s
    return AlignedUtterance(
        sentence.text, sentence.line, first, last, round(said.score, 3), round(said.mean, 3), tuple(aligned)
    )


def _unwritten(span: Span, heard: Heard, times: Times) -> Unwritten:
    half_s = times.clock.step_s / 2
    start, end = (times.clock.middle_s(frame) for frame in span)
    text = times.vocabulary.decode(heard.best[span.first : span.last + 1].tolist())
    return Unwritten(round(max(0.0, start - half_s), 3), round(min(end + half_s, times.audio_s), 3), text.strip())
