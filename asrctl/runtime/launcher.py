"""Start several processes of a command on this machine: torchrun's agent, with its store on the loopback address.

The agent ends all when one has failed. It would also kill all that have not ended 30 s after a signal, and a last
checkpoint can take longer; so signals are kept from it, and go to the processes themselves.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set

from asrctl.errors import DeviceError, ProcessLost, Reported
from asrctl.runtime import failures

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# After one has failed the others have said all that they have to say by then; one that stands still says nothing.
_CLOSING_S = 10
_POLL_S, _LOOK_S = 0.05, 0.5


def launch(words: Sequence[str], processes: int, fix: str) -> None:
    """`asrctl WORDS` in so many processes at once. Raises what failed in them, as one error.

    fix: what to do where a process was killed and nobody left word.
    """
    folder = Path(tempfile.mkdtemp(prefix="asrctl-processes-"))
    watched = [number for number in _FORWARDED if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    stopping, closing = _Forwarding(folder, processes, watched), _Closing(folder)
    os.environ[failures.FOLDER] = str(folder)
    try:
        stopping.start()
        closing.start()
        _run(words, processes, folder, fix)
    finally:
        os.environ.pop(failures.FOLDER)
        closing.over.set()
        stopping.end()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        shutil.rmtree(str(folder), ignore_errors=True)


def _run(words: Sequence[str], processes: int, folder: Path, fix: str) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    command = [sys.executable, *_python_options(), *_program(), *words]
    logging.disable(logging.CRITICAL)  # the agent tells what it does about a failure
    try:
        elastic_launch(_config(processes, folder), command[0])(*command[1:])
    except ChildFailedError as failed:
        _raise_first(folder, failed.failures, processes, fix)
    finally:
        logging.disable(logging.NOTSET)


def _config(processes: int, folder: Path) -> Any:
    from torch.distributed.launcher.api import LaunchConfig

    known = {field.name for field in dataclasses.fields(LaunchConfig)}
    values: Dict[str, Any] = {
        "min_nodes": 1,
        "max_nodes": 1,
        "nproc_per_node": processes,
        "run_id": folder.name,
        "rdzv_backend": "c10d",
        "rdzv_endpoint": "127.0.0.1:0",
        "local_addr": "127.0.0.1",
        "max_restarts": 0,
        "monitor_interval": 0.1,
        "log_dir": str(folder / "torch"),
        "shutdown_timeout": _CLOSING_S,
    }
    if "logs_specs" in known:
        from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs

        values["logs_specs"] = DefaultLogsSpecs(log_dir=values["log_dir"])
    return LaunchConfig(**{name: value for name, value in values.items() if name in known})


def _program() -> List[str]:
    """This program, as it was started. By its name alone Python would look for it in the current folder first."""
    script = Path(sys.argv[0])
    return [str(script.resolve())] if script.name == "asrctl" and script.is_file() else ["-m", "asrctl"]


def _python_options() -> List[str]:
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]  # as multiprocessing does

    return list(_args_from_interpreter_flags())


def _raise_first(folder: Path, failed: Dict[int, Any], processes: int, fix: str) -> None:
    """Raises the one error to tell."""
    left = failures.left_in(folder)
    for told in left:
        if told["own"] and told["kind"] != "interrupted":
            raise Reported(told)
    # Of those that were told to stop the agent ends the slower ones by SIGTERM, once the first has ended as it should.
    stopped = any(told["own"] and told["kind"] == "interrupted" for told in left)
    killed = {rank: -failure.exitcode for rank, failure in failed.items() if failure.exitcode < 0}
    killed = {rank: number for rank, number in killed.items() if not (stopped and number == signal.SIGTERM)}
    if killed:
        rank, number = min(killed.items())
        name = signal.Signals(number).name
        why = "; the system does that where memory runs out" if number == signal.SIGKILL else ""
        raise ProcessLost(
            f"process {rank} of {processes} was ended by {name}{why}, so all have ended",
            fix=next((told["fix"] for told in left if told["kind"] != "interrupted"), fix),
        )
    if left:
        raise Reported(left[0])
    codes = {rank: failure.exitcode for rank, failure in failed.items()}
    raise DeviceError(f"the processes ended without a word (exit codes {codes})", fix=fix)


class _Forwarding:
    """A thread that hands on to the processes what is sent to this one. Their ids are the names of files `ID.pid`."""

    def __init__(self, folder: Path, processes: int, watched: Sequence[int]) -> None:
        self._folder, self._processes = folder, processes
        self._watched: Set[Any] = set(watched)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asrctl-signals", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        if self._watched and self._thread.is_alive():
            signal.pthread_kill(self._thread.ident or 0, min(self._watched))
            self._thread.join()

    def _run(self) -> None:
        while self._watched:
            number = signal.sigwait(self._watched)
            while not self._over.is_set() and len(self._ids()) < self._processes:
                time.sleep(_POLL_S)  # they have not begun yet
            if self._over.is_set():
                return
            for process in self._ids():
                _send(process, number)

    def _ids(self) -> List[int]:
        return _ids(self._folder)


class _Closing(threading.Thread):
    """Once a process has failed, those that have not ended some time later are killed. The agent would wait longer."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="asrctl-closing", daemon=True)
        self._folder = folder
        self.over = threading.Event()

    def run(self) -> None:
        while not any(self._folder.glob("*.json")):
            if self.over.wait(_LOOK_S):
                return
        if not self.over.wait(_CLOSING_S):
            for process in _ids(self._folder):
                _send(process, signal.SIGKILL)


def _ids(folder: Path) -> List[int]:
    return [int(path.stem) for path in folder.glob("*.pid")]


def _send(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return  # it has ended already


def report_in(environment: Optional[Dict[str, str]] = None) -> bool:
    """Let the process that has started this one know its id; whether there is one. Takes signals from now on."""
    folder = (environment or dict(os.environ)).get(failures.FOLDER)
    if folder is None:
        return False
    (Path(folder) / f"{os.getpid()}.pid").touch()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    return True
