"""How often hotwords were said, heard, and heard where nobody said them, with their weights and with others.

An occurrence is heard where the shortest way from the reference to the hypothesis (metrics.align) leaves all its words
as they are; any other that the hypothesis has is a false alarm.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence, Tuple

from asrctl.evaluation import metrics
from asrctl.evaluation.hotwords import Hotword
from asrctl.evaluation.metrics import FactorRow, HotwordRow, HotwordScores

# What the weights are multiplied by: as they are, and beside that without any, with half and with twice as much.
AS_GIVEN, WITHOUT = 1.0, 0.0
FACTORS = (WITHOUT, 0.5, AS_GIVEN, 2.0)


class HotwordTally:
    """Counts as utterances come, in any order."""

    def __init__(self, hotwords: Sequence[Hotword]) -> None:
        self._weights = {hotword.words: hotword.weight for hotword in hotwords}
        # The hotwords that begin with a word, as tuples of words.
        self._by_first: Dict[str, List[Tuple[str, ...]]] = {}
        for words in self._weights:
            parts = tuple(words.split())
            self._by_first.setdefault(parts[0], []).append(parts)
        self._said: Dict[str, int] = {}
        self._heard: Dict[float, Dict[str, int]] = {factor: {} for factor in FACTORS}
        self._false: Dict[float, Dict[str, int]] = {factor: {} for factor in FACTORS}
        self._edits = dict.fromkeys(FACTORS, metrics.Edits())

    def add(self, reference: str, hypotheses: Mapping[float, str]) -> None:
        """hypotheses: what was heard with each of FACTORS."""
        for _, words in self._occurrences(reference.split()):
            self._said[words] = self._said.get(words, 0) + 1
        for factor, hypothesis in hypotheses.items():
            self._edits[factor] += metrics.word_edits(reference, hypothesis)
            pairs = metrics.align(reference, hypothesis)
            places = [place for place, (_, other) in enumerate(pairs) if other]
            for at, words in self._occurrences(hypothesis.split()):
                here = pairs[places[at] : places[at] + len(words.split())]
                right = all(left == other for left, other in here)
                counts = (self._heard if right else self._false)[factor]
                counts[words] = counts.get(words, 0) + 1

    def _occurrences(self, words: Sequence[str]) -> List[Tuple[int, str]]:
        """(place, hotword) of each, overlapping ones too."""
        return [
            (at, " ".join(parts))
            for at, word in enumerate(words)
            for parts in self._by_first.get(word, ())
            if tuple(words[at : at + len(parts)]) == parts
        ]

    def scores(self) -> HotwordScores:
        came = [
            *self._said,
            *(words for found in (self._heard, self._false) for each in found.values() for words in each),
        ]
        order = sorted(dict.fromkeys(came), key=lambda words: (-self._said.get(words, 0), words))
        rows = tuple(
            HotwordRow(
                words,
                self._weights[words],
                self._said.get(words, 0),
                self._heard[AS_GIVEN].get(words, 0),
                self._false[AS_GIVEN].get(words, 0),
                self._heard[WITHOUT].get(words, 0),
                self._false[WITHOUT].get(words, 0),
            )
            for words in order
        )
        said = sum(self._said.values())
        factors = tuple(
            FactorRow(
                factor, said, sum(self._heard[factor].values()), sum(self._false[factor].values()), round(edits.rate, 6)
            )
            for factor, edits in self._edits.items()
        )
        return HotwordScores(rows, len(self._weights) - len(rows), factors)
