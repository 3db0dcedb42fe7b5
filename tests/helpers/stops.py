"""A command in a process of its own that stops itself at a change of a file, and waits there to be killed.

Whoever polls for something that a command makes can come too late on a busy machine: it has gone on, or ended, by then.
Run as a program: `python stops.py ROOT TEXT PASSES WORDS` is `asrctl WORDS`, stopped (SIGSTOP) before a change below
ROOT that names TEXT, once so many of them have passed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence

# How long anything may take before it counts as hanging: no measure of speed, on no machine.
HANGS_S = 600.0


def stopped(words: Sequence[Any], root: Path, text: str, *, passes: int = 0, **options: Any) -> subprocess.Popen[str]:
    """`asrctl WORDS` that stands before a change below `root` that names `text`. options: of Popen.

    passes: how many such changes are let pass before.
    """
    command = [sys.executable, __file__, str(root), text, str(passes), *map(str, words)]
    streams: Dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", **options}
    process = subprocess.Popen(command, **streams)
    watch = threading.Timer(HANGS_S, process.kill)
    watch.start()
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    watch.cancel()
    assert os.WIFSTOPPED(status), ("it came to its end", status, process.communicate())
    return process


def signalled(process: subprocess.Popen[str], number: int) -> subprocess.Popen[str]:
    """Send a signal to a process that is stopped, and let it go on."""
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    return process


def until(happened: Callable[[], Any], process: Optional[subprocess.Popen[str]] = None) -> None:
    """Wait for what a process that goes on and on is sure to do. process: fails if that one ends before."""
    end = time.monotonic() + HANGS_S
    while not happened():
        assert process is None or process.poll() is None, ("it came to its end", process.communicate())
        assert time.monotonic() < end, "it hangs"
        os.sched_yield()


def main(root: str, text: str, passes: str, *words: str) -> None:
    sys.path.insert(0, str(Path(__file__).parent.with_name("faults")))
    from nursery import Counter

    from asrctl.cli.app import main as asrctl

    sys.addaudithook(Counter({"roots": [root], "stop_on": text, "passes": int(passes)}))
    sys.argv = ["asrctl", *words]
    asrctl()


if __name__ == "__main__":
    main(*sys.argv[1:])
