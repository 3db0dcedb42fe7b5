"""The processes that train one model together: which one this is, and what they tell each other.

torchrun starts them and names them by variables of the environment. What they say goes through gloo on the host;
on CUDA, gradients go through NCCL. One process alone is `Ranks`, whose methods cost nothing.
"""

from __future__ import annotations

import datetime
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Iterator, List, Mapping, NoReturn, Optional, Sequence, Tuple, TypeVar, cast

from asrctl.errors import AsrctlError, DeviceError, ProcessLost, Reported, told
from asrctl.runtime import memory, threads
from asrctl.runtime.failures import FOLDER, Failures
from asrctl.runtime.heartbeat import Heartbeat

Item = TypeVar("Item")

# The other processes may wait as long for one that writes a checkpoint; one that hangs is noticed by its heartbeat.
_PATIENCE = datetime.timedelta(hours=2)
_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """Where this process stands among those that torchrun started. local_size: processes on this machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    def one_machine(self) -> bool:
        return self.size == self.local_size


def place(environment: Mapping[str, str] = os.environ) -> Optional[Place]:
    """This process's place; None where torchrun has not started it."""
    if any(not environment.get(name) for name in _NAMES):
        return None
    rank, size, local_rank, local_size = (int(environment[name]) for name in _NAMES[:4])
    return Place(rank, size, local_rank, local_size)


class Ranks:
    """One process alone, and what all of several have. rank: 0 is the main one, which decides and writes."""

    rank, size, local_size = 0, 1, 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def total(self, values: Any) -> Any:
        """float64 array of one shape in each process -> their sum, in all of them."""
        return values

    def all_of(self, holds: bool) -> bool:
        """Whether it holds in every process."""
        return holds

    def gather(self, item: Item) -> List[Item]:
        """What each process gives, in the order of their ranks, in all of them."""
        return [item]

    def broadcast(self, item: Any) -> Any:
        """What the main process gives, in all of them."""
        return item

    def announce(self, order: int, value: float = 0.0) -> None:
        """Tell the others what comes next. Only of the main process."""

    def heard(self) -> Tuple[int, float]:
        """What the main process has announced. Only of the others."""
        raise NotImplementedError

    def share(self, tensors: Sequence[Any]) -> None:
        """Make the tensors those of the main process."""

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process goes through the block before the others."""
        yield

    def agreed(self, made: Callable[[], Item], known: Callable[[Item], Any]) -> Item:
        """What `made` gives, in the main process first.

        What it raises in one process is raised in all. known: what of it has to be equal everywhere.
        """
        return made()

    def go_on_with(self, fix: str, ended: Optional[Callable[[str], None]] = None) -> None:
        """What to do when a process is lost from now on. ended: called with the message, where nobody else could."""

    def close(self) -> None:
        """Leave the group."""


ALONE = Ranks()


class Group(Ranks):
    """One of several processes.

    Whatever a process waits for from another raises ProcessLost when that one has ended; where the other left word
    why, in its words. A process that stands still is noticed by its heartbeat, and this one ended.
    """

    def __init__(self, where: Place, failures: Failures) -> None:
        import torch.distributed as dist

        self.rank, self.size, self.local_size = where.rank, where.size, where.local_size
        self._dist, self._failures = dist, failures
        self._fix = "run the same command again"
        self._ended: Optional[Callable[[str], None]] = None
        if where.one_machine:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback())
        try:
            dist.init_process_group("gloo", timeout=_PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise DeviceError(
                f"the processes of this training can not reach each other ({str(error).splitlines()[0]})",
                fix="see docs/distributed.md: every machine needs the same --rdzv-endpoint, and a network device that "
                "GLOO_SOCKET_IFNAME may name",
            ) from None
        self._nccl: Any = None
        self._heartbeat = Heartbeat(where.rank, where.size, failures, self._end_after_loss)
        with self._explained():
            dist.barrier()
        self._heartbeat.start()

    # -- what the others say ----------------------------------------------------------------------------------------

    def total(self, values: Any) -> Any:
        import torch

        tensor = torch.from_numpy(values.copy())
        with self._explained():
            self._dist.all_reduce(tensor)
        return tensor.numpy()

    def all_of(self, holds: bool) -> bool:
        import numpy as np

        return bool(self.total(np.array([0.0 if holds else 1.0]))[0] == 0)

    def gather(self, item: Item) -> List[Item]:
        found: List[Any] = [None] * self.size
        with self._explained():
            self._dist.all_gather_object(found, item)
        return found

    def broadcast(self, item: Any) -> Any:
        held = [item]
        with self._explained():
            self._dist.broadcast_object_list(held, src=0)
        return held[0]

    def announce(self, order: int, value: float = 0.0) -> None:
        self._said([float(order), value])

    def heard(self) -> Tuple[int, float]:
        order, value = self._said([0.0, 0.0])
        return int(order), value

    def _said(self, values: List[float]) -> List[float]:
        import torch

        tensor = torch.tensor(values, dtype=torch.float64)
        with self._explained():
            self._dist.broadcast(tensor, src=0)
        return list(tensor.tolist())

    def share(self, tensors: Sequence[Any]) -> None:
        for tensor in tensors:
            held = tensor.detach().cpu().contiguous()
            with self._explained():
                self._dist.broadcast(held, src=0)
            tensor.detach().copy_(held)

    # -- tensors ----------------------------------------------------------------------------------------------------

    def exchange(self, target: Any, source: Any) -> None:
        """source: a chunk for each process, one after the other; target: the chunk of each process that is ours."""
        with self._explained():
            self._dist.all_to_all_single(target, source)

    def gather_tensor(self, target: Any, source: Any) -> None:
        """source (count,) of each process -> target (processes * count,)."""
        with self._explained():
            self._dist.all_gather(list(target.split(len(source))), source)

    def add_up(self, tensor: Any) -> None:
        """The sum over all processes, in place; on CUDA by NCCL."""
        group = None
        if tensor.device.type == "cuda":
            if self._nccl is None:
                self._nccl = self._dist.new_group(backend="nccl", timeout=_PATIENCE)
            group = self._nccl
        with self._explained():
            self._dist.all_reduce(tensor, group=group)

    def gather_flags(self, flags: Any) -> Any:
        """(count,) bool of each process -> (processes, count) bool, in all of them."""
        import numpy as np
        import torch

        own = torch.from_numpy(flags.astype(np.uint8))
        found = torch.empty(self.size * len(own), dtype=torch.uint8)
        self.gather_tensor(found, own)
        return found.numpy().reshape(self.size, len(own)).astype(bool)

    # -- together ---------------------------------------------------------------------------------------------------

    @contextmanager
    def main_first(self) -> Iterator[None]:
        if not self.is_main:
            self._wait()
        yield
        if self.is_main:
            self._wait()

    def _wait(self) -> None:
        with self._explained():
            self._dist.barrier()

    def agreed(self, made: Callable[[], Item], known: Callable[[Item], Any]) -> Item:
        found: Optional[Item] = None
        own: Optional[AsrctlError] = None
        wrong = None
        for turn in (True, False):  # the main process, then the others
            if turn == self.is_main and wrong is None:
                try:
                    found = made()
                except AsrctlError as error:
                    own = error
            wrong = next(filter(None, self.gather(None if own is None else told(own))), None)
        if wrong is not None:
            raise own or Reported(wrong)
        if len({repr(words) for words in self.gather(known(cast(Item, found)))}) > 1:
            raise DeviceError(
                "the processes do not see the same data, runs and options",
                fix="give them the same command, and one workspace on a file system that all machines share",
            )
        return cast(Item, found)

    # -- when one is lost -------------------------------------------------------------------------------------------

    def go_on_with(self, fix: str, ended: Optional[Callable[[str], None]] = None) -> None:
        self._fix, self._ended = fix, ended

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._lost(error)

    def _lost(self, error: RuntimeError) -> NoReturn:
        if memory.ran_out(error):
            raise error
        known = self._failures.first()
        if known is not None:
            raise known from None
        raise ProcessLost(
            f"one of the {self.size} processes of this training has ended, so all have", fix=self._fix
        ) from error

    def _end_after_loss(self, message: str) -> AsrctlError:
        """What to tell of a process that stands still; called in the heartbeat's thread, which then ends this one."""
        error = self._failures.first() or DeviceError(message, fix=self._fix)
        if self._ended is not None:
            self._ended(error.message)
        return error

    def close(self) -> None:
        self._heartbeat.stop()


def join(where: Place, failures: Failures) -> Ranks:
    """The group of all processes, once all are there. Raises DeviceError."""
    return Group(where, failures) if where.size > 1 else ALONE


def use_device(where: Place, kind: str) -> None:
    """Let each process of a machine compute with its part of the cores, and its own GPU. kind: cpu or cuda."""
    import torch

    if kind == "cuda":
        torch.cuda.set_device(where.local_rank)
    if wished_threads() is None:
        torch.set_num_threads(max(1, threads.default_workers() // where.local_size))


def wished_threads() -> Optional[int]:
    """Threads that somebody asks a process to compute with; torchrun sets 1 where nobody does."""
    wished = os.environ.get("OMP_NUM_THREADS", "")
    by_torchrun = wished == "1" and place() is not None and FOLDER not in os.environ
    return int(wished) if wished.isdecimal() and not by_torchrun else None


def _loopback() -> str:
    import socket

    names = [name for _, name in socket.if_nameindex()]
    return next((name for name in ("lo", "lo0") if name in names), names[0] if names else "lo")
