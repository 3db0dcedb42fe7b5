"""asrctl in a process of its own, with little memory and little time."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

from benchmarks import measured
from tests.helpers.program import ROOT
from tests.helpers.stops import HANGS_S

# Libraries map much that they never touch; what is touched is bounded by what a test asserts.
_MAPPED_BYTES = 6 << 30


@dataclass(frozen=True)
class Ended:
    """How the process ended. document: what --json printed. peak_mb: the most memory it ever held.

    seconds: of a processor, so that a busy machine does not count.
    """

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


def asrctl(workspace: Path, *words: Any, **environment: str) -> Ended:
    """`asrctl WORDS --workspace WORKSPACE --json`."""
    command = [sys.executable, "-m", "asrctl", *map(str, words), "--workspace", str(workspace), "--json"]
    out, err = workspace.with_name("stdout.txt"), workspace.with_name("stderr.txt")
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        used = measured.run(
            command, timeout_s=HANGS_S, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2", **environment}, preexec_fn=_limit,
        )  # fmt: skip
    text = out.read_text(encoding="utf-8", errors="replace")
    document = json.loads(text) if text.startswith("{") else {"text": text}
    said = err.read_text(encoding="utf-8", errors="replace")
    return Ended(used.exit_code, document, said, used.cpu_s, used.peak_bytes / 1e6)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MAPPED_BYTES, resource.RLIM_INFINITY))
