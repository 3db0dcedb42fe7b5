"""Writing a file or a folder so that nobody ever sees half of it."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator

from asrctl.errors import BadData
from asrctl.fingerprint import file_sha256

_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own (POSIX)


def fsync_path(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a power cut."""
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes `path`'s place when the block ends without error, else it goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        yield temporary
        fsync_path(temporary)
        os.replace(temporary, path)
    except BaseException:
        if temporary.exists():
            temporary.unlink()
        raise
    fsync_path(path.parent)


def write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Readable JSON, keys in the order given. NaN is refused, so every reader can parse it."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, fix: str) -> Any:
    """The parsed file. Raises BadData (with `fix`) where it is missing, not UTF-8 or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadData(f"{path} is missing", fix=fix) from None
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise BadData(f"{path} is not valid JSON ({error})", fix=fix) from None


def file_digests(folder: Path) -> Dict[str, str]:
    """{relative POSIX path: sha256} of every file under `folder`, sorted by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}


def fsync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_symlink():
            fsync_path(path)
    fsync_path(folder)


def remove_tree(folder: Path) -> None:
    """Delete a folder that may not exist."""
    if folder.exists():
        shutil.rmtree(str(folder))


def folder_bytes(folder: Path) -> int:
    """Bytes in the files under `folder`; files that vanish while we look count as nothing."""
    return sum(found.st_size for found in _stats(folder))


def disk_bytes(folder: Path) -> int:
    """Bytes of disk that the files under `folder` take: less than `folder_bytes` where a file has holes."""
    return sum(min(found.st_size, found.st_blocks * _BLOCK_BYTES) for found in _stats(folder))


def _stats(folder: Path) -> Iterator[os.stat_result]:
    for root, _, names in os.walk(str(folder)):
        for name in names:
            try:
                yield os.lstat(os.path.join(root, name))
            except FileNotFoundError:
                continue
