"""A process that has imported everything once and forks a child for each `asrctl` command: a kill then costs no import.

It has one thread when it forks, so a child is what a fresh process would be after its imports. Orders and answers are
lines of JSON on stdin and stdout:

    {"run": [words], "stdout": FILE, "stderr": FILE, "env": {}, "cwd": FOLDER, ...}   -> {"pid": N}
    {"wait": N}                                                                       -> {"status": N, or -signal}
    {"wait": N, "or_stop": true}                           -> the same, or {"stopped": true} where a signal stopped it
    {"shell": [words]}                                                                -> {"status": N, "output": TEXT}

More keys of a run: powerless (root gives its capabilities up, and meets permissions as anybody does), no_locks (the
errno that flock gives), umask, file_bytes (most bytes in a file: RLIMIT_FSIZE), roots (folders whose changes are
counted), counted (a file that gets the changes, one a line), die_at, stop_at (the number of the change before which the
child kills itself with SIGKILL, or stops itself with SIGSTOP), stop_on (it stops itself before the first change that
names this), passes (how many such changes it lets pass before), stop_behind (it stops after the change that is told by
these words), looks (listing a folder counts too).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import warnings
from typing import Any, Dict, List

_LOOKS = {"os.scandir", "os.listdir"}
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}


class Counter:
    """An audit hook: counts what changes the folders `roots`, and what is opened there to be written or for fsync."""

    def __init__(self, order: Dict[str, Any]) -> None:
        self.roots, self.events = tuple(order.get("roots", [])), _CHANGES | (_LOOKS if order.get("looks") else set())
        self.signals = {order.get("die_at", 0): signal.SIGKILL, order.get("stop_at", 0): signal.SIGSTOP}
        self.changes: List[str] = []
        self.stop_on, self.stop_behind = order.get("stop_on"), order.get("stop_behind")
        self.passes = order.get("passes", 0)

    def __call__(self, event: str, arguments: Any) -> None:
        if not (event in self.events or event == "open") or not self._counts(event, arguments):
            return
        self.changes.append(f"{event} {arguments[0]}")
        if len(self.changes) in self.signals:
            os.kill(os.getpid(), self.signals[len(self.changes)])
        if self.stop_on is not None and self.stop_on in self.changes[-1]:
            self.passes -= 1
            if self.passes < 0:
                self.stop_on = None
                os.kill(os.getpid(), signal.SIGSTOP)
        if self.stop_behind == self.changes[-1]:
            self.stop_on, self.stop_behind = "", None

    def _counts(self, event: str, arguments: Any) -> bool:
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes, os.PathLike)) else ""
        if event == "open":
            # os.open tells no mode: that is how files and folders are opened for fsync.
            changes = arguments[1] is None or arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            return bool(changes) and path.startswith(self.roots)
        # rmtree names what it removes relative to an open folder.
        return path.startswith(self.roots) or (bool(path) and not path.startswith("/"))


def import_everything() -> None:
    """All that takes long, but pyarrow: importing it starts a thread, and so do those of our modules that use it."""
    import jiwer
    import rich.console
    import soundfile
    import soxr
    import torch
    import transformers
    import typer

    import asrctl.cli.app
    import asrctl.models.loading

    assert jiwer and rich and soundfile and soxr and torch and typer and asrctl
    assert transformers.Wav2Vec2ForCTC and transformers.AutoModelForCTC and transformers.pipeline
    assert transformers.Wav2Vec2Processor


def become(order: Dict[str, Any]) -> None:
    """This process, as the order wants it."""
    streams = (("/dev/null", os.O_RDONLY), (order["stdout"], os.O_WRONLY), (order["stderr"], os.O_WRONLY))
    for number, (path, flags) in enumerate(streams):
        descriptor = os.open(path, flags | (os.O_CREAT | os.O_TRUNC if flags == os.O_WRONLY else 0), 0o666)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.update(order.get("env", {}))
    os.chdir(order["cwd"])
    if "file_bytes" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes"], order["file_bytes"]))
    if "no_locks" in order:
        have_no_locks(order["no_locks"])
    if "umask" in order:
        os.umask(order["umask"])
    if order.get("powerless"):
        give_up_capabilities()


def give_up_capabilities() -> None:
    """capset(2), version 3 of its header (linux/capability.h): none effective, permitted or inherited."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if library.capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset")


FLOCK = {"x86_64": 73, "aarch64": 32}  # numbers of the system call


def have_no_locks(number: int) -> None:
    """From now on the kernel answers flock with this errno: seccomp(2), a filter of four instructions."""
    import ctypes
    import platform
    import struct

    allow, refuse = 0x7FFF0000, 0x00050000 | number  # linux/seccomp.h
    # Load the number of the call; if it is not that of flock skip one; refuse; allow (linux/bpf_common.h).
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, FLOCK[platform.machine()]), (0x06, 0, 0, refuse), (0x06, 0, 0, allow)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("HP", len(code), ctypes.addressof(filters)))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(38, 1, 0, 0, 0) != 0 or library.prctl(22, 2, program) != 0:  # NO_NEW_PRIVS, SECCOMP
        raise OSError(ctypes.get_errno(), "prctl")


def child(order: Dict[str, Any]) -> int:
    become(order)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    counter = Counter(order)
    if order.get("roots"):
        sys.addaudithook(counter)
    from asrctl.cli.app import main

    sys.argv = ["asrctl", *order["run"]]
    code: Any = 0
    try:
        main()
    except SystemExit as leaving:
        code = leaving.code
    if order.get("counted"):
        with open(order["counted"], "w", encoding="utf-8") as stream:
            stream.write("".join(change + "\n" for change in counter.changes))
    sys.stdout.flush()
    return int(code or 0)


def run(order: Dict[str, Any]) -> Dict[str, int]:
    pid = os.fork()
    if pid:
        return {"pid": pid}
    status = 1
    try:
        status = child(order)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def answer(order: Dict[str, Any]) -> Dict[str, Any]:
    if "run" in order:
        return run(order)
    if "wait" in order:
        status = os.waitpid(order["wait"], os.WUNTRACED if order.get("or_stop") else 0)[1]
        if os.WIFSTOPPED(status):
            return {"stopped": True}
        return {"status": -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)}
    done = subprocess.run(
        order["shell"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return {"status": done.returncode, "output": done.stdout.decode("utf-8", "replace")}


def threads() -> int:
    folder = "/proc/self/task"
    return len(os.listdir(folder)) if os.path.isdir(folder) else 1  # noqa: PTH208, PTH112


def main() -> None:
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    import_everything()
    print(json.dumps({"threads": threads()}), file=answers, flush=True)
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
