"""The Utterance record; manifests are JSON lines of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Optional, Tuple

from asrctl.errors import BadData
from asrctl.storage import files, records

ARCHIVE_SEPARATOR = "::"
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")
# Tables with recordings in their cells: `FILE.parquet::COLUMN::ROW`, see data/reading/embedded.py.
TABLE_SUFFIXES = (".parquet", ".arrow")


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
    speaker: Optional[str] = records.absent()
    start_s: Optional[float] = records.absent()
    end_s: Optional[float] = records.absent()
    sha256: Optional[str] = records.absent()
    channel: Optional[int] = records.absent()

    def as_dict(self) -> Dict[str, Any]:
        """Only what is set, in the order of the fields: as records.as_dict, which is slow for millions of them."""
        return {name: value for name, value in vars(self).items() if value is not None}


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
    encode = json.JSONEncoder(ensure_ascii=False).encode
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as stream:  # file names need not be UTF-8
        for utterance in utterances:
            stream.write(encode(utterance.as_dict()) + "\n")
            count += 1
    return count


def read_manifest(path: Path, first: int = 0) -> Iterator[Utterance]:
    """The utterances of a manifest that `write_manifest` wrote, from number `first` on. Raises BadData."""
    fix = "prepare the corpus again"
    for number, values in files.read_json_lines(path, fix=fix, first=first):
        if _is_plain(values):
            yield Utterance(**values)
            continue
        damaged = f"{path}, line {number} is damaged"
        found = records.read(Utterance, values, damaged, fix=fix)
        unknown = values.keys() - vars(found)  # it may say that other samples are meant
        if unknown:
            raise BadData(f"{damaged} ({', '.join(f'{key} is unknown' for key in sorted(unknown))})", fix=fix)
        yield found


# The types that values have in a manifest, by key.
_TYPES = {
    **dict.fromkeys(("id", "audio", "text", "split", "speaker", "sha256"), (str,)),
    **dict.fromkeys(("start_s", "end_s"), (float,)),
}
_ALWAYS = {"id", "audio", "text", "split"}


def _is_plain(values: Any) -> bool:
    """Whether a line is as `write_manifest` writes all of them, so that nothing has to be looked at more closely.

    Manifests are read several times; records.read takes ten times as long.
    """
    if type(values) is not dict or not values.keys() >= _ALWAYS:
        return False
    return all(type(value) in _TYPES.get(key, ()) for key, value in values.items())
