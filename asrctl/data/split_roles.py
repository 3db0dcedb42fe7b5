"""Which utterance is for training, for choosing the best model, and for the last test."""

from __future__ import annotations

import hashlib
import heapq
import shlex
from array import array
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Dict, FrozenSet, Iterable, List, Mapping, Optional, Tuple

from asrctl.data.corpus import ROLES, SPLIT_NAMES, Corpus
from asrctl.data.utterance import Utterance, read_manifest
from asrctl.errors import BadData, UsageError
from asrctl.events import Emit, Note, Warned
from asrctl.messages import amounts, suggestions

# A held-out set of whole speakers must come this near to a tenth of the utterances; a fifth of a small corpus would
# cost training more than a stricter check is worth.
_SHARE = 0.10
_SHARE_RANGE = (0.05, 0.15)
_MIN_SPEAKERS = 5
_SALT = b"asrctl hold-out 0 "
_MAX_NAMED = 10
_ONLY_EVALUATES = "no split for training: this data is for evaluation only"


@dataclass(frozen=True)
class RoleFlags:
    """Corpus splits as the user named them, by role."""

    train: Tuple[str, ...] = ()
    eval: Tuple[str, ...] = ()
    test: Tuple[str, ...] = ()

    def of(self, role: str) -> Tuple[str, ...]:
        return {"train": self.train, "eval": self.eval, "test": self.test}[role]


@dataclass(frozen=True)
class WantedSplits:
    """{role: corpus splits}; `required` ones were named by the user (or are the default for training).

    chosen: whether the user named any. trains: whether the user named one for training.
    """

    by_role: Mapping[str, Tuple[str, ...]]
    required: Tuple[str, ...]
    optional: Tuple[str, ...]
    chosen: bool = False
    trains: bool = False


@dataclass(frozen=True)
class Roles:
    """Who does what. `note` says in a sentence how an eval split came about that nobody named, or that none trains.

    unused: {corpus split without a role: utterances}; `lost` says so in a sentence, where nobody may have meant it.
    dropped: {id: why} of utterances that are left out, whatever they were for.
    """

    by_role: Mapping[str, Tuple[str, ...]]
    note: Optional[str] = None
    held_speakers: FrozenSet[str] = field(default_factory=frozenset)
    held_below: int = 0
    held_out: bool = False
    unused: Mapping[str, int] = field(default_factory=dict)
    lost: Optional[str] = None
    dropped: Mapping[str, str] = field(default_factory=dict)

    def of(self, utterance: Utterance) -> Optional[str]:
        """train, eval, test, or None where the utterance is not used."""
        return None if utterance.id in self.dropped else self.meant(utterance)

    def meant(self, utterance: Utterance) -> Optional[str]:
        """The same, also of what is dropped."""
        for role, splits in self.by_role.items():
            if utterance.split in splits and not (role == "eval" and self.held_out):
                return "eval" if role == "train" and self.held_out and self._is_held(utterance) else role
        return None

    def tell(self, emit: Emit) -> None:
        """What the user did not say, and may want otherwise."""
        if self.note:
            emit(Note(self.note))
        self.tell_unused(emit)

    def tell_unused(self, emit: Emit) -> None:
        if self.lost:
            emit(Warned(self.lost))

    @property
    def names(self) -> List[str]:
        return list(self.by_role)

    def _is_held(self, utterance: Utterance) -> bool:
        if self.held_speakers:
            return utterance.speaker in self.held_speakers
        return _rank(utterance.id) < self.held_below


def wanted_splits(corpus: Corpus, flags: RoleFlags) -> WantedSplits:
    """The splits to read. Raises UsageError where one has two roles."""
    named = {role: tuple(dict.fromkeys(corpus.split_name(name) for name in flags.of(role))) for role in ROLES}
    twice = [name for name, count in Counter(name for names in named.values() for name in names).items() if count > 1]
    if twice:
        raise UsageError(
            f"the split {twice[0]} is named twice", fix="name each split for one of --train, --eval and --test"
        )
    taken = {name for names in named.values() for name in names}
    by_role = {role: named[role] or _left(corpus.splits.get(role, ()), taken) for role in ROLES}
    # Whoever names splits for evaluation may have no other.
    required = (named["train"] if taken else by_role["train"]) + named["eval"] + named["test"]
    optional = tuple(name for names in by_role.values() for name in names if name not in required)
    return WantedSplits(by_role, required, optional, chosen=bool(taken), trains=bool(named["train"]))


def _left(names: Iterable[str], taken: Iterable[str]) -> Tuple[str, ...]:
    return tuple(name for name in names if name not in taken)


def assign(wanted: WantedSplits, listing: Path, counts: Mapping[str, int]) -> Roles:
    """Roles for the utterances that are there. counts: {corpus split: utterances}. Raises BadData."""
    present = {role: tuple(name for name in names if counts.get(name)) for role, names in wanted.by_role.items()}
    by_role = {role: names for role, names in present.items() if names}
    used = {name for names in by_role.values() for name in names}
    unused = {name: count for name, count in sorted(counts.items()) if name not in used}
    only_evaluates = _only_evaluates(wanted, by_role, unused)
    usual = wanted.by_role["train"]
    required = [name for name in wanted.required if name not in usual or not only_evaluates]
    if "train" not in by_role and not only_evaluates:
        required += [name for name in usual if name not in required]
    missing = [name for name in required if not counts.get(name)]
    if missing:
        known = ", ".join(sorted(counts)) or "nothing"
        raise BadData(
            f"the corpus has no utterance in split {', '.join(missing)} (it has {known})",
            fix=f"name the splits, such as `--train {shlex.quote(sorted(counts)[0])}`"
            if counts
            else "check the corpus",
        )
    lost = _lost(wanted, unused, sum(counts.values()))
    if only_evaluates:
        return Roles(by_role, _ONLY_EVALUATES, unused=unused, lost=lost)
    if "eval" in by_role:
        return Roles(by_role, unused=unused, lost=lost)
    in_train = (utterance for utterance in read_manifest(listing) if utterance.split in by_role["train"])
    return replace(_hold_out(by_role, in_train), unused=unused, lost=lost)


def _only_evaluates(wanted: WantedSplits, by_role: Mapping[str, Tuple[str, ...]], unused: Mapping[str, int]) -> bool:
    """Whether a corpus without a split for training is meant so: no other split may be one by mistake."""
    if not by_role or "train" in by_role or wanted.trains or (unused and not wanted.chosen):
        return False
    meant = [_meant(wanted, name) for name in unused]
    return not any(name in wanted.by_role["train"] or SPLIT_NAMES.get(name or "") == "train" for name in meant)


def _lost(wanted: WantedSplits, unused: Mapping[str, int], total: int) -> Optional[str]:
    """A warning of splits that nobody asked for. Other splits are a corpus' right, so it is never more than that.

    Whoever has named splits knows the others, and hears only of those that are called nearly like a known one.
    """
    meant = {name: _meant(wanted, name) for name in unused}
    if not unused or (wanted.chosen and not any(meant.values())):
        return None
    named = [
        f"{name} ({count}{f'; did you mean {meant[name]}?' if meant[name] else ''})" for name, count in unused.items()
    ]
    more = f" and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
    return (
        f"{sum(unused.values())} of {amounts.count(total, 'utterance')} "
        f"{amounts.noun(sum(unused.values()), 'is', 'are')} not used, as nothing says what their splits are for: "
        f"{', '.join(named[:_MAX_NAMED])}{more}; name splits with --train, --eval and --test, or correct the list"
    )


def _meant(wanted: WantedSplits, name: str) -> Optional[str]:
    """The known split whose name differs by little, such as two letters in the wrong order."""
    word = name.lower()
    known = [split for splits in wanted.by_role.values() for split in splits] + list(SPLIT_NAMES)
    if word in known:
        return None
    return next(iter(suggestions.closest(word, known, is_typed=False)), None)


def _hold_out(by_role: Dict[str, Tuple[str, ...]], train: Iterable[Utterance]) -> Roles:
    """A tenth of the training utterances: whole speakers where these can make about a tenth, else drawn by id."""
    speakers: "Counter[Optional[str]]" = Counter()
    ranks = array("Q")
    for utterance in train:
        speakers[utterance.speaker] += 1
        ranks.append(_rank(utterance.id))
    total = len(ranks)
    if total < 2:
        return Roles(by_role, note="one utterance is too few to hold one out: there is no eval split")
    with_eval = {"train": by_role["train"], "eval": by_role["train"]}
    with_eval.update({role: names for role, names in by_role.items() if role != "train"})
    chosen = _pick_speakers(speakers, total)
    if chosen:
        held = sum(speakers[speaker] for speaker in chosen)
        note = f"no eval split: {held} of {total} training utterances are held out, all those of {_people(chosen)}"
        return Roles(with_eval, note, held_speakers=frozenset(chosen), held_out=True)
    held = max(1, round(_SHARE * total))
    note = f"no eval split: {held} of {total} training utterances, drawn at random, are held out ({_why(speakers)})"
    return Roles(with_eval, note, held_below=heapq.nsmallest(held + 1, ranks)[held], held_out=True)


def _pick_speakers(speakers: Mapping[Optional[str], int], total: int) -> List[str]:
    names = sorted((name for name in speakers if name is not None), key=lambda name: (_rank(name), name))
    if len(names) < max(_MIN_SPEAKERS, len(speakers)):
        return []
    chosen: List[str] = []
    held = 0
    for name in names:
        if held < _SHARE * total and held + speakers[name] <= _SHARE_RANGE[1] * total:
            chosen.append(name)
            held += speakers[name]
    return chosen if held >= _SHARE_RANGE[0] * total else []


def _why(speakers: Mapping[Optional[str], int]) -> str:
    known = sum(1 for name in speakers if name is not None)
    if known < len(speakers):
        return "the corpus does not name the speakers"
    return f"{amounts.count(known, 'speaker')} can not be parted so that about a tenth is held out"


def _people(names: List[str]) -> str:
    listed = ", ".join(sorted(names)[:3])
    more = ", ..." if len(names) > 3 else ""
    return f"speaker {listed}" if len(names) == 1 else f"{len(names)} speakers ({listed}{more})"


def _rank(name: str) -> int:
    """A number from 0 to 2^64 that has nothing to do with the name's place in the corpus."""
    hashed = hashlib.blake2b(_SALT + name.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(hashed.digest(), "big")
