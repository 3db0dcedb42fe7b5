"""Find recordings that are in two splits: an utterance seen in training can not test the model."""

from __future__ import annotations

import itertools
import math
from array import array
from collections import Counter
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from asrctl.data.split_roles import Roles
from asrctl.data.utterance import Utterance
from asrctl.events import Emit, Warned

# Stretches of one recording may touch. They are copies where half of the shorter one is in both.
_SHARED = 0.5


class _Part(NamedTuple):
    """A stretch of a recording in a role. start_s, end_s: in seconds; without an end, to infinity.

    channel: None is the mean of all. Two sides of a call hold different speech, though they are one file.
    """

    role: str
    id: str
    start_s: float
    end_s: float
    channel: Optional[int] = None

    def shares(self, other: "_Part") -> bool:
        if self.channel != other.channel and None not in (self.channel, other.channel):
            return False
        shorter = min(self.end_s - self.start_s, other.end_s - other.start_s)
        shared = min(self.end_s, other.end_s) - max(self.start_s, other.start_s)
        return shared > 0 and (math.isinf(shared) or shared >= _SHARED * shorter)


def tell(utterances: Callable[[], Iterable[Utterance]], assigned: Roles, emit: Emit) -> Dict[str, int]:
    """A warning of each two roles that share recordings, with an example; {"train eval": utterances of the second}.

    utterances: of the corpus, with the digests of their audio. Read once, where nothing is shared: of each utterance
    eight bytes are kept, and more of what may be shared alone.
    """
    suspects = _suspects(utterances(), assigned) if len(assigned.names) > 1 else set()
    if not suspects:
        return {}
    judging: Dict[str, List[_Part]] = {}
    found = _Found()
    for digest, part in _parts(utterances(), assigned):
        if part.role != "train" and hash(digest) in suspects:
            for other in judging.setdefault(digest, []):
                if other.role != part.role and part.shares(other):
                    found.add(*sorted((part, other), key=lambda one: one.role))
            judging[digest].append(part)
    for digest, part in _parts(utterances(), assigned):
        if part.role == "train" and hash(digest) in suspects:
            for other in judging.get(digest, ()):
                if part.shares(other):
                    found.add(part, other)
    found.tell(emit)
    return found.counts()


def _suspects(utterances: Iterable[Utterance], assigned: Roles) -> Set[int]:
    """Hashes of the digests that two roles may have."""
    held = {role: array("q") for role in assigned.names}
    for digest, part in _parts(utterances, assigned):
        held[part.role].append(hash(digest))
    by_role = [np.unique(np.frombuffer(hashes, dtype=np.int64)) for hashes in held.values() if hashes]
    shared = [np.intersect1d(one, other, assume_unique=True) for one, other in itertools.combinations(by_role, 2)]
    return {int(number) for numbers in shared for number in numbers}


def _parts(utterances: Iterable[Utterance], assigned: Roles) -> Iterable[Tuple[str, _Part]]:
    for utterance in utterances:
        role = assigned.of(utterance)
        if role is not None and utterance.sha256 is not None:
            end_s = math.inf if utterance.end_s is None else utterance.end_s
            yield utterance.sha256, _Part(role, utterance.id, utterance.start_s or 0.0, end_s, utterance.channel)


class _Found:
    """Pairs of utterances of one recording, by their roles."""

    def __init__(self) -> None:
        self._held: Dict[Tuple[str, str], "Counter[str]"] = {}
        self._examples: Dict[Tuple[str, str], Tuple[str, str]] = {}

    def add(self, one: _Part, other: _Part) -> None:
        pair = (one.role, other.role)
        self._held.setdefault(pair, Counter())[other.id] += 1
        self._examples.setdefault(pair, (one.id, other.id))

    def counts(self) -> Dict[str, int]:
        return {" ".join(pair): len(held) for pair, held in sorted(self._held.items())}

    def tell(self, emit: Emit) -> None:
        for (one, other), held in sorted(self._held.items()):
            first, second = self._examples[one, other]
            count = "a recording" if len(held) == 1 else f"{len(held)} recordings"
            verb = "is" if len(held) == 1 else "are"
            emit(
                Warned(
                    f"{count} of {other} {verb} in {one} too, such as {second} as {first}: results there say less about"
                    " other speech; keep each recording in one split"
                )
            )
