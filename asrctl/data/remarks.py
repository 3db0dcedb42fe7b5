"""Recordings that are used with changes (a channel left out, say): their list and one line on each kind."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, NamedTuple

from asrctl.data import audio
from asrctl.errors import BadData
from asrctl.events import Emit, Warned
from asrctl.storage import files
from asrctl.storage.json_shape import misfit
from asrctl.storage.records import is_text

FILE = "remarks.jsonl"
_FIX = "delete that folder and prepare the corpus again"


class Remark(NamedTuple):
    """A line of `remarks.jsonl`. remark: one of audio.REMARKS."""

    id: str
    audio: str
    remark: str
    detail: str


def parsed(values: Any, where: str) -> Remark:
    """Raises BadData."""
    problem = misfit(values, dict.fromkeys(Remark._fields, str))
    if not problem and not all(is_text(values[name]) for name in Remark._fields):
        problem = "it holds half a character"
    if problem or len(values) != len(Remark._fields) or values["remark"] not in audio.REMARKS:
        raise BadData(f"{where} is not a remark ({problem or values.get('remark')})", fix=_FIX)
    return Remark(**values)


def write(folder: Path, found: Iterable[Remark]) -> None:
    """Into a split's folder; nothing where there are none."""
    found = iter(found)
    first = next(found, None)
    if first is None:
        return
    with files.atomic_path(folder / FILE) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        for remark in chain((first,), found):
            stream.write(json.dumps(remark._asdict(), ensure_ascii=False) + "\n")


def read(folder: Path) -> Iterator[Remark]:
    """Those of a split. Raises BadData."""
    path = folder / FILE
    if path.exists():
        for number, values in files.read_json_lines(path, fix=_FIX):
            yield parsed(values, f"{path}, line {number}")


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
