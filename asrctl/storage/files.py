"""Read regular files within limits; write files and folders so that they appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterator, List, Optional, Tuple

from asrctl.errors import BadData, StorageError
from asrctl.runtime.os_errors import naming
from asrctl.storage import flock
from asrctl.storage.hashing import file_sha256

_NAME_BYTES = 255  # NAME_MAX; some file systems tell more, and mean characters
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own (POSIX)
# JSON grows about twentyfold in memory; what asrctl writes, and what comes with a model, is far smaller.
MAX_JSON_BYTES = 1 << 24
MAX_LINE_BYTES = 1 << 25
# What NFS, FUSE and SMB call a file that was deleted while somebody had it open. It goes when that one closes it.
DELETED = re.compile(r"\.nfs[0-9a-f.]+|\.fuse_hidden[0-9a-f]+|\.smbdelete\w+")
# What the system says of a folder that holds such files, and of such a file.
_STILL_HELD = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)
# How a git-lfs pointer begins (git-lfs, docs/spec.md).
_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"
# What the system says of names behind which no file can be.
_NO_FILE = (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.EISDIR)


def fsync_path(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, survive a power cut."""
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where they are missing. Raises StorageError where none can be, OSError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # /proc and its kin say "no such file" to whoever wants to make one.
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ELOOP):
            raise
        raise StorageError(
            f"the folder {path} can not be made ({error.strerror})",
            fix="choose another place with --workspace or --output",
        ) from None


def longest_name(folder: Path) -> int:
    """Bytes that the name of a file in `folder` may have."""
    try:
        return min(os.pathconf(str(folder), "PC_NAME_MAX"), _NAME_BYTES)
    except (OSError, ValueError):
        return _NAME_BYTES


def beside(path: Path, ending: str) -> Path:
    """The hidden name for what is on its way to `path`, or from it: `.NAME.ENDING`, always the same.

    A name that leaves no room for that is told by its digest.
    """
    name = f".{path.name}.{ending}"
    if len(os.fsencode(name)) > longest_name(path.parent):
        name = f".asrctl-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}.{ending}"
    return path.with_name(name)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes `path`'s place when the block ends without error, else it goes.

    Its name is fixed, so whoever writes the file next writes over what a killed process left. Who comes second waits.
    """
    make_folder(path.parent)
    temporary = beside(path, "tmp")
    try:
        with _held(temporary):
            yield temporary
            fsync_path(temporary)
            os.replace(temporary, path)
    except BaseException:
        _discard(temporary)
        raise
    fsync_path(path.parent)


@contextmanager
def unlocked_path(path: Path) -> Iterator[Path]:
    """As atomic_path, for file systems that have no locks: whoever comes last takes the place. All write the same."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.tmp")
    try:
        yield temporary
        fsync_path(temporary)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    fsync_path(path.parent)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """`path`, empty and locked by us; never what a link in its place leads to."""
    while True:
        if path.is_symlink():
            path.unlink()
        descriptor = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            flock.take(descriptor, path, wait=True)
            if _is_at(descriptor, path):  # else whoever held it before us has renamed or removed it
                os.ftruncate(descriptor, 0)
                yield
                return
        finally:
            os.close(descriptor)


def _discard(path: Path) -> None:
    """Remove a temporary file, unless another process is writing it."""
    with suppress(OSError, StorageError):  # it is not there, or somebody holds it
        descriptor = os.open(str(path), os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            flock.take(descriptor, path)
            if _is_at(descriptor, path):
                path.unlink()
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def write_text(path: Path, text: str) -> None:
    """Text as UTF-8. Bytes of a name that are none become backslash escapes, which JSON reads as what they were."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Readable JSON, keys in the order given. NaN is refused, so every reader can parse it."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def expanded(name: str) -> Path:
    """A path with its `~` replaced, where there is such a user."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def is_file(path: Path) -> bool:
    """Whether there is a regular file of that name; no name is too odd to ask."""
    return _found(path.is_file)


def is_folder(path: Path) -> bool:
    """Whether there is a folder of that name; no name is too odd to ask."""
    return _found(path.is_dir)


def _found(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except ValueError:
        return False
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        return False


def regular_status(path: str) -> Optional[os.stat_result]:
    """The status of a regular file; None where there is none, or none that can be reached, of that name."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


@contextmanager
def open_regular(path: Path, *, fix: str) -> Iterator[IO[bytes]]:
    """A file to read from. Raises BadData (with `fix`) where it is missing or a folder, pipe or device: these never
    end, or make whoever opens them wait. A git-lfs pointer is refused as well, with the command that helps."""
    try:
        descriptor = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise BadData(f"{path} is missing", fix=fix) from None
    except ValueError:  # a zero byte, or half a character
        raise BadData(f"{str(path)!r} can not be the name of a file", fix=fix) from None
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise BadData(f"{path} can not be read ({error.strerror})", fix=fix) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadData(f"{path} is not a regular file", fix=fix)
        with naming(path), open(descriptor, "rb", closefd=False) as stream:
            if is_lfs_pointer(os.pread(descriptor, len(_LFS_POINTER), 0)):
                raise lfs_pointer(path)
            yield stream
    finally:
        os.close(descriptor)


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file that begins so is what a clone without git-lfs holds in the place of the real one."""
    return head.startswith(_LFS_POINTER)


def lfs_pointer(path: Path) -> BadData:
    return BadData(
        f"{path} is a git-lfs pointer: the file itself was never fetched",
        fix=f"run `git -C {shlex.quote(str(path.parent))} lfs pull`, which needs git-lfs",
    )


def read_bytes(path: Path, *, fix: str, most: int = MAX_JSON_BYTES) -> bytes:
    """The bytes of a file. Raises BadData (with `fix`) where it is missing, not a regular file or above `most`."""
    with open_regular(path, fix=fix) as stream:
        # A read takes room for all that it may give, so for no more than there is.
        data = stream.read(min(most, os.fstat(stream.fileno()).st_size) + 1)
    if len(data) > most:
        raise BadData(f"{path} has more than {most} bytes, and so can not be what it is called", fix=fix)
    return data


def read_json(path: Path, *, fix: str) -> Any:
    """The parsed file. Raises BadData (with `fix`) where it is missing, too large, not UTF-8 or not JSON.

    A byte order mark, which editors on Windows put before the text, is passed over.
    """
    data = read_bytes(path, fix=fix)
    try:
        return parse_json(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadData(f"{path} is not valid JSON ({error})", fix=fix) from None


def parse_json(text: str) -> Any:
    """JSON without NaN and infinities, which no other program reads. Raises ValueError, RecursionError."""
    return _DECODER.decode(text)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits[:20]} is too large a number")
    return value


# Made once: json.loads would make one for each line of a manifest.
_DECODER = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)


def read_json_lines(path: Path, *, fix: str, first: int = 0) -> Iterator[Tuple[int, Any]]:
    """(line number, value) of a file of JSON lines, in flat memory. Raises BadData (with `fix`).

    first: so many lines are passed over without a look at them.
    """
    with open_regular(path, fix=fix) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES), b""), 1):
            if number <= first:
                continue
            try:
                if len(line) >= MAX_LINE_BYTES:
                    raise ValueError("it is too long")
                yield number, parse_json(line.decode("utf-8", "surrogatepass"))
            except (ValueError, RecursionError) as error:
                raise BadData(f"{path}, line {number} is damaged ({error})", fix=fix) from None


def file_digests(folder: Path) -> Dict[str, str]:
    """{relative POSIX path: sha256} of every file under `folder`, sorted by path."""
    paths = sorted(path for path in folder.rglob("*") if not DELETED.fullmatch(path.name) and path.is_file())
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}


def fsync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not DELETED.fullmatch(path.name) and not path.is_symlink():
            fsync_path(path)
    fsync_path(folder)


def names_in(folder: Path) -> List[str]:
    """Names of what is in a folder, but for files that were deleted and are still open."""
    return [path.name for path in folder.iterdir() if not DELETED.fullmatch(path.name)]


def refuse_links(folder: Path) -> None:
    """Raises BadData where a folder that is to be written holds links: what goes through them lands elsewhere."""
    for root, folders, names in os.walk(str(folder)):
        for name in folders + names:
            path = Path(root) / name
            if path.is_symlink():
                raise BadData(f"{path} is a link", fix="remove it: asrctl writes into that folder and makes no links")


def remove_tree(folder: Path) -> None:
    """Delete a folder that may not exist; of a link, only the link.

    On NFS and FUSE a file that somebody has open keeps a hidden name until it is closed, and the folders above it stay
    so long: `is_gone` is true of what stays. Raises OSError where anything else is left.
    """
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        held: List[OSError] = []
        _remove_tree(str(folder), held)
        if held and not is_gone(folder):
            raise held[0]


def _remove_tree(folder: str, held: List[OSError]) -> None:
    """shutil.rmtree, which goes on, and keeps the error, where a file may be open somewhere."""

    def judge(error: BaseException) -> None:
        if isinstance(error, OSError) and error.errno in _STILL_HELD:
            held.append(error)
        elif not isinstance(error, FileNotFoundError):  # or somebody closed it just now
            raise error

    if sys.version_info >= (3, 12):
        shutil.rmtree(folder, onexc=lambda _, __, error: judge(error))  # novm: it is what the line above asks for
    else:
        shutil.rmtree(folder, onerror=lambda _, __, found: judge(found[1]))


def is_gone(folder: Path) -> bool:
    """Whether a folder is missing, or holds nothing but folders and files that were deleted and are still open."""
    if folder.is_symlink():
        return False
    try:
        with os.scandir(str(folder)) as entries:
            return all(
                is_gone(Path(entry.path)) if entry.is_dir(follow_symlinks=False) else DELETED.fullmatch(entry.name)
                for entry in entries
            )
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return False


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Whoever else wants this folder locked waits meanwhile; no file is left in it."""
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        flock.take(descriptor, folder, wait=True)
        yield
    finally:
        os.close(descriptor)


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
