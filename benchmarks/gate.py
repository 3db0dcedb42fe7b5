"""Two programs that take turns on one machine, so that both meet the same minute of it.

Each arm is a process of its own and says `Gate.tick` after each unit of work (an optimizer step, a pass of evaluation).
It stands still until it is told how many more to do. The other side, `Arm`, tells it and gets the seconds of each unit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence


class Gate:
    """The end inside an arm. Its standard output is kept for the answers; what libraries print goes to stderr."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._done: List[Dict[str, Any]] = []
        self._left = 0
        self._last = 0.0

    def wait(self) -> None:
        """Stand still until there is work; leave the process when nobody wants any more."""
        line = sys.stdin.readline()
        if not line:
            raise SystemExit(0)
        self._left = int(line)
        self._last = time.perf_counter()

    def tick(self, **facts: Any) -> None:
        """One unit is done, `facts` are known of it; stands still where it was the last one asked for."""
        now = time.perf_counter()
        self._done.append(dict(facts, seconds=now - self._last))
        self._last = now
        self._left -= 1
        if self._left == 0:
            self._answers.write(json.dumps(self._done) + "\n")
            self._answers.flush()
            self._done = []
            self.wait()


class Arm:
    """The end that measures: `python -m MODULE ARGUMENTS` in a process of its own, and a log of what it says."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._stream = log.open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stream,
            encoding="utf-8",
        )

    def run(self, units: int) -> List[Dict[str, Any]]:
        """Let it do this many units: what it knows of each, and its `seconds`. Raises RuntimeError where it died.

        Each also holds `others`: how many cores were busy with something else meanwhile.
        """
        began, busy_s, own_s = time.perf_counter(), machine_busy_s(), own_busy_s(self._process.pid)
        self._process.stdin.write(f"{units}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            end = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
            raise RuntimeError(f"{self.name} died:\n{end}")
        took_s = time.perf_counter() - began
        others_s = machine_busy_s() - busy_s - (own_busy_s(self._process.pid) - own_s)
        others = max(0.0, others_s / took_s)
        print(
            f"  {self.name}: {units} in {took_s:.1f} s, {others:.2f} cores busy elsewhere", file=sys.stderr, flush=True
        )
        time.sleep(0.3)  # until its waiting threads have gone to sleep
        return [dict(unit, others=others) for unit in json.loads(answer)]

    def peak_mb(self) -> float:
        """The most memory that the process ever had, in MB; 0 where the system does not say."""
        status = Path(f"/proc/{self._process.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._stream.close()

    def __enter__(self) -> "Arm":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def machine_busy_s() -> float:
    """Seconds that all cores together have been at work since the machine started; 0 where the system does not say."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0.0
    user, nice, system, _idle, _waiting, irq, softirq = map(int, path.read_text().split("\n")[0].split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def own_busy_s(process: int) -> float:
    """Seconds that a process' threads and those of its children have been at work."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended meanwhile
            continue
        if process in (int(path.parent.name), int(fields[1])):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
