"""`prepare --engine ray`: the shares of a corpus are decoded by the machines of a Ray cluster, and merged here.

The unit of work is a share (prepare_share.py), several for each processor. Ray gives those of a machine that is lost to
others, which go on with what is written of them. All machines see corpus and workspace under the same paths.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator, List, Optional

from asrctl.commands import prepare_share
from asrctl.commands.prepare import PrepareResult, prepare
from asrctl.commands.prepare_request import Found, PrepareRequest, listed
from asrctl.data.shared_work import Share, Work
from asrctl.errors import AsrctlError, BadData, MissingDependency
from asrctl.events import Emit, Note, Progress, ignore
from asrctl.messages import amounts, reasons
from asrctl.messages.command_lines import pip_install
from asrctl.storage import files
from asrctl.storage.workspace import Workspace

# Shares for each processor: the more, the less is lost with a machine, and the shorter is the wait for the last.
_SHARES = 4
_MOST = 4096
_PATIENCE_S = 10.0


def prepare_on_ray(
    workspace: Workspace, request: PrepareRequest, address: Optional[str], emit: Emit = ignore
) -> PrepareResult:
    """As `prepare`, with the decoding done by a cluster.

    address: of the cluster, as ray.init takes it. None: RAY_ADDRESS, or the one on this machine, which is started where
    there is none. Raises what `prepare` raises, and MissingDependency.
    """
    ray = _ray()
    with listed(workspace, request, emit, None, salted=True) as (found, listing), _connected(ray, address):
        work = prepare_share.work_of(found)
        of = _shares(ray, work, emit)
        root = prepare_share.folder_of(workspace, found.name, Share(1, of)).parent.absolute()
        prepare_share.remove_others(root, work, everything=request.force)
        files.make_folder(root)
        with files.unlocked_path(root / "listing.jsonl") as temporary:  # where all machines can read it
            shutil.copyfile(str(listing.path), str(temporary))
        there = replace(found, listing=replace(listing, path=root / "listing.jsonl"))
        _decode(ray, there, work, root, of, emit)
        (root / "listing.jsonl").unlink()
    return prepare(workspace, replace(request, merge=True), emit)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise MissingDependency(
            "--engine ray needs Ray, and Ray needs Python 3.9 or newer", fix=pip_install("asrctl[ray]")
        ) from None
    return ray


@contextlib.contextmanager
def _connected(ray: Any, address: Optional[str]) -> Iterator[None]:
    """Within the block a cluster is at hand; whoever handles our signals stays the same."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise BadData(
            f"there is no Ray cluster at {address or 'hand'} ({reasons.reason(error)})",
            fix="start one with `ray start --head`, and give its address with --address",
        ) from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: Optional[str]) -> None:
    """Raises OSError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()


def _shares(ray: Any, work: Work, emit: Emit) -> int:
    processors = max(1, int(ray.cluster_resources().get("CPU", 1)))
    machines = sum(1 for node in ray.nodes() if node["Alive"])
    of = max(1, min(_SHARES * processors, work.utterances, _MOST))
    where = f"{amounts.count(processors, 'processor')} of {amounts.count(machines, 'machine')}"
    emit(Note(f"{amounts.count(of, 'share')} of the work for {where}"))
    return of


def _decode(ray: Any, found: Found, work: Work, root: Path, of: int, emit: Emit) -> None:
    """All shares that are not there yet. Raises BadData with what went wrong with one."""
    # A machine that is lost is no error of ours, however often that happens.
    task = ray.remote(num_cpus=1, max_retries=-1)(_share)
    common = ray.put((found, work, root))
    waiting = [task.remote(common, Share(number, of)) for number in range(1, of + 1)]
    done = 0
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        try:
            problem = ray.get(ready[0])
        except ray.exceptions.RayError as error:
            problem = (reasons.reason(error), "see the logs of the cluster, and run the command again: it goes on")
        if problem is not None:
            for other in waiting:
                ray.cancel(other)
            raise BadData(problem[0], fix=problem[1])
        done += 1
        emit(Progress("decode", done, of, "shares"))


def _share(common: Any, share: Share) -> Optional[List[str]]:
    """On some machine of the cluster: [what is wrong, what to do] where a share can not be done."""
    found, work, root = common
    try:
        here = prepare_share.on_this_machine(work)
        differences = work.differences(here)
        if differences:
            told = prepare_share.shown(work, here, differences)
            return [f"the machines of the cluster differ: decoded {told}", "install the same versions on all of them"]
        prepare_share.decode(found, work, root / str(share.number), share, 1, ignore)
    except AsrctlError as error:
        return [error.message, error.fix]
    return None
