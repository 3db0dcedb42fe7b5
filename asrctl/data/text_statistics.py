"""Statistics of a corpus' transcripts: characters by split, and what people should know of them."""

from __future__ import annotations

import hashlib
import shlex
import unicodedata
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from asrctl.data import glyphs
from asrctl.data.split_roles import Roles
from asrctl.data.subwords import SubwordEncoder
from asrctl.data.text import CASES, TextRules, Vocabulary
from asrctl.data.text_report import TextReport
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData, UsageError
from asrctl.events import Emit, Warned
from asrctl.messages import amounts
from asrctl.storage.hashing import canonical_json

MAX_UNKNOWN_SHARE = 0.01
# A single split is judged by itself only where its unknown characters are more than a stray letter.
_FEW = 10


@dataclass
class Group:
    """The transcripts of one corpus split in one role, after the text rules.

    characters: {character: count}; holders: {character: utterances that hold it}; examples: {character: id of one}.
    """

    utterances: int = 0
    characters: "Counter[str]" = field(default_factory=Counter)
    holders: "Counter[str]" = field(default_factory=Counter)
    examples: Dict[str, str] = field(default_factory=dict)
    delimiters: int = 0


# Role (None without one) and corpus split.
GroupKey = Tuple[Optional[str], str]


@dataclass
class Scan:
    """One pass over a listing. digests: {role: sha256 of what it is}. report: what the text rules did."""

    groups: Dict[GroupKey, Group]
    digests: Dict[str, str]
    report: TextReport = field(default_factory=TextReport)

    def named(self, names: Sequence[str]) -> List[GroupKey]:
        """The groups of the roles or corpus splits called `names`. Raises UsageError."""
        found: List[GroupKey] = []
        for name in names:
            meant = [key for key in self.groups if key[0] == name] or [key for key in self.groups if key[1] == name]
            if not meant:
                known = dict.fromkeys([role for role, _ in self.groups if role] + [split for _, split in self.groups])
                raise UsageError(f"there is no split {name!r} (there are {', '.join(known)})", fix="correct --splits")
            found.extend(meant)
        return found

    def characters(self, names: Sequence[str]) -> "Counter[str]":
        """Characters of the roles or corpus splits called `names`. Raises UsageError."""
        counts: "Counter[str]" = Counter()
        for key in self.named(names):
            counts.update(self.groups[key].characters)
        return counts

    def without(self, characters: Iterable[str], names: Sequence[str]) -> "Scan":
        """The same, as if the roles or corpus splits called `names` did not hold these characters."""
        gone, keys = set(characters), self.named(names)
        kept = {key: _without(group, gone) if key in keys else group for key, group in self.groups.items()}
        return Scan(kept, self.digests, self.report)

    def by_name(self) -> Dict[str, Group]:
        """Groups under the name of their role, or of the corpus split where they have none."""
        merged: Dict[str, Group] = {}
        for (role, split), group in self.groups.items():
            into = merged.setdefault(role or split, Group())
            into.utterances += group.utterances
            into.characters.update(group.characters)
            into.holders.update(group.holders)
            into.delimiters += group.delimiters
        return merged

    def utterances(self, role: str) -> int:
        return sum(group.utterances for (name, _), group in self.groups.items() if name == role)

    @property
    def delimiters(self) -> int:
        """How often the word delimiter stands in the text itself."""
        return sum(group.delimiters for group in self.groups.values())


def _without(group: Group, gone: Set[str]) -> Group:
    characters = Counter({one: count for one, count in group.characters.items() if one not in gone})
    holders = Counter({one: count for one, count in group.holders.items() if one not in gone})
    return replace(group, characters=characters, holders=holders)


def scan(utterances: Iterable[Utterance], roles: Roles, rules: TextRules) -> Scan:
    """Count characters and, for each role, digest everything about its utterances but where they lie."""
    groups: Dict[GroupKey, Group] = {}
    hashers: Dict[str, Any] = {role: hashlib.sha256() for role in roles.names}
    report = TextReport()
    for utterance in utterances:
        role = roles.of(utterance)
        if utterance.id in roles.dropped:
            continue
        group = groups.setdefault((role, utterance.split), Group())
        group.utterances += 1
        uses: "Counter[str]" = Counter()
        replaced = rules.replaced(utterance.text, uses)
        text = rules.finished(replaced)
        units = rules.units(text)
        group.characters.update(units)
        held = set(units)
        group.holders.update(held)
        if not held <= group.examples.keys():
            group.examples.update(dict.fromkeys(held - group.examples.keys(), utterance.id))
        group.delimiters += utterance.text.count(rules.word_delimiter)
        if role is not None:
            report.add(replaced, uses, utterance.id)
            hashers[role].update(canonical_json(_identity(utterance)) + b"\n")
    return Scan(groups, {role: hasher.hexdigest() for role, hasher in hashers.items()}, report)


def _identity(utterance: Utterance) -> List[Any]:
    channel = [] if utterance.channel is None else [utterance.channel]
    return [
        utterance.id,
        utterance.sha256,
        utterance.text,
        utterance.speaker,
        utterance.start_s,
        utterance.end_s,
        *channel,
    ]


def unknown_characters(characters: Mapping[str, int], vocabulary: Vocabulary) -> "Counter[str]":
    if vocabulary.subwords is not None:
        encode = SubwordEncoder(vocabulary.subwords, vocabulary.unk_id)
        return Counter({character: count for character, count in characters.items() if not encode.knows(character)})
    has_border = vocabulary.word_delimiter is not None or vocabulary.phones
    known = {*vocabulary.letters, *([" "] if has_border else [])}
    return Counter({character: count for character, count in characters.items() if character not in known})


def excess(scanned: Scan, vocabulary: Vocabulary, splits: Sequence[str]) -> Optional[Tuple[str, "Counter[str]"]]:
    """What has more than one in a hundred beyond the vocabulary, in words, and its characters; None if nothing has."""
    groups = {name: group for name, group in scanned.by_name().items() if name in splits}
    parts = [("the transcripts", _all(groups.values()), 1)]
    parts += [(f"the {name} split", group.characters, _FEW) for name, group in groups.items()]
    for what, characters, at_least in parts:
        count = sum(unknown_characters(characters, vocabulary).values())
        if count >= at_least and count > MAX_UNKNOWN_SHARE * sum(characters.values()):
            return what, characters
    return None


def _all(groups: Iterable[Group]) -> "Counter[str]":
    everything: "Counter[str]" = Counter()
    for group in groups:
        everything.update(group.characters)
    return everything


def check_unknown(
    scanned: Scan,
    vocabulary: Vocabulary,
    rules: TextRules,
    emit: Emit,
    *,
    splits: Sequence[str],
    named: Optional[str] = None,
) -> None:
    """Tell of characters that the vocabulary does not hold. Raises BadData above one in a hundred.

    named: how the vocabulary was named, if so; its rules then hold, and no option changes them.
    """
    found = excess(scanned, vocabulary, splits)
    if found is not None:
        what, characters = found
        unknown = unknown_characters(characters, vocabulary)
        raise BadData(
            f"{100 * sum(unknown.values()) / sum(characters.values()):.1f} % of the characters in {what} are not in the"
            f" vocabulary ({describe(unknown)}); at most 1 % may be",
            fix=_fix_unknown(characters, vocabulary, rules, splits) if named is None else _fix_named(named),
        )
    groups = scanned.by_name()
    if vocabulary.unk is None and "train" in splits and "train" in groups:
        _refuse_unlabeled(groups["train"].characters, vocabulary)
    unknown = unknown_characters(_all(group for name, group in groups.items() if name in splits), vocabulary)
    if unknown:
        emit(
            Warned(
                f"{amounts.count(sum(unknown.values()), 'character is', 'characters are')} not in the vocabulary: "
                f"{describe(unknown)}"
            )
        )


def _refuse_unlabeled(characters: Mapping[str, int], vocabulary: Vocabulary) -> None:
    """Raises BadData where training would hear characters that have no label."""
    unknown = unknown_characters(characters, vocabulary)
    if unknown:
        raise BadData(
            f"the vocabulary has no token for unknown characters, and the train split holds {describe(unknown)}",
            fix="drop them with --remove, or build a vocabulary of your own with `asrctl vocab CORPUS`, without --from",
        )


def _fix_named(vocabulary: str) -> str:
    return f"leave out --vocab {vocabulary}, so that one is built of these transcripts, or choose another"


def _fix_unknown(characters: Mapping[str, int], vocabulary: Vocabulary, rules: TextRules, splits: Sequence[str]) -> str:
    for case in CASES if rules.phonemes is None else ():
        changed: "Counter[str]" = Counter()
        for character, count in characters.items():
            cased = character.lower() if case == "lower" else character.upper() if case == "upper" else character
            changed.update(dict.fromkeys(cased, count))
        lacking, total = sum(unknown_characters(changed, vocabulary).values()), sum(changed.values())
        if case not in (rules.case, "keep") and lacking <= MAX_UNKNOWN_SHARE * total:
            return f"use --case {case}: the vocabulary is in {case} case"
    build = f"build the vocabulary from these splits (`asrctl vocab CORPUS --splits {','.join(splits)}`)"
    unknown = unknown_characters(characters, vocabulary)
    if rules.phonemes is not None or any(
        glyphs.kind(character) in ("letter", "mark", "digit") for character in unknown
    ):
        return build
    return (
        f"leave these characters out with `--remove {shlex.quote(glyphs.typed({*unknown, *rules.remove}))}`, or {build}"
    )


def describe(counts: Mapping[str, int], most: int = 12) -> str:
    """{"é": 3} -> "'é' U+00E9 x3", the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    parts = [glyphs.counted(character, count) for character, count in ordered[:most]]
    return ", ".join(parts) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")


def combining_characters(characters: Mapping[str, int]) -> Dict[str, int]:
    """Marks that NFC could not merge with their letter: each is a label of its own."""
    return {
        c: n for c, n in sorted(characters.items()) if len(c) == 1 and unicodedata.category(c) in ("Mn", "Mc", "Me")
    }
