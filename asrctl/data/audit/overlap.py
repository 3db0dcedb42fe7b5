"""What a split that judges the model has in common with another: sentences, audio, speakers.

Only what eval and test hold is kept, so memory grows with these, and not with what is trained on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from asrctl.data.audit.findings import SameSpeaker
from asrctl.messages import amounts

# In this order splits are looked at: what judges first.
ORDER = ("test", "eval", "train")
# Short sentences come again by chance ("what is it"), and what is said three times in training is a stock phrase.
_STOCK_WORDS, _STOCK_TIMES = 3, 3
# Encoders put some silence before and after: recordings of nearly one length are compared.
_REACH_S, _REACH = 0.1, 0.03
# With fewer speakers nobody can hold out about a tenth of a corpus as whole speakers.
_FEW_SPEAKERS = 10


def text_digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def audio_digest(pcm: np.ndarray) -> int:
    """Of samples as they were prepared: (time,) int16. File names, containers and lossless codecs do not count."""
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(pcm).data, digest_size=8).digest(), "little")


class Elsewhere(NamedTuple):
    """Where else something is. id: of the first utterance there; times: how many have it."""

    split: str
    id: str
    times: int


class Shared:
    """Digests of texts or audio, by split."""

    def __init__(self) -> None:
        self._held: Dict[int, Dict[str, Tuple[str, int]]] = {}

    def add(self, split: str, identity: str, digest: int) -> None:
        """Splits in the order of ORDER."""
        held = self._held.get(digest)
        if held is None:
            if split == "train":
                return
            held = self._held[digest] = {}
        first, times = held.get(split, (identity, 0))
        held[split] = (first, times + 1)

    def elsewhere(self, split: str, digest: int) -> Optional[Elsewhere]:
        """Where training has what `split` has; else, for test, where eval has it."""
        held = self._held.get(digest, {})
        for other in ("train", "eval"):
            if other in held and ORDER.index(other) > ORDER.index(split):
                return Elsewhere(other, *held[other])
        return None


class Recordings:
    """Sketches of the recordings of the splits that judge, and which of them another split holds as well."""

    def __init__(self) -> None:
        self._split = ""
        self._waiting: List[Tuple[str, List[str], np.ndarray, np.ndarray]] = []
        self._names: List[Tuple[str, str]] = []
        self._seconds = np.zeros(0, dtype=np.float32)
        self._sketches = np.zeros((0, 0), dtype=np.float32)
        self._copies: Dict[Tuple[str, str], Elsewhere] = {}

    def add(self, split: str, ids: List[str], seconds: np.ndarray, sketches: np.ndarray) -> None:
        """Splits in the order of ORDER. seconds: (utterances,); sketches: (utterances, measures.SKETCH)."""
        if split != self._split:
            self._split = split
            self._sort()
        for identity, length_s, sketch in zip(ids, seconds.tolist(), sketches):
            self._look(split, identity, length_s, sketch)
        if split != "train":
            self._waiting.append((split, ids, seconds, sketches))

    def elsewhere(self, split: str, identity: str) -> Optional[Elsewhere]:
        return self._copies.get((split, identity))

    def _sort(self) -> None:
        """By length, so that those to compare with stand side by side."""
        if not self._waiting:
            return
        names = self._names + [(split, identity) for split, ids, _, _ in self._waiting for identity in ids]
        seconds = np.concatenate([self._seconds, *(seconds for _, _, seconds, _ in self._waiting)])
        held = [self._sketches] if len(self._sketches) else []
        sketches = np.concatenate([*held, *(sketches for _, _, _, sketches in self._waiting)])
        order = np.argsort(seconds, kind="stable")
        self._names, self._seconds, self._sketches = [names[row] for row in order], seconds[order], sketches[order]
        self._waiting = []

    def _look(self, split: str, identity: str, length_s: float, sketch: np.ndarray) -> None:
        reach_s = max(_REACH_S, _REACH * length_s)
        first, last = np.searchsorted(self._seconds, [length_s - reach_s, length_s + reach_s])
        if first == last:
            return
        alike = self._sketches[first:last] @ sketch
        for row in np.flatnonzero(alike >= _alike(length_s)).tolist():
            name = self._names[first + row]
            known = self._copies.get(name)
            if known is not None and known.split == split:
                self._copies[name] = known._replace(times=known.times + 1)
            else:  # training comes last, and counts most
                self._copies[name] = Elsewhere(split, identity, 1)


def _alike(length_s: float) -> float:
    """From which product of sketches on two recordings are one, told from recordings that are clean of copies.

    The nearest of 106 of LibriSpeech (2 to 35 s) have 0.71, of 2500 spoken digits (0.1 to 2 s) 0.98. The same after
    MP3, Ogg, a telephone's rate or another gain: 0.999 and 0.993 at least.
    """
    return 0.95 if length_s >= 2 else 0.98 if length_s >= 1 else 0.993


def is_stock(text: str, found: Elsewhere) -> bool:
    """Whether a sentence is one that comes again anyway, so that sharing it says nothing about how splits were made."""
    return len(text.split()) <= _STOCK_WORDS or found.times >= _STOCK_TIMES


class Speakers:
    """Who speaks in which split."""

    def __init__(self) -> None:
        self._judged: Dict[str, Dict[str, Tuple[str, int]]] = {}
        self._trained: "Counter[str]" = Counter()
        self._part: Dict[str, str] = {}
        self._some: Dict[str, Set[str]] = {}

    def add(self, split: str, ids: Iterable[str], speakers: Iterable[Optional[str]], part: str = "") -> None:
        """Splits in the order of ORDER. part: of a mixture, that all of these are of."""
        some = self._some.setdefault(part, set())
        for identity, speaker in zip(ids, speakers):
            if speaker is None:
                continue
            if len(some) < _FEW_SPEAKERS:
                some.add(speaker)
            if split != "train":
                self._part[speaker] = part
                held = self._judged.setdefault(speaker, {})
                first, count = held.get(split, (identity, 0))
                held[split] = (first, count + 1)
            elif speaker in self._judged:
                self._trained[speaker] += 1

    def odd(self) -> Tuple[List[SameSpeaker], List[str]]:
        """Speakers to be told, and sentences on splits that share all of theirs because there are few."""
        groups: Dict[Tuple[str, str], List[SameSpeaker]] = {}
        for one in sorted(self._pairs(), key=lambda one: (one.split, one.other_split, -one.utterances, one.speaker)):
            groups.setdefault((one.split, self._part[one.speaker]), []).append(one)
        told: List[SameSpeaker] = []
        facts: List[str] = []
        for (split, part), found in groups.items():
            if len(found) == self._in_split(split, part) and len(self._some[part]) < _FEW_SPEAKERS:
                who = "the speaker" if len(found) == 1 else f"all {len(found)} speakers"
                where, verb = f"{split} of {part}" if part else split, amounts.noun(len(found), "is", "are")
                facts.append(f"{who} of {where} {verb} in {found[0].other_split} too: results hold for known voices")
            else:
                told += found
        return told, facts

    def _pairs(self) -> Iterator[SameSpeaker]:
        """Those of eval and test who are in train too, and of test who are in eval."""
        for speaker, held in self._judged.items():
            for split, (first, count) in held.items():
                if speaker in self._trained:
                    yield SameSpeaker(first, split, speaker, count, "train", self._trained[speaker])
                elif split == "test" and "eval" in held:
                    yield SameSpeaker(first, split, speaker, count, "eval", held["eval"][1])

    def _in_split(self, split: str, part: str) -> int:
        return sum(1 for speaker, held in self._judged.items() if split in held and self._part[speaker] == part)
