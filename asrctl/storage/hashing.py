"""Canonical JSON and the digests that name artifacts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from asrctl.runtime.os_errors import naming

ID_LENGTH = 12
_BLOCK = 1 << 20
# Made once: it writes a line for each utterance of a corpus.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: equal values give equal bytes. NaN and infinities are refused."""
    return _CANONICAL.encode(value).encode("utf-8", "surrogatepass")


def digest(value: Any) -> str:
    """sha256 (64 hex digits) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def short_id(value: Any) -> str:
    """The first 12 hex digits of `digest(value)`: an artifact's ID."""
    return digest(value)[:ID_LENGTH]


def file_sha256(path: Path) -> str:
    """sha256 (64 hex digits) of a file's bytes. Raises OSError."""
    hasher = hashlib.sha256()
    with naming(path), open(path, "rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            hasher.update(block)
    return hasher.hexdigest()
