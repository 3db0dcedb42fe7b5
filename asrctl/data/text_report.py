"""What the text rules did to a corpus, and what they left alone though nobody says it as it is written."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict

from asrctl.data.text import TextRules
from asrctl.events import Emit, Warned
from asrctl.messages import amounts

# Numbers in digits of any script, and what people put into brackets: [noise], <unk>, (laughs), {breath}.
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_TAG = re.compile(r"\[[^][]{1,60}\]|<[^<>]{1,60}>|\([^()]{1,60}\)|\{[^{}]{1,60}\}")
_DISTINCT = 1000
_MOST_NAMED, _MOST_TOLD = 20, 5


@dataclass
class LeftAlone:
    """How often something stands in how many utterances; forms: how often each, of the first thousand forms."""

    count: int = 0
    utterances: int = 0
    example: str = ""
    forms: "Counter[str]" = field(default_factory=Counter)

    def add(self, pattern: "re.Pattern[str]", text: str, identity: str) -> None:
        found = pattern.findall(text)
        if not found:
            return
        self.count += len(found)
        self.utterances += 1
        self.example = self.example or identity
        self.forms.update(form for form in found if form in self.forms or len(self.forms) < _DISTINCT)

    def as_dict(self) -> Dict[str, Any]:
        forms = sorted(self.forms.items(), key=lambda item: (-item[1], item[0]))
        return {
            "count": self.count,
            "utterances": self.utterances,
            "example": self.example or None,
            "most_frequent": dict(forms[:_MOST_NAMED]),
        }


@dataclass
class TextReport:
    """Counts over the utterances that have a role. used, holders: {rule of `replace`: times, utterances}."""

    used: "Counter[str]" = field(default_factory=Counter)
    holders: "Counter[str]" = field(default_factory=Counter)
    numbers: LeftAlone = field(default_factory=LeftAlone)
    tags: LeftAlone = field(default_factory=LeftAlone)

    def add(self, replaced: str, uses: "Counter[str]", identity: str) -> None:
        """replaced: a text with its replacements, before `remove`. uses: of the rules, in this text."""
        self.used.update(uses)
        self.holders.update(uses.keys())
        self.numbers.add(_NUMBER, replaced, identity)
        if not set("[<({").isdisjoint(replaced):
            self.tags.add(_TAG, replaced, identity)

    def as_dict(self, rules: TextRules) -> Dict[str, Any]:
        """JSON values. rules: those that the texts were read by."""
        table = [
            {"text": text, "replacement": value, "count": self.used[text], "utterances": self.holders[text]}
            for text, value in rules.replace.items()
        ]
        left = {"numbers": self.numbers.as_dict(), "tags": self.tags.as_dict()}
        return {"replacements": table, "left_alone": left}

    def warn(self, rules: TextRules, emit: Emit) -> None:
        """Of rules without effect, and of tags that `remove` makes words of."""
        idle = [text for text in rules.replace if not self.used[text]]
        if idle:
            shown = ", ".join(map(repr, idle[:_MOST_TOLD])) + (" ..." if len(idle) > _MOST_TOLD else "")
            emit(
                Warned(
                    f"{amounts.count(len(idle), 'replacement')} of {len(rules.replace)} "
                    f"{amounts.noun(len(idle), 'stands', 'stand')} in no text: {shown}"
                )
            )
        brackets = set(rules.as_dict()["remove"]) | set("[]<>(){}" if rules.phonemes is not None else "")
        tags = [tag for tag, _ in self.tags.forms.most_common() if {tag[0], tag[-1]} & brackets]
        if tags:
            shown = ", ".join(tags[:_MOST_TOLD]) + (" ..." if len(tags) > _MOST_TOLD else "")
            emit(
                Warned(
                    f"tags in brackets lose their brackets and are learned as words: {shown}; replace them by nothing "
                    "with --replace, or keep their brackets"
                )
            )
