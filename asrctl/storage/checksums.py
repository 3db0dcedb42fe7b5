"""SHA256SUMS of a folder, as `sha256sum --check` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Mapping

from asrctl.errors import BadData
from asrctl.storage import files

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> Dict[str, str]:
    """Write SHA256SUMS of all files in `folder`; {file: digest}."""
    digests = files.file_digests(folder)
    files.write_text(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    return digests


def read_sums(folder: Path, *, fix: str) -> Dict[str, str]:
    """{file: digest} as SHA256SUMS tells, unchecked. Raises BadData (with `fix`) where it can not be read."""
    data = files.read_bytes(folder / SUMS, fix=fix)
    pairs = [line.partition("  ") for line in data.decode("utf-8", "replace").splitlines()]
    return {name: digest for digest, _, name in pairs}


def check_sums(folder: Path, found: Mapping[str, str]) -> None:
    """Raises BadData where SHA256SUMS is there and does not tell the digests `found` of some of the folder's files."""
    if not files.is_file(folder / SUMS):
        return
    fix = f"fetch or make that model again; if it was changed on purpose, delete {SUMS}"
    told = read_sums(folder, fix=fix)
    damaged: List[str] = [name for name, digest in found.items() if told.get(name, digest) != digest]
    if damaged:
        raise BadData(f"{folder / damaged[0]} is damaged: its digest is not the one in {SUMS}", fix=fix)
