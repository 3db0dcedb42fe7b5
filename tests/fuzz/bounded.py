"""asrctl in a process of its own, with little memory and little time."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

ROOT = Path(__file__).resolve().parent.parent.parent
# Libraries map much that they never touch; what is touched is bounded by what a test asserts.
_MAPPED_BYTES = 6 << 30


@dataclass(frozen=True)
class Ended:
    """How the process ended. document: what --json printed. peak_mb: the most memory it ever held."""

    exit_code: int
    document: Dict[str, Any]
    stderr: str
    seconds: float
    peak_mb: float

    @property
    def error(self) -> Dict[str, Any]:
        """The error, which says what is wrong and what to do."""
        assert self.exit_code not in (0, 1), (self.exit_code, self.stderr[-2000:])
        found = self.document["error"]
        assert found["message"] and found["fix"], found
        return found

    @property
    def result(self) -> Dict[str, Any]:
        assert self.exit_code == 0, (self.exit_code, self.document, self.stderr[-2000:])
        return self.document["result"]

    def within(self, *, seconds: float, peak_mb: float) -> "Ended":
        assert "Traceback" not in self.stderr, self.stderr[-3000:]
        assert self.seconds < seconds and self.peak_mb < peak_mb, (self.seconds, self.peak_mb)
        return self


def asrctl(workspace: Path, *words: Any, timeout_s: float = 120.0, **environment: str) -> Ended:
    """`asrctl WORDS --workspace WORKSPACE --json`."""
    command = [sys.executable, "-m", "asrctl", *map(str, words), "--workspace", str(workspace), "--json"]
    began = time.monotonic()
    out, err = workspace.with_name("stdout.txt"), workspace.with_name("stderr.txt")
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2", **environment}, preexec_fn=_limit,
        )  # fmt: skip
        watch = _Watch(process, timeout_s)
        peak_kb = watch.wait()
    text = out.read_text(encoding="utf-8", errors="replace")
    document = json.loads(text) if text.startswith("{") else {"text": text}
    seconds = time.monotonic() - began
    return Ended(
        process.returncode, document, err.read_text(encoding="utf-8", errors="replace"), seconds, peak_kb / 1e3
    )


class _Watch:
    """Waits for a process and learns its peak memory; ends one that takes too long."""

    def __init__(self, process: "subprocess.Popen[bytes]", timeout_s: float) -> None:
        self._process, self._until = process, time.monotonic() + timeout_s

    def wait(self) -> float:
        while True:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self._process.returncode = _exit_code(status)
                return usage.ru_maxrss
            if time.monotonic() > self._until:
                self._process.kill()
            time.sleep(0.02)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MAPPED_BYTES, resource.RLIM_INFINITY))


def _exit_code(status: int) -> int:
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
