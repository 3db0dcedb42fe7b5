"""Splits in the syntax of the datasets library: `train`, `train+validation`, `train[:10%]`, `train[100:200]`."""

from __future__ import annotations

import re
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from asrctl.errors import BadData, UsageError
from asrctl.messages import reasons

_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


class Part(NamedTuple):
    """Rows of a split of the repository, from `start` to before `stop`; None: all that are left."""

    split: str
    start: int = 0
    stop: Optional[int] = None


def planned(
    typed: Sequence[str], known: Sequence[str], rows: Callable[[str], int], label: str
) -> Dict[str, List[Part]]:
    """{what was typed: the rows that it means}. known: the repository's splits; rows: how many one has, asked where it
    is taken in parts only. Raises BadData for a split that is not there, UsageError for rows that are meant twice."""
    found: Dict[str, List[Part]] = {}
    for text in typed:
        missing = [name for name in named(text) if name not in known]
        if missing:
            raise BadData(
                f"{label} has no split {', '.join(missing)} (it has {', '.join(known) or 'none'})",
                fix=f"choose the splits, such as `--train {known[0]}`" if known else "check what the repository holds",
            )
        found[text] = _parts(text, rows)
    _refuse_twice(found)
    return found


def named(text: str) -> List[str]:
    """The splits that what was typed is made of."""
    return [piece.partition("[")[0].strip() for piece in text.split("+")]


def _parts(text: str, rows: Callable[[str], int]) -> List[Part]:
    """Raises UsageError."""
    if "[" not in text and "(" not in text:
        return [Part(name) for name in named(text)]
    import datasets

    try:
        instruction = datasets.ReadInstruction.from_spec(text)
        counts = {name: rows(name) for name in named(text)}
        absolute = instruction.to_absolute(counts)
    except (AssertionError, ValueError, KeyError, TypeError) as error:
        why = reasons.first_line(error, 100)
        raise UsageError(
            f"{text!r} can not be the rows of a split ({why})",
            fix="write it as train[:10%], train[100:200] or train[:10%]+validation",
        ) from None
    return [
        Part(one.splitname, one.from_ or 0, counts[one.splitname] if one.to is None else one.to) for one in absolute
    ]


def _refuse_twice(found: Mapping[str, Sequence[Part]]) -> None:
    """Raises UsageError where the same row would be read twice."""
    by_split: Dict[str, List[tuple]] = {}
    for text, parts in found.items():
        for part in parts:
            stop = float("inf") if part.stop is None else part.stop
            if part.start < stop:
                by_split.setdefault(part.split, []).append((part.start, stop, text))
    for split, spans in by_split.items():
        spans.sort(key=lambda span: span[:2])
        for (_, stop, one), (start, _, other) in zip(spans, spans[1:]):
            if start < stop:
                both = f"{one} holds rows of {split} twice" if one == other else f"{one} and {other} share rows"
                raise UsageError(both, fix="name each row once, such as --train 'train[:90%]' --eval 'train[90%:]'")
