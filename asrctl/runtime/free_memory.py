"""Memory that this process can still have: of the machine, of its control groups, and of its addresses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
# Names in the two versions of control groups: the limit, what is in use, and in memory.stat what of that is files'
# contents that the kernel gives up first.
_V2 = ("memory.max", "memory.current", "inactive_file")
# Fewer may not do for the libraries' threads: one a core, and that several times.
_MANY_THREADS = 1024
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
    return _address_limit() is not None or _text(_PROC / "sys/vm/overcommit_memory").strip() == "2"


def is_limited() -> bool:
    """Whether addresses are scarce, or threads: libraries then end a process that takes more."""
    return _thread_limit() is not None or addresses_are_scarce()


def limits() -> str:
    """What is limited, for people: "`ulimit -v` allows 500 MB"."""
    found = [f"`ulimit -{flag}` allows {size / 1e6:.0f} MB" for flag, size in (_address_limit() or {}).items()]
    threads = _thread_limit()
    found += [f"`ulimit -u` allows {threads} processes and threads"] if threads is not None else []
    return ", ".join(found) or "the system commits no more memory than it has"


def _address_limit() -> Optional[Dict[str, int]]:
    """{flag of ulimit: bytes}; None where addresses are not limited."""
    import resource

    wanted = (("v", resource.RLIMIT_AS), ("d", resource.RLIMIT_DATA))
    found = {flag: resource.getrlimit(limit)[0] for flag, limit in wanted}
    return {flag: size for flag, size in found.items() if size != resource.RLIM_INFINITY} or None


def _thread_limit() -> Optional[int]:
    """Threads that the user may have; None where there are enough for anything."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    return limit if limit != resource.RLIM_INFINITY and limit < _MANY_THREADS else None


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
