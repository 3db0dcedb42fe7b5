"""What processes that train together have to have in common before the first step, and what a run keeps to."""

from __future__ import annotations

from typing import Any, Sequence

from asrctl.errors import DeviceError
from asrctl.events import Emit, Note, Warned
from asrctl.messages import amounts
from asrctl.runtime import ranks, threads
from asrctl.runtime.ranks import Ranks
from asrctl.training.trainer_state import Threads, TrainerState


def compute_with(state: TrainerState, emit: Emit) -> None:
    """Set, on a CPU, how many threads this process computes with, and note it in the run's state.

    On as many cores a run keeps to them, in whatever number of processes: that makes it the same bit for bit.
    """
    import torch

    before, cores, wished = state.threads, threads.default_workers(), ranks.wished_threads()
    if before is not None and before.each != torch.get_num_threads():
        each = amounts.count(before.each, "thread")
        if wished is None and before.cores == cores:
            torch.set_num_threads(before.each)
            emit(Note(f"each process computes with {each}, as the run has so far"))
        else:
            goes_on = f"goes on with {torch.get_num_threads()}: equal but for rounding"
            emit(Note(f"the run has computed with {each} a process so far, and {goes_on}"))
    state.threads = Threads(torch.get_num_threads(), cores)


def refuse_shared_statistics(group: Ranks, model: Any) -> None:
    """Raises DeviceError for what several processes would each keep for themselves."""
    import torch

    kept = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    if group.size > 1 and any(module.track_running_stats for module in kept):
        raise DeviceError(
            "this model keeps statistics of the batches that it sees (batch norm), and each process would keep others",
            fix="train it in one process, with `--processes 1`",
        )


def warn_of_idleness(seconds: Sequence[float], size: int, kind: str, emit: Emit) -> None:
    """Where a step is cut into fewer micro-batches than there are processes. seconds: of each."""
    count = len(seconds)
    if count < size:
        emit(
            Warned(
                f"a step is cut into {amounts.count(count, 'micro-batch', 'micro-batches')}, so {size - count} of "
                f"{size} processes have nothing to do; `--set {kind}.micro_batch_s={sum(seconds) / size:.2g}` makes "
                "shorter ones"
            )
        )
