"""The characters that become labels, and what people want to know of them before: signs, what nobody sees, rarities.

A model learns a sound for each label. Most signs have none, and nobody sees a space of no width.
"""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from asrctl.data import glyphs, text_statistics
from asrctl.data.split_roles import Roles
from asrctl.data.text import TextRules
from asrctl.data.utterance import Utterance
from asrctl.events import Emit, Warned
from asrctl.messages import command_lines

# A letter in so few utterances, or in one of a thousand, is hardly learned, and often a slip.
_RARE, _RARE_SHARE = 2, 0.001
_RARE_AMONG = 50
_MOST_NOTABLE = 200
_MOST_TOLD = 8
# Marks within words, such as in "don't"; as quotation marks they are few where others are many.
_APOSTROPHES = "'\u2019"


class Notable(NamedTuple):
    """A character that is no letter, or rare. utterances: that hold it; example: the id of one of them."""

    character: str
    kind: str
    count: int  # type: ignore[assignment]
    utterances: int
    example: str
    is_rare: bool = False

    def as_dict(self) -> Dict[str, Any]:
        named = {"code_point": glyphs.code_point(self.character), "name": glyphs.name(self.character)}
        return {**self._asdict(), **named}


@dataclass(frozen=True)
class Alphabet:
    """counts: {character: count} of all labels. notable: those that are no letters, then rare letters.

    removed: characters that are left out already. signs, unseen: that should be as well, of all splits.
    """

    counts: Mapping[str, int]
    notable: Tuple[Notable, ...]
    removed: str = ""
    signs: Tuple[Notable, ...] = ()
    unseen: Tuple[Notable, ...] = ()
    mixed: "Optional[Mixed]" = None

    @property
    def remove(self) -> str:
        """All that should be left out; nothing where that is nothing new."""
        return self._with(*self.signs, *self.unseen)

    def _with(self, *more: Notable) -> str:
        new = {found.character for found in more if glyphs.can_be_typed(found.character)}
        return "".join(sorted(new | set(self.removed))) if new else ""

    def told(self, words: Sequence[str], *, proposes: bool = True) -> Dict[str, Any]:
        """JSON values of all this.

        words: of the command that was typed. proposes: whether that command may leave characters out.
        """
        return {
            "characters": dict(self.counts),
            "notable": [found.as_dict() for found in self.notable[:_MOST_NOTABLE]],
            "proposal": self._proposal(words) if proposes and self.remove else None,
        }

    def _proposal(self, words: Sequence[str]) -> Dict[str, Any]:
        kept = command_lines.without(words, ("--remove",), ("--json", "--verbose", "--dry-run", "--force"))
        return {
            "remove": self.remove,
            "option": _option(self.remove),
            "preset": f"text: {{remove: {glyphs.quoted(self.remove)}}}",
            "command": command_lines.shown((*kept, "--remove", glyphs.typed(self.remove))) if kept else None,
        }

    def warn(self, emit: Emit, *, proposes: bool = True) -> None:
        """Of what nobody sees, and of letters that look like others."""
        if self.unseen:
            told = text_statistics.describe({found.character: found.count for found in self.unseen}, _MOST_TOLD)
            option = _option(self._with(*self.unseen)) if proposes else None
            cure = f"; `{option}` leaves them out" if option else "; correct the transcripts"
            emit(Warned(f"nobody sees some characters of the texts, such as in {self.unseen[0].example}: {told}{cure}"))
        if self.mixed is not None:
            emit(Warned(self.mixed.sentence()))


def _option(characters: str) -> Optional[str]:
    """What is typed to leave them out."""
    return f"--remove {shlex.quote(glyphs.typed(characters))}" if characters else None


@dataclass
class Mixed:
    """Words whose letters are of scripts that look alike. common: {script: letters in all texts}."""

    common: Mapping[str, int]
    words: int = 0
    example: str = ""
    letters: "Counter[str]" = field(default_factory=Counter)

    def add(self, word: str, identity: str) -> None:
        scripts = Counter(script for script in map(glyphs.script, word) if script)
        if len(scripts) < 2:
            return
        self.words += 1
        self.example = self.example or identity
        usual = max(scripts, key=lambda script: (scripts[script], self.common.get(script, 0)))
        self.letters.update(letter for letter in word if glyphs.script(letter) not in (None, usual))

    def sentence(self) -> str:
        told = ", ".join(
            f"{glyphs.code_point(letter)} x{count} ({glyphs.name(letter)})"
            for letter, count in self.letters.most_common(_MOST_TOLD)
        )
        words = "1 word mixes" if self.words == 1 else f"{self.words} words mix"
        return f"{words} letters of scripts that look alike, such as in {self.example}: {told}; correct the transcripts"


def examine(
    scanned: text_statistics.Scan,
    splits: Sequence[str],
    utterances: Iterable[Utterance],
    assigned: Roles,
    text: TextRules,
) -> Alphabet:
    """splits: whose characters become labels. utterances: of the corpus; read where scripts may be mixed."""
    used = [key for key in scanned.groups if key[0] is not None]
    labels = scanned.characters(splits)
    everywhere = _notable(scanned, used)
    notable = _notable(scanned, scanned.named(splits))
    total = sum(scanned.groups[key].utterances for key in scanned.named(splits))
    few = _few(total)
    letters = [found.character for found in everywhere if found.kind == "letter"]
    unseen = [
        found for found in everywhere if found.kind == "unseen" and not glyphs.is_spelling(found.character, letters)
    ]
    return Alphabet(
        counts=dict(sorted(labels.items(), key=lambda item: (-item[1], item[0]))),
        notable=tuple(_odd(notable, few) + _rare(notable, few if total >= _RARE_AMONG else 0)),
        removed=text.as_dict()["remove"],
        signs=tuple(found for found in notable if found.kind == "sign" and found.character not in _APOSTROPHES),
        unseen=tuple(unseen),
        mixed=_mixed(everywhere, utterances, assigned, text) if text.phonemes is None else None,
    )


def _notable(scanned: text_statistics.Scan, keys: Sequence[text_statistics.GroupKey]) -> List[Notable]:
    """Every character of these groups but the space, the most frequent first."""
    counts: "Counter[str]" = Counter()
    holders: "Counter[str]" = Counter()
    examples: Dict[str, str] = {}
    for key in keys:
        group = scanned.groups[key]
        counts.update(group.characters)
        holders.update(group.holders)
        examples = {**group.examples, **examples}
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        Notable(character, glyphs.kind(character), count, holders[character], examples.get(character, ""))
        for character, count in ordered
        if character != " "
    ]


def _few(total: int) -> int:
    """Utterances, of `total`, that make no character more than rare."""
    return max(_RARE, int(_RARE_SHARE * total)) if total >= _RARE_AMONG else 1


def _odd(found: Iterable[Notable], few: int) -> List[Notable]:
    return [one._replace(is_rare=one.utterances <= few) for one in found if one.kind != "letter"]


def _rare(found: Iterable[Notable], few: int) -> List[Notable]:
    """Letters, the rarest first."""
    letters = [one for one in found if one.kind == "letter" and one.utterances <= few]
    return [one._replace(is_rare=True) for one in reversed(letters)]


def _mixed(
    found: Iterable[Notable], utterances: Iterable[Utterance], assigned: Roles, text: TextRules
) -> Optional[Mixed]:
    common: "Counter[str]" = Counter()
    for one in found:
        common.update({glyphs.script(one.character) or "": one.count})
    if len(set(common) - {""}) < 2:
        return None
    mixed = Mixed(common)
    for utterance in utterances:
        if assigned.of(utterance) is not None:
            for word in text.apply(utterance.text).split():
                mixed.add(word, utterance.id)
    return mixed if mixed.words else None
