"""Which manifests of NeMo there are, which of them belong together, and the archives that their recordings lie in.

convert_to_tarred_audio_dataset.py leaves audio_N.tar, tarred_audio_manifest.json (later versions of it end in
_version_N) and the same rows once more in sharded_manifests/manifest_N.json. Ranges are written {0..7}, and where a
shell would take that apart _OP_0..7_CL_ (docs.nvidia.com/nemo, "Tarred Datasets").
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from asrctl.data.reading.file_names import is_hidden
from asrctl.data.reading.split_names import split_of
from asrctl.errors import BadData
from asrctl.storage import files

PATH_KEYS = ("audio_filepath", "audio_filename", "audio_file")
SUFFIXES = (".json", ".jsonl", ".ndjson")
TARRED = re.compile(r"tarred_audio_manifest(?:_version_(\d+))?\.jsonl?")
SHARDS = "sharded_manifests"
_SHARD = re.compile(r"manifest[^/]*_(\d+)[^/]*\.json")
_TAR = re.compile(r"audio[^/]*_(\d+)[^/]*\.tar")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_OPEN, _CLOSE = re.compile(r"_OP_|[(\[<](?=\d+\.\.\d+)"), re.compile(r"_CL_|(?<=\d)[)\]>]")
_MOST = 100_000
_HEAD = 1 << 20


class Manifests(NamedTuple):
    """Files that are one list. name: as --train and others may name it. split: what its rows are for."""

    name: str
    files: Sequence[Path]
    split: str


def expanded(pattern: str) -> List[Path]:
    """The paths that a pattern of NeMo stands for: itself, where there is no range in it."""
    plain = files.expanded(pattern)
    return [plain] if files.is_file(plain) else [files.expanded(one) for one in words(pattern)]


def words(pattern: str) -> List[str]:
    """The same as they are written. Raises BadData."""
    written = _CLOSE.sub("}", _OPEN.sub("{", pattern))
    if not _RANGE.search(written):
        return [pattern]
    found = [written]
    while _RANGE.search(found[0]):
        span = _RANGE.search(found[0])
        first, last = (int(number) for number in span.groups()) if span is not None else (0, 0)
        if (abs(last - first) + 1) * len(found) > _MOST:
            raise BadData(f"{pattern} stands for more than {_MOST} files", fix="correct the range in it")
        numbers = range(first, last + 1) if last >= first else range(first, last - 1, -1)
        found = [_RANGE.sub(str(number), one, count=1) for one in found for number in numbers]
    return found


def first_row(path: Path) -> Mapping[str, Any]:
    """Of a file that may be a manifest; nothing where it is none."""
    try:
        with files.open_regular(path, fix="") as stream:
            head = stream.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
        row = json.loads(head.split(b"\n", 1)[0])
    except (BadData, OSError, ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) and any(key in row for key in PATH_KEYS) else {}


def in_folder(folder: Path, name: str, names: Sequence[str]) -> Iterator[Manifests]:
    """The lists in one folder. name: its own path in the corpus; "." for the corpus itself. names: its files."""
    tarred = {found.group(): int(found.group(1) or 0) for found in map(TARRED.fullmatch, names) if found is not None}
    inside = "" if name == "." else f"{name}/"
    if folder.name == SHARDS:
        beside = [one.name for one in folder.parent.iterdir()] if folder.parent.is_dir() else []
        shards = sorted((one for one in names if _SHARD.search(one)), key=lambda one: (shard_of(one) or 0, one))
        if shards and not any(TARRED.fullmatch(one) for one in beside):
            upper = folder.parent.resolve().name if name in (".", SHARDS) else name.rpartition("/")[0]
            yield Manifests(upper, [folder / one for one in shards], split_of(upper) or "train")
        return
    if tarred:
        newest = max(tarred, key=lambda one: (tarred[one], one))  # each holds the rows of those before it
        named = folder.resolve().name if name == "." else name
        yield Manifests(named, [folder / newest], split_of(named) or "train")
    for one in names:
        is_list = one.lower().endswith(SUFFIXES) and one not in tarred and not is_hidden(one)
        if is_list and first_row(folder / one):
            yield Manifests(inside + one, [folder / one], split_of(one) or split_of(inside) or Path(one).stem)


def shard_of(name: str) -> Optional[int]:
    """The number of the shard that a manifest is of."""
    found = _SHARD.search(name)
    return int(found.group(1)) if found is not None else None


def tars(paths: Sequence[Path]) -> Dict[int, Path]:
    """{number of the shard: its archive} of those named as NeMo names them."""
    found = ((_TAR.search(path.name), path) for path in paths)
    return {int(match.group(1)): path for match, path in found if match is not None}


def tars_beside(manifest: Path) -> Dict[int, Path]:
    """Of the folder of a manifest, else of the one above it."""
    for folder in (manifest.parent, manifest.resolve().parent.parent):
        found = tars(sorted(folder.glob("audio*.tar"))) if folder.is_dir() else {}
        if found:
            return found
    return {}
