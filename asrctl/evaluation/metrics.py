"""Word and character error rates, their uncertainty, and where the errors are. jiwer does the alignment.

Rates are errors / units of the reference (words or characters, the space counts as a character), summed over the
corpus before dividing. An empty reference has a defined score: no errors with an empty hypothesis, else one insertion
per unit of the hypothesis. A corpus without a single reference word divides by one, so that every rate is finite.
"""

from __future__ import annotations

import functools
import heapq
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence, Tuple

import jiwer
import numpy as np

from asrctl.evaluation.calibration import ConfidenceScores
from asrctl.storage import records

CONFIDENCE = 0.95
REPLICATES = 1000
WORST_KEPT = 10
_SEED = 2004
_DRAWN_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Edits:
    """Steps of the shortest way from reference to hypothesis, counted in words or in characters."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def units(self) -> int:
        """Words (or characters) of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        return rate(self.errors, self.units)

    def __add__(self, other: "Edits") -> "Edits":
        return Edits(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def rate(errors: int, units: int) -> float:
    """Errors per unit of the reference; without any unit, the number of errors."""
    return errors / max(units, 1)


@functools.lru_cache(maxsize=4)  # several forms of a text are often the same
def word_edits(reference: str, hypothesis: str) -> Edits:
    return _edits(reference, hypothesis, len(reference.split()), len(hypothesis.split()), jiwer.process_words)


def character_edits(reference: str, hypothesis: str) -> Edits:
    # Two delimiters with a blank between them make two spaces, which nobody sees or hears.
    reference, hypothesis = " ".join(reference.split()), " ".join(hypothesis.split())
    return _edits(reference, hypothesis, len(reference), len(hypothesis), jiwer.process_characters)


def _edits(reference: str, hypothesis: str, reference_units: int, hypothesis_units: int, process: Any) -> Edits:
    if reference == hypothesis:
        return Edits(hits=reference_units)
    if not reference_units:  # jiwer before 4 refuses empty references
        return Edits(insertions=hypothesis_units)
    found = process(reference, hypothesis)
    return Edits(found.hits, found.substitutions, found.deletions, found.insertions)


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """The corpus' WER. Raises ValueError where the numbers of texts differ."""
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    total = sum((word_edits(*pair) for pair in zip(references, hypotheses)), Edits())
    return total.rate


def align(reference: str, hypothesis: str) -> List[Tuple[str, str]]:
    """Pairs of words that stand for each other; "" where one side has none."""
    return _pairs(reference.split(), hypothesis.split(), reference, hypothesis, jiwer.process_words)


def align_characters(reference: str, hypothesis: str) -> List[Tuple[str, str]]:
    """Pairs of characters that stand for each other; "" where one side has none."""
    reference, hypothesis = " ".join(reference.split()), " ".join(hypothesis.split())
    return _pairs(list(reference), list(hypothesis), reference, hypothesis, jiwer.process_characters)


def _pairs(left: List[str], right: List[str], reference: str, hypothesis: str, process: Any) -> List[Tuple[str, str]]:
    if not left:  # jiwer before 4 refuses empty references
        return [("", unit) for unit in right]
    found = process(reference, hypothesis)
    pairs: List[Tuple[str, str]] = []
    for chunk in found.alignments[0]:
        before = left[chunk.ref_start_idx : chunk.ref_end_idx]
        after = right[chunk.hyp_start_idx : chunk.hyp_end_idx]
        width = max(len(before), len(after))
        pairs.extend(zip(before + [""] * (width - len(before)), after + [""] * (width - len(after))))
    return pairs


def aligned_lines(reference: str, hypothesis: str, *, width: int = 80) -> List[Tuple[str, str]]:
    """Pairs of lines of at most `width` characters whose words stand below each other.

    `*` fills the place of a missing word; a word of over half a line is cut, and ends in an ellipsis.
    """
    lines: List[Tuple[str, str]] = []
    above, below = "", ""
    for pair in align(reference, hypothesis):
        left, right = (_shortened(word, width // 2) for word in pair)
        column = max(len(left), len(right))
        if above and len(above) + 1 + column > width:
            lines.append((above.rstrip(), below.rstrip()))
            above, below = "", ""
        gap = " " if above else ""
        above += gap + (left or "*" * column).ljust(column)
        below += gap + (right or "*" * column).ljust(column)
    return [*lines, (above.rstrip(), below.rstrip())] if above else lines


def _shortened(word: str, length: int) -> str:
    return word if len(word) <= length else word[: length - 1] + "\u2026"


def bootstrap_interval(
    errors: np.ndarray, units: np.ndarray, *, replicates: int = REPLICATES, seed: int = _SEED
) -> Optional[Tuple[float, float]]:
    """The 95 % interval of a corpus' rate, by drawing its utterances with replacement.

    errors, units: (utterances,) integers. M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR
    performance evaluation", ICASSP 2004: utterances are the independent observations, percentiles of the replicates'
    rates are the bounds. Few replicates are in memory at a time. None for fewer than two utterances.
    """
    count = len(errors)
    if count < 2:
        return None
    generator = np.random.default_rng(seed)
    rates = np.empty(replicates)
    at_once = max(1, _DRAWN_AT_ONCE // count)  # the same draws, in fewer calls: groups can be many and small
    for first in range(0, replicates, at_once):
        drawn = generator.integers(0, count, size=(min(at_once, replicates - first), count))
        totals = np.maximum(units[drawn].sum(axis=1, dtype=np.int64), 1)
        rates[first : first + len(drawn)] = errors[drawn].sum(axis=1, dtype=np.int64) / totals
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(rates, [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Scored:
    """One utterance with its score, as listed among the worst."""

    id: str
    reference: str
    hypothesis: str
    errors: int
    words: int


@dataclass(frozen=True)
class Scores:
    """Rates with their intervals, edits, counts, and the worst utterances. The edits without a unit are of words."""

    wer: float
    wer_interval: Optional[Tuple[float, ...]]
    cer: float
    cer_interval: Optional[Tuple[float, ...]]
    utterances: int
    correct_utterances: int
    words: int
    substitutions: int
    deletions: int
    insertions: int
    characters: int
    character_substitutions: int
    character_deletions: int
    character_insertions: int
    empty_references: int
    empty_hypotheses: int
    worst: Tuple[Scored, ...]


@dataclass(frozen=True)
class TextScore:
    """A word error rate over all texts of a split, in one form of them, with its edits."""

    wer: float
    wer_interval: Optional[Tuple[float, ...]]
    words: int
    substitutions: int
    deletions: int
    insertions: int


@dataclass(frozen=True)
class PartScores:
    """Word error rate of some utterances of the split."""

    wer: float
    wer_interval: Optional[Tuple[float, ...]]
    utterances: int
    words: int


@dataclass(frozen=True)
class HotwordRow:
    """One hotword: how often it was said, heard and heard falsely, with the list and without it."""

    words: str
    weight: float
    said: int
    heard: int
    false_alarms: int
    heard_without: int
    false_alarms_without: int


@dataclass(frozen=True)
class FactorRow:
    """All hotwords, with their weights multiplied by a factor. wer: of all words, as a fraction."""

    factor: float
    said: int
    heard: int
    false_alarms: int
    wer: float


@dataclass(frozen=True)
class HotwordScores:
    """words: those that were said or heard, most often said first. others: how many of the list never came."""

    words: Tuple[HotwordRow, ...]
    others: int
    factors: Tuple[FactorRow, ...]


@dataclass(frozen=True)
class EvaluationMetrics(Scores):
    """What metrics.json of an evaluation holds: scores, and what they belong to.

    model: digest; data: ID; audio_s: seconds transcribed. trained_on: device of the run; None for what is no run.
    emulated: an IPU that is none took part, in training or here.
    raw: against the texts as they stand in the corpus, or why there is no such score; normalized: both sides without
    case and signs (scoring_text). None in what earlier versions wrote.
    seen: of the utterances whose sentence was in what the model was trained on; unseen: of the others; None where that
    is not known. phones: True where what was written is phonemes, so that each is a word to all these numbers.
    beam, lm: how a beam search was done, and the ID or digest of its language model. hotwords: digest of their list;
    hotword_scores: how often they were said and heard. confidence: how well confidences tell which words are right;
    None where words have none, and in what earlier versions wrote.
    """

    split: str
    precision: str
    device: str
    decoder: str
    model: str
    data: str
    audio_s: float
    trained_on: Optional[str]
    emulated: bool
    raw: Optional[TextScore] = records.absent()
    raw_missing: Optional[str] = records.absent()
    normalized: Optional[TextScore] = records.absent()
    seen: Optional[PartScores] = records.absent()
    unseen: Optional[PartScores] = records.absent()
    phones: Optional[bool] = records.absent()
    beam: Optional[Mapping[str, Any]] = records.absent()
    lm: Optional[str] = records.absent()
    hotwords: Optional[str] = records.absent()
    hotword_scores: Optional[HotwordScores] = records.absent()
    confidence: Optional[ConfidenceScores] = records.absent()

    @property
    def rate_name(self) -> str:
        """What `wer` is: of texts of phonemes, whose words are phonemes, a phone error rate."""
        return "PER" if self.phones else "WER"


class Tally:
    """Scores of a split, one utterance at a time and in any order; keeps a few small integers for each.

    The result does not depend on the order in which utterances come in.
    """

    def __init__(self, utterances: int, *, worst: int = WORST_KEPT) -> None:
        self._word_errors = np.zeros(utterances, dtype=np.int32)
        self._words = np.zeros(utterances, dtype=np.int32)
        self._character_errors = np.zeros(utterances, dtype=np.int32)
        self._characters = np.zeros(utterances, dtype=np.int32)
        self._total_words, self._total_characters = Edits(), Edits()
        self._empty_references = self._empty_hypotheses = self._correct = 0
        self._worst: List[Tuple[Tuple[int, float, int], Scored]] = []
        self._keep = worst

    def add(self, index: int, identity: str, reference: str, hypothesis: str) -> Scored:
        """Score the utterance at `index` of the split; each index once."""
        words, characters = word_edits(reference, hypothesis), character_edits(reference, hypothesis)
        self._word_errors[index], self._words[index] = words.errors, words.units
        self._character_errors[index], self._characters[index] = characters.errors, characters.units
        self._total_words += words
        self._total_characters += characters
        self._empty_references += not words.units
        self._empty_hypotheses += not hypothesis.strip()
        self._correct += not words.errors
        scored = Scored(identity, reference, hypothesis, words.errors, words.units)
        if words.errors:
            # Most errors first: that is what the rate is made of. Then the denser, then the earlier.
            heapq.heappush(self._worst, ((words.errors, words.rate, -index), scored))
            if len(self._worst) > self._keep:
                heapq.heappop(self._worst)
        return scored

    @property
    def errors(self) -> np.ndarray:
        """(utterances,) wrong words of each."""
        return self._word_errors

    @property
    def words(self) -> np.ndarray:
        """(utterances,) words of each reference."""
        return self._words

    def part(self, chosen: np.ndarray) -> PartScores:
        """Of the utterances that are chosen: (utterances,) bool."""
        errors, words = self._word_errors[chosen], self._words[chosen]
        total = int(words.sum(dtype=np.int64))
        whole = rate(int(errors.sum(dtype=np.int64)), total)
        return PartScores(whole, bootstrap_interval(errors, words), len(words), total)

    def scores(self) -> Scores:
        words, characters = self._total_words, self._total_characters
        worst = sorted(self._worst, key=lambda item: item[0], reverse=True)
        return Scores(
            wer=words.rate,
            wer_interval=bootstrap_interval(self._word_errors, self._words),
            cer=characters.rate,
            cer_interval=bootstrap_interval(self._character_errors, self._characters),
            utterances=len(self._words),
            correct_utterances=int(self._correct),
            words=words.units,
            substitutions=words.substitutions,
            deletions=words.deletions,
            insertions=words.insertions,
            characters=characters.units,
            character_substitutions=characters.substitutions,
            character_deletions=characters.deletions,
            character_insertions=characters.insertions,
            empty_references=int(self._empty_references),
            empty_hypotheses=int(self._empty_hypotheses),
            worst=tuple(scored for _, scored in worst),
        )


def derangement(count: int, seed: int) -> np.ndarray:
    """A permutation (count,) that leaves nothing in its place. Raises ValueError for fewer than two."""
    if count < 2:
        raise ValueError("nothing to change places with")
    order = np.random.default_rng(seed).permutation(count)
    # Everyone takes the place of the next in a random round: one cycle, so nobody stays.
    places = np.empty(count, dtype=np.int64)
    places[order] = np.roll(order, 1)
    return places


def shuffled_wer(references: Sequence[str], hypotheses: Sequence[str], seed: int) -> float:
    """The control: each hypothesis against the reference of another utterance. Raises ValueError for fewer than two."""
    places = derangement(len(references), seed)
    return word_error_rate([references[place] for place in places], hypotheses)
