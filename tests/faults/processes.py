"""Commands in processes of their own, forked by a nursery (see nursery.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ..helpers.stops import HANGS_S

NURSERY = Path(__file__).with_name("nursery.py")


@dataclass(frozen=True)
class Ended:
    """What a command did. status: its exit code, or minus the signal that ended it."""

    words: Sequence[str]
    status: int
    stdout: str
    stderr: str
    seconds: float

    def succeeded(self) -> "Ended":
        assert self.status == 0, self.told
        return self

    @property
    def told(self) -> str:
        return f"{' '.join(self.words)}: status {self.status}\n{self.stdout}\n{self.stderr}"

    @property
    def document(self) -> Dict[str, Any]:
        """The document that --json prints."""
        assert self.stdout.count("\n") == 1, self.told
        return json.loads(self.stdout)

    @property
    def result(self) -> Dict[str, Any]:
        self.succeeded()
        return self.document["result"]

    def refused(self, *statuses: int) -> str:
        """The error's sentences, of a command that ended with one of these exit codes and without a traceback."""
        assert self.status in statuses, self.told
        assert "Traceback" not in self.stderr, self.told
        error = self.document["error"]
        assert error["message"] and error["fix"], self.told
        return "\n".join([error["message"], *error["problems"], error["fix"]])


class Started:
    """A command under way."""

    def __init__(self, nursery: "Nursery", words: Sequence[str], pid: int, outputs: Sequence[Path]) -> None:
        self._nursery, self._words, self.pid, self._outputs = nursery, words, pid, outputs
        self._began = time.monotonic()
        self._ended: Optional[Ended] = None

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    @property
    def is_over(self) -> bool:
        """Whether it has ended; a zombie has."""
        return self._state in "ZX"

    @property
    def _state(self) -> str:
        """As the kernel tells it: R, S, D, T (stopped by a signal), Z or X (proc(5))."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return "X"

    def goes_on(self) -> "Started":
        """After it has stopped itself."""
        self.signal(signal.SIGCONT)
        return self

    def for_s(self, seconds: float) -> None:
        """Let it run for so long, or to its end."""
        end = time.monotonic() + seconds
        while not self.is_over and time.monotonic() < end:
            pass

    def stops(self) -> bool:
        """Wait until it has stopped itself: True; or has come to its end."""
        told = self._waited(or_stop=True)
        if "status" in told:
            self._end(told["status"])
        return self._ended is None

    def killed(self) -> Ended:
        self.signal(signal.SIGKILL)
        return self.ended()

    def ended(self) -> Ended:
        if self._ended is None:
            self._end(self._waited()["status"])
        return self._ended

    def _waited(self, **more: Any) -> Dict[str, Any]:
        watch = threading.Timer(HANGS_S, self.signal, (signal.SIGKILL,))
        watch.start()
        told = self._nursery.ask(wait=self.pid, **more)
        watch.cancel()
        return told

    def _end(self, status: int) -> None:
        told = [path.read_text(encoding="utf-8") if path.exists() else "" for path in self._outputs]
        self._ended = Ended(self._words, status, told[0], told[1], time.monotonic() - self._began)


class Nursery:
    """The forking process. prefix: words before its own, such as `unshare -m`."""

    def __init__(self, folder: Path, prefix: Sequence[str] = ()) -> None:
        self._folder = folder
        self._count = 0
        folder.chmod(0o755)
        self._process = subprocess.Popen(
            [*prefix, sys.executable, str(NURSERY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=dict(os.environ, OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1"),
        )
        ready = self._answer()
        assert ready == {"threads": 1}, f"a child of several threads is no copy of a fresh process: {ready}"

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, **order: Any) -> Dict[str, Any]:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Dict[str, Any]:
        return json.loads(self._process.stdout.readline())

    def start(self, words: Sequence[Any], workspace: Path, **more: Any) -> Started:
        """`asrctl WORDS --json` in `workspace`. more: other keys of an order."""
        self._count += 1
        plain = [str(word) for word in words] + ["--json"]
        outputs = [self._folder / f"{self._count}.{name}" for name in ("out", "err")]
        pid = self.ask(
            run=plain,
            stdout=more.pop("stdout", str(outputs[0])),
            stderr=more.pop("stderr", str(outputs[1])),
            cwd=str(self._folder),
            env={"ASRCTL_WORKSPACE": str(workspace), **more.pop("env", {})},
            **more,
        )["pid"]
        return Started(self, plain, pid, list(outputs))

    def stopped(self, words: Sequence[Any], workspace: Path, **more: Any) -> Started:
        """A command that has stopped just before a change (stop_at, stop_on) of its workspace, with all that it holds.

        Whoever polls for something that a command makes can come too late on a busy machine: it has ended by then.
        """
        started = self.start(words, workspace, roots=[str(workspace)], **more)
        assert started.stops(), started.ended().told
        return started

    def run(self, words: Sequence[Any], workspace: Path, **more: Any) -> Ended:
        return self.start(words, workspace, **more).ended()

    def shell(self, *words: Any) -> str:
        """A program in the nursery's own view of the file system."""
        done = self.ask(shell=[str(word) for word in words])
        assert done["status"] == 0, done
        return done["output"]


def changes(path: Path) -> List[str]:
    """What nursery.Counter wrote."""
    return path.read_text(encoding="utf-8").splitlines()
