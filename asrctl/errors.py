"""The error tree and its exit codes, on one page.

Every error says in one sentence what is wrong (`message`) and in one what to do (`fix`). Where a check finds several
problems at once, each is a line of `problems`.
"""

from __future__ import annotations

import errno
from typing import Any, Dict, Mapping, Sequence, Tuple

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class AsrctlError(Exception):
    """Base of everything that is the user's to mend. Never raised itself."""

    exit_code = EXIT_BUG
    kind = "error"

    def __init__(self, message: str, *, fix: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.problems: Tuple[str, ...] = tuple(problems)

    def as_dict(self) -> Dict[str, Any]:
        """The `error` object of the `--json` document."""
        return {"kind": self.kind, "message": self.message, "fix": self.fix, "problems": list(self.problems)}


class UsageError(AsrctlError):
    """The command line does not make sense."""

    exit_code = EXIT_USAGE
    kind = "usage"


class PresetError(AsrctlError):
    """A preset or an override is wrong, or conflicts with the data."""

    exit_code = 3
    kind = "preset"


class MissingArtifact(AsrctlError):
    """A stage needs what an earlier one has not made yet."""

    exit_code = 4
    kind = "missing"


class BadData(AsrctlError):
    """Audio, transcripts, manifests, archives or checkpoints that can not be used."""

    exit_code = 5
    kind = "data"


class DeviceError(AsrctlError):
    """The device is missing, unfit or out of memory."""

    exit_code = 6
    kind = "device"


class ProcessLost(DeviceError):
    """One of the processes that train together has ended, or stands still."""


class MissingDependency(DeviceError):
    """An optional package is not installed."""

    kind = "dependency"


class StorageError(BadData):
    """The disk is full, read-only or not ours."""

    kind = "storage"


class Locked(AsrctlError):
    """Another process is at work on the same thing."""

    exit_code = 7
    kind = "locked"


class QualityGate(AsrctlError):
    """A measured value is above the limit that the user set."""

    exit_code = 8
    kind = "gate"


class Diverged(AsrctlError):
    """Training produced non-finite or exploding numbers."""

    exit_code = 9
    kind = "diverged"


class Interrupted(AsrctlError):
    """Ctrl-C or SIGTERM; what was done is kept."""

    exit_code = EXIT_INTERRUPTED
    kind = "interrupted"


class Bug(AsrctlError):
    """Not the user's to mend; only ever told, never raised."""

    kind = "bug"


class Reported(AsrctlError):
    """What another process has failed of; `told` is what `as_dict` gave there, and its exit code."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(told["message"], fix=told["fix"], problems=told["problems"])
        self.exit_code, self.kind = int(told["exit_code"]), str(told["kind"])


def told(error: AsrctlError) -> Dict[str, Any]:
    """An error as plain values, for another process."""
    return {**error.as_dict(), "exit_code": error.exit_code}


def from_os_error(error: OSError) -> StorageError:
    """The one sentence for a failed system call that no stage could explain better."""
    where = f" ({error.filename})" if error.filename else ""
    known = {
        errno.ENOSPC: (
            "the disk is full",
            "free some space (`asrctl clean` shows what can go) and run the command again",
        ),
        errno.EDQUOT: ("the disk quota is used up", "free some space (`asrctl clean` shows what can go) and run again"),
        errno.EROFS: ("the file system is read-only", "choose a writable place with --workspace or --output"),
        errno.EACCES: (
            "permission denied",
            "correct the permissions, or choose another place with --workspace or --output",
        ),
        errno.EPERM: ("operation not permitted", "correct the permissions, or choose another place with --workspace"),
        errno.ENOENT: ("a file has vanished", "restore the file, or run the stage that made it again"),
        errno.EMFILE: ("too many open files", "raise the limit (`ulimit -n`) or lower --workers"),
        errno.ENFILE: ("the machine has too many open files", "end other programs, or ask who runs the machine"),
        errno.ENAMETOOLONG: ("a name is longer than the file system allows", "choose a shorter one"),
        errno.EAGAIN: (
            "no more processes or threads are allowed",
            "raise the limit (`ulimit -u`), or end other programs",
        ),
        errno.EFBIG: ("a file grows larger than is allowed", "raise the limit (`ulimit -f`)"),
        errno.EIO: ("the disk fails to read or write", "check the disk (`dmesg` may say more) and run again"),
    }
    if error.errno == errno.ENOENT and error.strerror and "temporary directory" in error.strerror:  # of tempfile
        return StorageError(
            "there is no folder for temporary files", fix="free some space, or name one by the variable TMPDIR"
        )
    what, fix = known.get(error.errno or 0, (error.strerror or str(error), "check the disk and run the command again"))
    return StorageError(f"{what}{where}", fix=fix)
