"""Where the recordings of a data set lie: in the cells of its tables, or in files that these name."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional, Sequence, Tuple

from asrctl.data.corpus import CorpusRequest
from asrctl.data.reading import embedded, recording_paths
from asrctl.data.reading.columnar import ColumnarFile
from asrctl.data.reading.hub.columns import BYTES, PATH, Chosen
from asrctl.data.reading.hub.repository import Repository
from asrctl.storage.remote.mirror import Mirror


class Places:
    """Finds the files that tables name, and keeps account of how."""

    def __init__(self, repository: Repository, remote: Optional[Mirror]) -> None:
        self._repository = repository
        self._paths = recording_paths.Places(remote=remote)

    def addresses(self, file: ColumnarFile, name: str, chosen: Chosen) -> "Addresses":
        """Those of the recordings of one table. name: of its file in the repository."""
        return Addresses(self, file, name, chosen)

    def find(self, table: Path, name: str, written: str) -> str:
        """The path of a recording that a table names. Raises MissingArtifact where it can not be fetched."""
        for inside in (posixpath.join(posixpath.dirname(name), written), written):
            if posixpath.normpath(inside) in self._repository.names:
                return str(self._repository.get(posixpath.normpath(inside)))
        folder, top = str(table.parent), str(table)[: -len(name)]
        if top and str(table).endswith(name) and os.access(os.path.join(top, written), os.F_OK):
            folder = top
        return self._paths.find(folder, written)

    def tell(self, request: CorpusRequest) -> None:
        self._paths.tell(request.emit, request.hint)


class Addresses:
    """Of the recordings of one table. columns: those that must be read for it."""

    def __init__(self, places: Places, file: ColumnarFile, name: str, chosen: Chosen) -> None:
        self._places = places
        self._file = file
        self._name = name
        self._chosen = chosen
        inside = chosen.form == BYTES and file.is_empty(chosen.audio, "bytes")
        self._names_files = chosen.form == PATH or inside
        self.columns: Tuple[str, ...] = (f"{chosen.audio}.path",) if inside else ()

    def of(self, rows: Mapping[str, Sequence[Any]], numbers: Sequence[int]) -> Iterator[str]:
        """rows: {column: values}; numbers: of these rows in their table."""
        chosen, path = self._chosen, self._file.path
        if not self._names_files:
            rates = rows[chosen.rate_column] if chosen.rate_column is not None else [chosen.rate] * len(numbers)
            yield from (embedded.address(path, chosen.audio, row, rate) for row, rate in zip(numbers, rates))
            return
        for row, value in zip(numbers, rows[chosen.audio]):
            written = value.get("path") if isinstance(value, dict) else value
            if isinstance(written, str) and written and "\0" not in written:
                yield self._places.find(path, self._name, written)
            else:
                yield embedded.address(path, chosen.audio, row)  # where nothing is: the row is rejected for that
