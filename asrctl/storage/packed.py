"""Files that may be packed by gzip, whatever they are called."""

from __future__ import annotations

import gzip
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator, cast

from asrctl.errors import BadData
from asrctl.messages import reasons
from asrctl.runtime.os_errors import naming
from asrctl.storage import files

_GZIP = b"\x1f\x8b"


@contextmanager
def opened(path: Path, *, fix: str) -> Iterator[IO[bytes]]:
    """What a regular file holds, unpacked. Raises BadData for no such file (with `fix`), and within the block where it
    can not be unpacked."""
    with files.open_regular(path, fix=fix) as raw:
        is_packed = raw.read(len(_GZIP)) == _GZIP
        raw.seek(0)
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if is_packed else raw
        try:
            with naming(path):
                yield stream
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise BadData(f"{path} is damaged ({reasons.reason(error)})", fix="fetch or make it again") from None
