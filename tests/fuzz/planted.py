"""Parsers with bugs put in on purpose: what finds no bug there would find none elsewhere."""

from __future__ import annotations

import ctypes
import json
import time
from pathlib import Path
from typing import Any, Callable, Dict

from asrctl.data import audio
from asrctl.data.corpora import manifest
from asrctl.data.reading import archives
from asrctl.storage import files

from . import parsers


def _index_error(place: Path) -> None:
    """A row with fewer cells than columns, read by position."""
    lines = (place / "list.csv").read_bytes().splitlines()
    list(manifest.read(place / "list.csv"))
    width = lines[0].count(b",") if lines and lines[0].startswith(b"path,") else 0
    for line in lines[1:] if width else ():
        line.split(b",")[width - 1]


def _key_error(place: Path) -> None:
    """A key that is there in every good file."""
    for line in (place / "list.jsonl").read_bytes().splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and "text" in row and not row.get("path") and not row.get("audio"):
            row["audio_filepath"]


def _maze(place: Path) -> None:
    """Branch behind branch: no blind change passes them all at once."""
    data = (place / "list.tsv").read_bytes()
    # One condition each: that is what a coverage-guided search climbs by.
    if data.count(b"\t") > 8:  # noqa: SIM102
        if data.count(b"\n") > 4:  # noqa: SIM102
            if data.count(b"e") > 20:  # noqa: SIM102
                if data.count(b"\xff"):
                    raise IndexError("at the end")


def _hang(place: Path) -> None:
    """A walk from header to header that stands still where a size is 0 in a place where none should be."""
    data, position = (place / "a.tar").read_bytes(), 0
    while position < len(data):
        block = data[position : position + 512]
        position += 512 if block[156:157] != b"5" or b"link5" in block[:100] else 0
        if block[156:157] == b"5" and b"link5" not in block[:100]:
            time.perf_counter()


def _bomb(place: Path) -> None:
    """A declared count that is trusted."""
    data = (place / "a.tar").read_bytes()
    size = archives._number(data[124:136]) if len(data) >= 136 else 0
    bytearray(min(size or 0, 1 << 34))


def _crash(place: Path) -> None:
    """What a decoder in C does when it trusts a length."""
    data = (place / "a.bin").read_bytes()
    if len(data) > 40 and data[:4] == b"RIFF" and int.from_bytes(data[16:20], "little") > 1 << 20:
        ctypes.string_at(0)
    audio.duration_s(place / "a.bin")


def _unhelpful(place: Path) -> None:
    """A refusal without a fix."""
    try:
        json.loads((place / "ipu_config.json").read_bytes())
    except (ValueError, RecursionError):
        raise files.BadData("no", fix="") from None


_RUNS: Dict[str, Callable[[Path], Any]] = {
    "manifest-csv": _index_error, "manifest-jsonl": _key_error, "archive": _hang, "audio-wav": _crash,
    "ipu-config": _unhelpful,
}  # fmt: skip
# Name of the planted parser -> whose valid files it reads, and how it reads them.
PLANTED = {f"planted-{name}": (name, run) for name, run in _RUNS.items()}
PLANTED["planted-maze"] = ("manifest-tsv", _maze)
PLANTED["planted-bomb"] = ("archive", _bomb)


def find(name: str) -> parsers.Parser:
    import dataclasses

    of, run = PLANTED[name]
    return dataclasses.replace(parsers.find(of), run=run)
