"""What the transcripts of a corpus hold: characters by split, and what in them deserves a word."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from asrctl.errors import BadData, UsageError
from asrctl.events import Emit, Warned
from asrctl.fingerprint import canonical_json
from asrctl.stages.roles import Roles
from asrctl.text import CASES, TextRules, Vocabulary
from asrctl.utterances import Utterance

MAX_UNKNOWN_SHARE = 0.01
# A single split is judged by itself only where its unknown characters are more than a stray letter.
_FEW = 10


@dataclass
class Group:
    """The transcripts of one corpus split in one role, after the text rules."""

    utterances: int = 0
    characters: "Counter[str]" = field(default_factory=Counter)
    delimiters: int = 0


@dataclass
class Scan:
    """One pass over a listing. groups: {(role or None, corpus split): Group}; digests: {role: sha256 of what it is}."""

    groups: Dict[Tuple[Optional[str], str], Group]
    digests: Dict[str, str]

    def characters(self, names: Sequence[str]) -> "Counter[str]":
        """Characters of the roles or corpus splits called `names`. Raises UsageError."""
        counts: "Counter[str]" = Counter()
        for name in names:
            found = [group for (role, split), group in self.groups.items() if name == role]
            found = found or [group for (role, split), group in self.groups.items() if name == split]
            if not found:
                known = dict.fromkeys([role for role, _ in self.groups if role] + [split for _, split in self.groups])
                raise UsageError(f"there is no split {name!r} (there are {', '.join(known)})", fix="correct --splits")
            for group in found:
                counts.update(group.characters)
        return counts

    def by_name(self) -> Dict[str, Group]:
        """Groups under the name of their role, or of the corpus split where they have none."""
        merged: Dict[str, Group] = {}
        for (role, split), group in self.groups.items():
            into = merged.setdefault(role or split, Group())
            into.utterances += group.utterances
            into.characters.update(group.characters)
            into.delimiters += group.delimiters
        return merged

    def utterances(self, role: str) -> int:
        return sum(group.utterances for (name, _), group in self.groups.items() if name == role)

    @property
    def delimiters(self) -> int:
        """How often the word delimiter stands in the text itself."""
        return sum(group.delimiters for group in self.groups.values())


def scan(utterances: Iterable[Utterance], roles: Roles, rules: TextRules) -> Scan:
    """Count characters and, for each role, digest everything about its utterances but where they lie."""
    groups: Dict[Tuple[Optional[str], str], Group] = {}
    hashers: Dict[str, Any] = {role: hashlib.sha256() for role in roles.names}
    for utterance in utterances:
        role = roles.of(utterance)
        group = groups.setdefault((role, utterance.split), Group())
        group.utterances += 1
        group.characters.update(rules.apply(utterance.text))
        group.delimiters += utterance.text.count(rules.word_delimiter)
        if role is not None:
            hashers[role].update(canonical_json(_identity(utterance)) + b"\n")
    return Scan(groups, {role: hasher.hexdigest() for role, hasher in hashers.items()})


def _identity(utterance: Utterance) -> List[Any]:
    return [
        utterance.id,
        utterance.sha256,
        utterance.text,
        utterance.speaker,
        utterance.start_s,
        utterance.end_s,
    ]


def unknown_characters(characters: Mapping[str, int], vocabulary: Vocabulary) -> "Counter[str]":
    known = {*vocabulary.letters, *([] if vocabulary.word_delimiter is None else [" "])}
    return Counter({character: count for character, count in characters.items() if character not in known})


def check_unknown(
    scanned: Scan, vocabulary: Vocabulary, rules: TextRules, emit: Emit, *, splits: Sequence[str]
) -> None:
    """Tell of characters that the vocabulary does not hold. Raises BadData above one in a hundred."""
    groups = {name: group for name, group in scanned.by_name().items() if name in splits}
    everything: "Counter[str]" = Counter()
    for group in groups.values():
        everything.update(group.characters)
    parts = [("the transcripts", everything, 1)]
    parts += [(f"the {name} split", group.characters, _FEW) for name, group in groups.items()]
    for what, characters, at_least in parts:
        unknown, total = unknown_characters(characters, vocabulary), sum(characters.values())
        count = sum(unknown.values())
        if count >= at_least and count > MAX_UNKNOWN_SHARE * total:
            raise BadData(
                f"{100 * count / total:.1f} % of the characters in {what} are not in the vocabulary"
                f" ({describe(unknown)}); at most 1 % may be",
                fix=_fix_unknown(characters, vocabulary, rules),
            )
    if vocabulary.unk is None and "train" in groups:
        _refuse_unlabeled(groups["train"].characters, vocabulary)
    unknown = unknown_characters(everything, vocabulary)
    if unknown:
        emit(Warned(f"{sum(unknown.values())} characters are not in the vocabulary: {describe(unknown)}"))


def _refuse_unlabeled(characters: Mapping[str, int], vocabulary: Vocabulary) -> None:
    """Raises BadData where training would hear characters that have no label."""
    unknown = unknown_characters(characters, vocabulary)
    if unknown:
        raise BadData(
            f"the vocabulary has no token for unknown characters, and the train split holds {describe(unknown)}",
            fix="drop them with --remove, or build a vocabulary of your own with `asrctl vocab`, without --from",
        )


def _fix_unknown(characters: Mapping[str, int], vocabulary: Vocabulary, rules: TextRules) -> str:
    for case in CASES:
        changed: "Counter[str]" = Counter()
        for character, count in characters.items():
            cased = character.lower() if case == "lower" else character.upper() if case == "upper" else character
            changed.update(dict.fromkeys(cased, count))
        unknown, total = sum(unknown_characters(changed, vocabulary).values()), sum(changed.values())
        if case not in (rules.case, "keep") and unknown <= MAX_UNKNOWN_SHARE * total:
            return f"use --case {case}: the vocabulary is in {case} case"
    return "drop the characters with --remove, or build the vocabulary from these splits (`asrctl vocab ... --splits`)"


def describe(counts: Mapping[str, int], most: int = 12) -> str:
    """{"é": 3} -> "'é' U+00E9 x3", the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{character!r} {code_points(character)} x{count}" for character, count in ordered[:most]]
    return ", ".join(parts) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")


def code_points(text: str) -> str:
    return "+".join(f"U+{ord(character):04X}" for character in text)


def combining_characters(characters: Mapping[str, int]) -> Dict[str, int]:
    """Marks that NFC could not merge with their letter: each is a label of its own."""
    return {c: n for c, n in sorted(characters.items()) if unicodedata.category(c) in ("Mn", "Mc", "Me")}
