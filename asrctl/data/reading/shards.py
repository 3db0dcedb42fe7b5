"""Which tar shards are meant by a file, a folder or a pattern, and which split each is for."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple

from asrctl.data.corpus import CorpusRequest
from asrctl.data.reading.split_names import SplitFolders, split_named
from asrctl.data.reading.walk import Walk
from asrctl.data.utterance import ARCHIVE_SUFFIXES
from asrctl.errors import BadData, UsageError
from asrctl.messages import amounts

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_NUMBER = re.compile(r"[-_.]*(\d+([-_]?of[-_]?\d+)?)?$")
_MOST_SHARDS = 1_000_000


class Shard(NamedTuple):
    """name: what tells it from the others of its corpus."""

    path: Path
    name: str
    split: str


def is_pattern(word: str) -> bool:
    """Whether a word has braces that stand for several names, and is no file itself."""
    return any("," in inner or _RANGE.fullmatch(inner) for inner in _BRACES.findall(word)) and not _exists(word)


def _exists(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):
        return False


def expanded(pattern: str) -> List[str]:
    """ "a-{00..02}.tar" -> ["a-00.tar", "a-01.tar", "a-02.tar"], as a shell would. Raises UsageError."""
    parts = _BRACES.split(pattern)
    choices = [_choices(part) if at % 2 else [part] for at, part in enumerate(parts)]
    total = 1
    for choice in choices:
        total *= len(choice)
    if total > _MOST_SHARDS:
        raise UsageError(f"{pattern} stands for {total} shards", fix=f"name {_MOST_SHARDS} at most")
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _choices(inner: str) -> List[str]:
    found = _RANGE.fullmatch(inner)
    if found is None:
        return inner.split(",")
    first, last = found.groups()
    low, high = int(first), int(last)
    if abs(high - low) > _MOST_SHARDS:
        raise UsageError(f"{{{inner}}} stands for {abs(high - low) + 1} shards", fix=f"name {_MOST_SHARDS} at most")
    step = 1 if high >= low else -1
    width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
    return [str(number).zfill(width) for number in range(low, high + step, step)]


def shards_of(source: Path, request: CorpusRequest) -> List[Shard]:
    """In order. Raises BadData, UsageError."""
    if request.address is not None:
        paths = [Path(name) for name in expanded(request.address)]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            count = amounts.count(len(missing), "shard")
            raise BadData(
                f"{count} of the {len(paths)} of {request.address} can not be found, such as {missing[0]}",
                fix="correct the pattern, or fetch what is missing",
            )
        return _named(paths, Path(_common(paths)), SplitFolders(Path(_common(paths))), request)
    if source.is_file():
        return _named([source], source.parent, SplitFolders(source.parent), request)
    if not source.is_dir():
        fix = "give a tar, a folder of them, or a pattern such as 'shards-{000000..000012}.tar'"
        raise BadData(f"there is no {source}", fix=fix)
    walk = Walk(source, request.root)
    paths = [
        Path(folder) / name for folder, names in walk.below(source) for name in names if name.endswith(ARCHIVE_SUFFIXES)
    ]
    walk.tell(request.emit)
    if not paths:
        raise BadData(f"{source} holds no tar", fix="give the folder that holds the shards")
    return _named(paths, source, SplitFolders(source), request)


def _common(paths: List[Path]) -> str:
    return str(paths[0].parent)


def _named(paths: List[Path], top: Path, folders: SplitFolders, request: CorpusRequest) -> List[Shard]:
    """With the split of each: what its own name says (dev-000001.tar), or else its folder."""
    splits = {path: split_named(_prefix(path)) for path in paths}
    # "digits-dev" says a split for sure only where another shard names another one.
    known = {found.split for found in splits.values() if found is not None}
    shards = []
    for path in paths:
        request.before_reading(str(path))
        inside = _inside(path, top)
        found = splits[path]
        is_sure = found is not None and (found.is_bare or len(known) > 1)
        split = found.split if found is not None and is_sure else folders.of(inside)
        shards.append(Shard(path, _stem(inside), split))
    folders.tell(request.emit)
    return list(_distinct(shards))


def _inside(path: Path, top: Path) -> str:
    try:
        return path.relative_to(top).as_posix()
    except ValueError:
        return path.as_posix()


def _stem(name: str) -> str:
    ending = next((one for one in ARCHIVE_SUFFIXES if name.endswith(one)), "")
    return name[: len(name) - len(ending)]


def _prefix(path: Path) -> str:
    """The name of a shard without its number: "dev-000001.tar" -> "dev"."""
    return _NUMBER.sub("", _stem(path.name))


def _distinct(shards: List[Shard]) -> Iterator[Shard]:
    """Raises BadData where two shards would be called alike: x.tar and x.tar.gz are one shard twice."""
    seen: Dict[str, Path] = {}
    for shard in shards:
        if shard.name in seen:
            fix = "remove one of them, as they are one shard twice"
            raise BadData(f"{seen[shard.name]} and {shard.path} are both there", fix=fix)
        seen[shard.name] = shard.path
        yield shard
