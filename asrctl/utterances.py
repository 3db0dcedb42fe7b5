"""The Utterance record; manifests are JSON lines of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Optional

from asrctl.errors import BadData

ARCHIVE_SEPARATOR = "::"


@dataclass(frozen=True)
class Utterance:
    """One transcribed stretch of speech, before anything was decoded.

    audio: path of a file, or `archive.tar.gz::member`. start_s, end_s: the stretch of the file, in seconds; None is the
    file's start or end. text: the transcript as it stands in the corpus. speaker: None where the corpus does not say.
    sha256: digest of the audio file's bytes (for a member: of archive and name), filled in by the manifest stage.
    """

    id: str
    audio: str
    text: str
    split: str
    speaker: Optional[str] = None
    start_s: Optional[float] = None
    end_s: Optional[float] = None
    sha256: Optional[str] = None

    def as_dict(self) -> Dict[str, Any]:
        """Only what is set, in the order of the fields."""
        return {name: value for name, value in self.__dict__.items() if value is not None}


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
    with open(path, encoding="utf-8", errors="surrogatepass") as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield Utterance(**json.loads(line))
            except (TypeError, ValueError) as error:
                raise BadData(f"{path}, line {number} is damaged ({error})", fix="run `asrctl prepare` again") from None
