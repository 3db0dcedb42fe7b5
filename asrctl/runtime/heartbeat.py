"""Notice that a process of several stands still: each counts in a store, and looks whether the main one goes on.

A process that has ended is noticed by its closed connection. One that is stopped, or hangs in the kernel or a driver,
keeps its connections open, and the others would wait for it for hours.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any, Callable, Dict, List

from asrctl.errors import AsrctlError
from asrctl.runtime.failures import Failures

_EVERY_S = 1.0
# Counted in own beats: where the whole training is stopped (Ctrl-Z), nobody's clock runs.
STILL_AFTER = 20
# How long the main thread has to notice by itself that others have ended.
_GRACE = 5


class Heartbeat:
    """A thread that beats. ended: makes the error to leave word of; then the process ends at once."""

    def __init__(self, rank: int, size: int, failures: Failures, ended: Callable[[str], AsrctlError]) -> None:
        self._rank, self._failures, self._ended_by = rank, failures, ended
        self._watched: List[int] = [other for other in range(size) if other != rank] if rank == 0 else [0]
        self._store = _store()
        failures.keep_in(self._store)
        self._over = threading.Event()
        self._beat(0)

    def start(self) -> None:
        threading.Thread(target=self._run, name="asrctl-heartbeat", daemon=True).start()

    def stop(self) -> None:
        self._over.set()

    def _beat(self, count: int) -> None:
        self._store.set(f"beat/{self._rank}", str(count))

    def _run(self) -> None:
        seen: Dict[int, bytes] = {}
        still: Dict[int, int] = dict.fromkeys(self._watched, 0)
        count = waited = 0
        while not self._over.wait(_EVERY_S):
            count += 1
            try:
                self._beat(count)
                for other in self._watched:
                    found = self._store.get(f"beat/{other}")
                    still[other] = still[other] + 1 if found == seen.get(other) else 0
                    seen[other] = found
                waited = waited + 1 if self._failures.first() is not None else 0
            except RuntimeError:
                self._alone()
                return
            longest = max(still, key=lambda other: still[other])
            if still[longest] >= STILL_AFTER:
                self._end(f"process {longest} stands still: it gave no sign of life for {STILL_AFTER} s")
            if waited > _GRACE:
                self._end("another process has failed")

    def _alone(self) -> None:
        """Whoever kept the store has ended: the launcher, or the main process. What is learned is saved."""
        if not self._over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    def _end(self, message: str) -> None:
        error = self._ended_by(message)
        self._failures.tell(error)
        os._exit(error.exit_code)


def _store() -> Any:
    """A connection of our own to the store that torchrun has set up."""
    import torch.distributed as dist

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"asrctl/{attempt}", dist.TCPStore(host, port, is_master=False, wait_for_workers=False))
