"""An emulated IPU: `poptorch` and `popart` in plain torch, for machines that have no Poplar SDK.

`activate()` makes `import poptorch` and `import popart` find the two packages in this folder, for this process only.
They execute what the device would: pipeline stages and their depth rule, combined batches, gradient accumulation and
replication, device iterations, output modes, static shapes, half precision, loss scaling, optimizer state. They cover
what optimum-graphcore's CTC path touches; any other name, option or keyword raises "not emulated: NAME".

What the host does otherwise than a device:

- time and memory: nothing is limited to 900 MB per IPU, and stages run one after the other;
- settings that only place or speed things up are taken and have no effect: available memory proportion, optimizer
  state off chip, replicated tensor sharding, recomputation, outlining, partials type (a host matmul of halves
  accumulates in float32 whatever the setting);
- stochastic rounding happens where half weights and half optimizer state are stored, not after every operation;
- weights written by the host reach the device at once, not at the next attach;
- random numbers are torch's own, keyed by (seed, step, micro-batch).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from asrctl.errors import DeviceError

_FOLDER = Path(__file__).resolve().parent
_NAMES = ("poptorch", "popart")


def activate() -> None:
    """Makes `poptorch` and `popart` the emulated ones for the rest of this process. Doing it again changes nothing.

    Raises DeviceError if the real ones are imported already: two programs' half states can not be exchanged.
    """
    for name in _NAMES:
        if name in sys.modules and not _is_ours(sys.modules[name].__spec__):
            raise DeviceError(
                f"the real {name} is already imported in this process, so the IPU can not be emulated in it.",
                fix="start a new process for the emulated IPU, or use `--device ipu`",
            )
    # A path, not an entry in sys.modules: data loader workers that are spawned inherit sys.path.
    if str(_FOLDER) not in sys.path:
        sys.path.insert(0, str(_FOLDER))
        importlib.invalidate_caches()


def is_emulated() -> bool:
    """True if `import poptorch` gives the emulation in this process."""
    if "poptorch" in sys.modules:
        return _is_ours(sys.modules["poptorch"].__spec__)
    return _is_ours(importlib.util.find_spec("poptorch"))


def _is_ours(spec: Any) -> bool:
    return spec is not None and spec.origin is not None and _FOLDER in Path(spec.origin).resolve().parents
