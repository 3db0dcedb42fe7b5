"""Memory that this process can still have: of the machine, of its control groups, and of its addresses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, Optional, Tuple

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
# Names in the two versions of control groups: the limit, what is in use, and in memory.stat what of that is files'
# contents that the kernel gives up first.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_bytes(proc: Path = _PROC, groups: Path = _GROUPS) -> int:
    """Bytes that can be taken before something has to go; 0 where the system does not say."""
    found = re.search(r"^MemAvailable: *([0-9]+) kB", _text(proc / "meminfo"), re.MULTILINE)
    if found is None:
        return 0
    rooms = [_room(*group) for group in _groups(proc, groups)]
    return max(0, min([int(found.group(1)) * 1024, *(room for room in rooms if room is not None)]))


def addresses_are_scarce() -> bool:
    """Whether addresses are limited (`ulimit -v`) or counted, so that taking memory can fail rather than kill."""
    import resource

    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    if any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits):
        return True
    return _text(_PROC / "sys/vm/overcommit_memory").strip() == "2"


def _groups(proc: Path, groups: Path) -> Iterator[Tuple[Path, Tuple[str, str, str]]]:
    """Folders of the process's memory groups, its own first; inside a container only some of them are there."""
    for line in _text(proc / "self/cgroup").splitlines():
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)  # version 2 names no controllers
        if controllers and "memory" not in controllers.split(","):
            continue
        top, names = (groups / "memory", _V1) if controllers else (groups, _V2)
        own = top / path.lstrip("/")
        for folder in (own, *own.parents):
            yield folder, names
            if folder == top:
                break


def _room(folder: Path, names: Tuple[str, str, str]) -> Optional[int]:
    """What a group's limit leaves; None where it has none."""
    limit, used = (_text(folder / name).strip() for name in names[:2])
    if not (limit.isdigit() and used.isdigit()):
        return None
    given_up = re.search(rf"^{names[2]} ([0-9]+)$", _text(folder / "memory.stat"), re.MULTILINE)
    return int(limit) - int(used) + (int(given_up.group(1)) if given_up else 0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
