"""A reference with the hypothesis below it, word under word, and what differs marked."""

from __future__ import annotations

from typing import List, Sequence, Tuple

from asrctl.evaluation.metrics import align, align_characters
from asrctl.reports.page import Html, element, joined

# Longer texts are cut: nobody reads on, and pages have to stay small.
_MOST = 120
# Texts of fewer words than one in so many characters have words that no space parts.
_CHARACTERS_PER_WORD = 16
_NOTHING = "\u2205"


def aligned(reference: str, hypothesis: str) -> Html:
    """Marked by more than color: what differs has two lines, the reference above."""
    pairs, between = _pairs(reference, hypothesis)
    parts: List[Html] = [_pair(*pair) for pair in pairs[:_MOST]]
    if len(pairs) > _MOST:
        parts.append(Html("\u2026"))
    return element("div", joined(parts, between), class_="aligned", dir="auto")


def _pairs(reference: str, hypothesis: str) -> Tuple[Sequence[Tuple[str, str]], str]:
    if len(reference) > _CHARACTERS_PER_WORD * max(1, len(reference.split())):
        return align_characters(reference, hypothesis), ""
    return align(reference, hypothesis), " "


def _pair(left: str, right: str) -> Html:
    if left == right:
        return element("span", left)
    kind = "substituted" if left and right else "deleted" if left else "inserted"
    above, below = (element(name, word or _NOTHING) for name, word in (("del", left), ("ins", right)))
    return element("span", joined([above, below], ""), class_=f"wrong {kind}", title=kind)
