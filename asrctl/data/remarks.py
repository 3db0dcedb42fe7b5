"""Recordings that are used with changes (a channel left out, say): their list and one line on each kind."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Dict, Iterable, Iterator

from asrctl.data import audio
from asrctl.events import Emit, Warned
from asrctl.storage import files, records
from asrctl.storage.records import is_text

FILE = "remarks.jsonl"
_FIX = "delete that folder and prepare the corpus again"


@dataclass(frozen=True)
class Remark:
    """A line of `remarks.jsonl`. remark: one of audio.REMARKS."""

    id: str
    audio: str
    remark: str
    detail: str

    def __post_init__(self) -> None:
        if not all(map(is_text, vars(self).values())):
            raise ValueError("it holds half a character")
        if self.remark not in audio.REMARKS:
            raise ValueError(self.remark)


def write(folder: Path, found: Iterable[Remark]) -> None:
    """Into a split's folder; nothing where there are none."""
    found = iter(found)
    first = next(found, None)
    if first is None:
        return
    with files.atomic_path(folder / FILE) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        for remark in chain((first,), found):
            stream.write(json.dumps(records.as_dict(remark), ensure_ascii=False) + "\n")


def read(folder: Path) -> Iterator[Remark]:
    """Those of a split. Raises BadData."""
    path = folder / FILE
    if path.exists():
        for number, values in files.read_json_lines(path, fix=_FIX):
            yield records.read(Remark, values, f"{path}, line {number} is not a remark", fix=_FIX)


def tell(folder: Path, emit: Emit) -> Dict[str, int]:
    """A warning of each kind among those of a split, with an example; {remark: utterances}. Raises BadData."""
    counts: "Counter[str]" = Counter()
    examples: Dict[str, Remark] = {}
    for found in read(folder):
        counts[found.remark] += 1
        examples.setdefault(found.remark, found)
    for name, count in sorted(counts.items()):
        first = examples[name]
        emit(Warned(f"{folder.name}: {count} x {name}, such as {first.audio} ({first.detail}): {audio.REMARKS[name]}"))
    return dict(sorted(counts.items()))
