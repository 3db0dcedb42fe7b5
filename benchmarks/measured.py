"""A command's exit code, seconds, CPU seconds and peak memory, whatever the size of the process that asks.

On Linux a process begins its life with the peak memory of the one that forked it, and keeps it across exec: asked by
a test run that holds 1 GB, every command would seem to have needed 1 GB. So a small interpreter stands between: it
starts the command, waits, and reports what the kernel says of its children.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Optional, Sequence

_BETWEEN = """
import json, os, resource, subprocess, sys, time
report = int(sys.argv[1])
began = time.perf_counter()
code = subprocess.call(sys.argv[2:])
seconds, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
os.write(report, json.dumps([code, seconds, used.ru_utime + used.ru_stime, peak]).encode())
"""


@dataclass(frozen=True)
class Usage:
    """exit_code: negative for a signal. cpu_s: of the command and those it waited for. peak_bytes: of the largest."""

    exit_code: int
    seconds: float
    cpu_s: float
    peak_bytes: int


def run(command: Sequence[str], *, timeout_s: Optional[float] = None, **popen: Any) -> Usage:
    """Run to the end, or kill after timeout_s (the exit code is then SIGKILL's). popen: as subprocess.Popen's."""
    read, write = os.pipe()
    with os.fdopen(read) as report:
        between = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BETWEEN, str(write), *command],
            pass_fds=(write,), start_new_session=True, **popen,
        )  # fmt: skip
        os.close(write)
        try:
            between.wait(timeout_s)
            return Usage(*json.loads(report.read()))
        except subprocess.TimeoutExpired:
            return Usage(-signal.SIGKILL, float(timeout_s or 0), 0.0, 0)
        finally:
            if between.poll() is None:
                os.killpg(between.pid, signal.SIGKILL)
                between.wait()
