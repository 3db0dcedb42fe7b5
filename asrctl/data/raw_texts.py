"""The transcripts as they stand in the corpus, beside prepared data, for whoever scores against them.

`raw.jsonl` of a split has a line {"row", "text"} for each utterance whose text the rules changed, row being its place
in the shards; there is none where they changed none. Only Unicode's NFC and white space are as in every text.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Callable, Iterable, Iterator, Optional, Tuple

import numpy as np

from asrctl.data.rejects import Reject
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData
from asrctl.storage import files
from asrctl.storage.records import is_text

FILE = "raw.jsonl"
_FIX = "delete that folder and prepare the corpus again"


def raw(text: str) -> str:
    """A transcript with nothing changed that anybody sees."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def write(
    folder: Path, utterances: Iterable[Utterance], rejected: Iterable[Reject], learned: Callable[[str], str]
) -> int:
    """Into a split's folder; the number of texts that differ.

    utterances: of the split, in their order; rejected: those of them that were left out, in the same order. learned: a
    transcript -> what the shards hold of it.
    """
    count = 0
    path = folder / FILE
    with files.atomic_path(path) as temporary:
        with open(temporary, "w", encoding="utf-8", errors="replace") as stream:
            for row, utterance in enumerate(_kept(utterances, rejected)):
                text = raw(utterance.text)
                if text != learned(utterance.text):
                    stream.write(json.dumps({"row": row, "text": text}, ensure_ascii=False) + "\n")
                    count += 1
    if not count:
        path.unlink()
    return count


def _kept(utterances: Iterable[Utterance], rejected: Iterable[Reject]) -> Iterator[Utterance]:
    left = iter(rejected)
    reject = next(left, None)
    for utterance in utterances:
        if reject is not None and reject.id == utterance.id:
            reject = next(left, None)
        else:
            yield utterance


class RawTexts:
    """Those of a split, read when they are asked for: a place in the file is all that memory holds of each."""

    def __init__(self, folder: Path, utterances: int) -> None:
        """utterances: of the split. Raises BadData where the file is damaged."""
        self._path = folder / FILE
        self._starts = np.full(utterances, -1, dtype=np.int64)
        if not self._path.exists():
            return
        with files.open_regular(self._path, fix=_FIX) as stream:
            place = 0
            for line in stream:
                row, _ = self._read(line)
                self._starts[row] = place
                place += len(line)

    def text(self, row: int) -> Optional[str]:
        """None where it is what the shards hold. Raises BadData."""
        if self._starts[row] < 0:
            return None
        with files.open_regular(self._path, fix=_FIX) as stream:
            stream.seek(int(self._starts[row]))
            return self._read(stream.readline())[1]

    def _read(self, line: bytes) -> Tuple[int, str]:
        try:
            values = json.loads(line.decode("utf-8"))
            row, text = values["row"], values["text"]
            if type(row) is int and 0 <= row < len(self._starts) and isinstance(text, str) and is_text(text):
                return row, text
        except (ValueError, TypeError, KeyError, RecursionError):
            row = None
        raise BadData(f"{self._path} is damaged", fix=_FIX)
