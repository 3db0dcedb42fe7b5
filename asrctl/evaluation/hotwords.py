"""Words and phrases that a beam search should hear more readily.

Contextual biasing by shallow fusion (Zhao et al. 2019, "Shallow-fusion end-to-end contextual biasing", Interspeech):
an unfinished hotword gets its weight's share as its letters come, so that it survives in a narrow beam, and loses it
again where it is not completed. What a text scores in the end is each hotword's weight times how often it stands there,
as whole words. Found by an Aho-Corasick automaton over the model's labels (Aho and Corasick 1975) that begins anew only
where a word begins; all its answers lie in arrays, so a frame costs the same with ten hotwords and with thousands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np

from asrctl.data.text import Vocabulary
from asrctl.errors import BadData
from asrctl.messages import amounts
from asrctl.storage import files

# In natural logarithms, as a word's score is: a hotword may be 150 times less likely than what else was heard. More
# found no more, and raised false alarms (docs/decoding.md).
WEIGHT = 5.0
MOST_WEIGHT = 100.0
# More than this is a dictionary, not a list of hotwords; the automaton's arrays would fill the memory.
MOST_STATES_X_LABELS = 1 << 28
_MOST_BYTES = 1 << 26
FIX_FILE = "write a word or phrase on each line, if you like with a tab and its weight after it"


@dataclass(frozen=True)
class Hotword:
    """words: a word or a phrase, with single spaces. weight: added to a text's score each time it stands there."""

    words: str
    weight: float


def read(path: Path, weight: float = WEIGHT) -> List[Hotword]:
    """A file's hotwords: on each line a word or a phrase, and after a tab its weight where it has one of its own.

    Empty lines and such as begin with # are left out. weight: of those without one. Raises MissingArtifact, BadData.
    """
    data = files.read_bytes(path, fix="name a file that has a word or phrase on each line", most=_MOST_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadData(f"{path} is no text in UTF-8", fix="save it as UTF-8") from None
    found: Dict[str, Tuple[int, float]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words, tab, own = line.partition("\t")
        words = " ".join(words.split())
        value = _weight(own.strip(), f"{path}, line {number}") if tab and own.strip() else weight
        if not words:
            raise BadData(f"{path}, line {number}: there is no word before the tab", fix=FIX_FILE)
        if words in found and found[words][1] != value:
            raise BadData(f"{path} has {words!r} with two weights", fix=f"take out line {found[words][0]} or {number}")
        found.setdefault(words, (number, value))
    if not found:
        raise BadData(f"{path} holds no hotwords", fix=FIX_FILE)
    return [Hotword(words, value) for words, (_, value) in found.items()]


def _weight(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MOST_WEIGHT:
        raise BadData(
            f"{where}: {text!r} is no weight", fix=f"after the tab write a number from 0 to {MOST_WEIGHT:g}, or nothing"
        )
    return value


class HotwordStates:
    """What a search asks: where a prefix stands, what it is worth, and what is paid when its last word ends.

    next: (states, labels) int32, the state after another label. pending: (states,) the shares of unfinished hotwords,
    the best one. paid: (states,) weights of the hotwords that end here, if the word does. Raises BadData where a letter
    is no label or the list is too long.
    """

    start = 0
    _DEAD = 1  # within a word that belongs to no hotword

    def __init__(self, hotwords: Sequence[Hotword], vocabulary: Vocabulary) -> None:
        if vocabulary.delimiter_id is None:
            raise ValueError("there is no delimiter between words")
        self._delimiter = vocabulary.delimiter_id
        letters = {letter: label for letter, label in vocabulary.letters.items() if label != self._delimiter}
        self._letters = {**letters, " ": self._delimiter}
        self.words = {word for hotword in hotwords for word in hotword.words.split()}
        self._parts = {word[:length] for word in self.words for length in range(1, len(word) + 1)}
        self._children: List[Dict[int, int]] = [{}, {}]
        pending, paid = [0.0, 0.0], [0.0, 0.0]
        for hotword in hotwords:
            state = self.start
            labels = self._labels(hotword)
            for count, label in enumerate(labels, 1):
                state = self._child(state, label, pending, paid)
                pending[state] = max(pending[state], hotword.weight * count / len(labels))
            paid[state] += hotword.weight
        labels_in_all = len(vocabulary)
        if len(pending) * labels_in_all > MOST_STATES_X_LABELS:
            raise BadData(
                f"{amounts.count(len(hotwords), 'hotword')} are more than a search can follow",
                fix="leave out those that hardly ever come",
            )
        self.pending, self.paid = np.array(pending), np.array(paid)
        self.next = np.full((len(pending), labels_in_all), self._DEAD, dtype=np.int32)
        self._link()

    def begins(self, part: str) -> bool:
        """Whether a word of a hotword begins like this."""
        return part in self._parts

    def _labels(self, hotword: Hotword) -> List[int]:
        try:
            return [self._letters[letter] for letter in hotword.words]
        except KeyError as error:
            raise BadData(
                f"the model can not write {error.args[0]!r} of the hotword {hotword.words!r}",
                fix="write it with the model's letters",
            ) from None

    def _child(self, state: int, label: int, pending: List[float], paid: List[float]) -> int:
        found = self._children[state].get(label)
        if found is None:
            found = self._children[state][label] = len(self._children)
            self._children.append({})
            pending.append(0.0)
            paid.append(0.0)
        return found

    def _link(self) -> None:
        """Fill the arrays, shorter beginnings first: where a hotword breaks off, another may be under way."""
        self.next[self.start, self._delimiter] = self.next[self._DEAD, self._delimiter] = self.start
        waiting: List[Tuple[int, int]] = []
        for label, child in self._children[self.start].items():
            self.next[self.start, label] = child
            waiting.append((child, self._DEAD))
        for state, shorter in waiting:  # grows as it goes
            row = self.next[shorter].copy()
            for label, child in self._children[state].items():
                waiting.append((child, int(row[label])))
                row[label] = child
            self.next[state] = row
            self.pending[state] = max(self.pending[state], self.pending[shorter])
            self.paid[state] += self.paid[shorter]
        for state, _ in waiting:
            if self._delimiter in self._children[state]:
                between = self._children[state][self._delimiter]
                self.next[between, self._delimiter] = between  # two delimiters part words as one does
