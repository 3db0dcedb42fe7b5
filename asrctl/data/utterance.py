"""The Utterance record; manifests are JSON lines of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Tuple

from asrctl.errors import BadData
from asrctl.storage import files
from asrctl.storage.json_shape import NUMBER, misfit

ARCHIVE_SEPARATOR = "::"
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")
# Tables with recordings in their cells: `FILE.parquet::COLUMN::ROW`, see data/reading/embedded.py.
TABLE_SUFFIXES = (".parquet", ".arrow")
_SHAPE = {
    "id": str, "audio": str, "text": str, "split": str, "speaker?": str, "start_s?": NUMBER, "end_s?": NUMBER,
    "sha256?": str, "channel?": int,
}  # fmt: skip
_KEYS = {key.rstrip("?") for key in _SHAPE}


@dataclass(frozen=True)
class Utterance:
    """One transcribed stretch of speech, before anything was decoded.

    audio: path of a file, or `archive.tar.gz::member`, or `table.parquet::column::row`. start_s, end_s: the stretch of
    the file, in seconds; None is the file's start or end. text: the transcript as it stands in the corpus. speaker:
    None where the corpus does not say.
    sha256: digest of the bytes of the audio file or cell (for a member: of archive and name), filled in by the manifest
    stage.
    channel: the one that is meant, counted from 0; None is the mean of all.
    """

    id: str
    audio: str
    text: str
    split: str
    speaker: Optional[str] = None
    start_s: Optional[float] = None
    end_s: Optional[float] = None
    sha256: Optional[str] = None
    channel: Optional[int] = None

    def as_dict(self) -> Dict[str, Any]:
        """Only what is set, in the order of the fields."""
        return {name: value for name, value in self.__dict__.items() if value is not None}


def misfit_of(values: Mapping[str, Any]) -> Optional[str]:
    """What keeps values from being those of an utterance, or None."""
    return misfit(values, _SHAPE)


def split_path(audio: str) -> Tuple[str, Optional[str]]:
    """An utterance's `audio` -> (file, None), or (archive, member), or (table, "column::row")."""
    container, separator, member = audio.partition(ARCHIVE_SEPARATOR)
    holds_others = container.endswith(ARCHIVE_SUFFIXES + TABLE_SUFFIXES)
    return (container, member) if separator and holds_others else (audio, None)


def is_table(container: str) -> bool:
    """Whether what holds recordings is a table of them, no archive."""
    return container.endswith(TABLE_SUFFIXES)


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> int:
    """Write JSON lines to `path` as they come, in flat memory; the number of utterances."""
    count = 0
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as stream:  # file names need not be UTF-8
        for utterance in utterances:
            stream.write(json.dumps(utterance.as_dict(), ensure_ascii=False) + "\n")
            count += 1
    return count


def read_manifest(path: Path) -> Iterator[Utterance]:
    """The utterances of a manifest that `write_manifest` wrote. Raises BadData."""
    fix = "prepare the corpus again"
    for number, values in files.read_json_lines(path, fix=fix):
        problem = misfit_of(values) or ", ".join(f"{key} is unknown" for key in set(values) - _KEYS)
        if problem:
            raise BadData(f"{path}, line {number} is damaged ({problem})", fix=fix)
        yield Utterance(**values)
