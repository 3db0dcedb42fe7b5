"""Hotwords of a file for a model, and an evaluation's searches with and without them, on the same logits."""

from __future__ import annotations

import unicodedata
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

from asrctl.data.text import Vocabulary
from asrctl.errors import BadData
from asrctl.evaluation.beam_search import BeamSearch, log_probabilities
from asrctl.evaluation.hotword_scores import AS_GIVEN, HotwordTally
from asrctl.evaluation.hotwords import Hotword
from asrctl.events import Emit, Warned
from asrctl.messages import amounts

_SAME: Callable[[str], str] = str
_CASES = {"as they are": _SAME, "in small letters": str.lower, "in capitals": str.upper}


def fitted(hotwords: Sequence[Hotword], vocabulary: Vocabulary, emit: Emit) -> List[Hotword]:
    """Hotwords as the model writes them: in its case, told where that is another; what it can not write is told, and
    left out. Raises BadData where nothing is left, or where the model does not write words with letters.
    """
    if vocabulary.delimiter_id is None or vocabulary.subwords is not None or vocabulary.phones:
        raise BadData(
            "this model's labels are not the letters of words with a delimiter between them, which hotwords need",
            fix="leave --hotwords out",
        )
    letters = {letter for letter, label in vocabulary.letters.items() if label != vocabulary.delimiter_id}
    found: Dict[str, Hotword] = {}
    changed: Dict[str, List[str]] = {}
    beyond: List[str] = []
    for hotword in hotwords:
        for case, write in _CASES.items():
            words = " ".join(unicodedata.normalize("NFC", write(hotword.words)).split())
            if set(words) <= letters | {" "}:
                found.setdefault(words, Hotword(words, hotword.weight))
                changed.setdefault(case, []).append(hotword.words)
                break
        else:
            beyond.append(hotword.words)
    _tell(changed, beyond, letters, emit)
    if not found:
        raise BadData(
            f"the model can write none of the hotwords, such as {beyond[0]!r}",
            fix=f"write them with its letters, {' '.join(sorted(letters)[:60])}, and a weight after a tab",
        )
    return list(found.values())


def _tell(changed: Mapping[str, Sequence[str]], beyond: Sequence[str], letters: "set[str]", emit: Emit) -> None:
    for case, words in changed.items():
        if _CASES[case] is not _SAME:
            they = amounts.noun(len(words), "is", "are")
            emit(
                Warned(
                    f"{amounts.count(len(words), 'hotword')}, such as {words[0]!r}, {they} taken {case}, as the model "
                    "writes"
                )
            )
    if beyond:
        odd = sorted({letter for letter in beyond[0] if letter != " " and letter not in letters})
        emit(
            Warned(
                f"{amounts.count(len(beyond), 'hotword')}, such as {beyond[0]!r} with {odd[0]!r}, can not be written "
                f"with the model's letters and {amounts.noun(len(beyond), 'is', 'are')} left out"
            )
        )


class HotwordTrials:
    """A decoder whose hypotheses are those with the weights as given; what the others gave is counted beside it."""

    def __init__(self, searches: Mapping[float, BeamSearch], hotwords: Sequence[Hotword]) -> None:
        self._searches = searches
        self._waiting: Deque[Dict[float, str]] = deque()
        self.tally = HotwordTally(hotwords)

    def __call__(self, logits: Any, frames: Any) -> List[str]:
        logs = log_probabilities(logits, frames)
        texts = {factor: search.texts(logs) for factor, search in self._searches.items()}
        self._waiting.extend(dict(zip(texts, each)) for each in zip(*texts.values()))
        return texts[AS_GIVEN]

    def counted(self, heard: Iterable[Tuple[int, str]], reference: Callable[[int], str]) -> Iterator[Tuple[int, str]]:
        """(index, hypothesis) as they are decoded, each counted. reference: of an index."""
        for index, hypothesis in heard:
            self.tally.add(reference(index), self._waiting.popleft())
            yield index, hypothesis
