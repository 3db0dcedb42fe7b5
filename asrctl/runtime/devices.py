"""Which device does the work, and in which precision."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, List, Optional

from asrctl.errors import DeviceError, UsageError
from asrctl.messages import suggestions
from asrctl.runtime import compat

NAMES = ("auto", "cpu", "cuda", "mps", "ipu", "ipu-emulated")
# In which a trained model can be evaluated.
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Device:
    """kind: cpu, cuda, mps, ipu or ipu-emulated. reason: one line that says which and why."""

    kind: str
    reason: str

    @property
    def torch_device(self) -> Any:
        """The torch.device that holds the model; the CPU for an IPU, whose runtime moves it."""
        import torch

        return torch.device(self.kind if self.kind in ("cuda", "mps") else "cpu")

    @property
    def is_host(self) -> bool:
        return self.kind in ("cpu", "cuda", "mps")


def choose(name: str) -> Device:
    """The device to use. `auto` prefers an IPU, then CUDA, then MPS, then the CPU. Raises DeviceError, UsageError."""
    if name not in NAMES:
        raise UsageError(f"there is no device {name!r}", fix=suggestions.one_of(name, NAMES))
    if name == "auto":
        return _auto()
    if name == "cuda" and not cuda_available():
        raise DeviceError(
            "CUDA was asked for, but torch sees no CUDA device", fix="use `--device auto`, or install a CUDA torch"
        )
    if name == "mps" and not mps_available():
        raise DeviceError("MPS was asked for, but torch sees no Apple GPU", fix="use `--device auto`")
    if name == "cpu":
        return Device("cpu", "device: cpu, as asked")
    return Device(name, f"device: {describe(name)}, as asked")


def _auto() -> Device:
    if ipu_available():
        return Device("ipu", "device: ipu, because a Poplar SDK and an IPU are here")
    if cuda_available():
        return Device("cuda", f"device: {describe('cuda')}, because a GPU is here and no IPU")
    if mps_available():
        return Device("mps", "device: mps, because an Apple GPU is here and no IPU or CUDA")
    return Device("cpu", "device: cpu, because no IPU, CUDA or Apple GPU is here")


def describe(kind: str) -> str:
    if kind == "cuda":
        import torch

        return f"cuda ({torch.cuda.get_device_name(0)})"
    return {"ipu-emulated": "ipu-emulated (an emulation in plain torch on the CPU, not an IPU)"}.get(kind, kind)


def ipu_available() -> bool:
    """Whether a real poptorch is installed, loads (its SDK is enabled) and sees an IPU."""
    try:
        import poptorch
    except (ImportError, OSError):
        return False
    if "emulated" in getattr(poptorch, "__version__", ""):
        return False
    return bool(poptorch.ipuHardwareIsAvailable())


def cuda_available() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def cuda_count() -> int:
    """How many GPUs torch sees."""
    import torch

    return int(torch.cuda.device_count())


def mps_available() -> bool:
    import torch

    return bool(torch.backends.mps.is_available())


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 in hardware (AVX512-BF16 or AMX on x86, BF16 on Arm); else bf16 is slower."""
    return bool({"amx_bf16", "avx512_bf16", "bf16"} & set(cpu_flags()))


@lru_cache(maxsize=None)
def cpu_has_tiles() -> bool:
    """Whether the CPU has a matrix unit for bf16 (Intel's AMX), many times as fast as its other arithmetic."""
    return "amx_bf16" in cpu_flags()


def cpu_flags() -> List[str]:
    """What the CPU says it can do, sorted; empty where the system does not tell."""
    if platform.system() != "Linux":
        return []
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    line = next((line for line in text.splitlines() if line.lower().startswith(("flags", "features"))), "")
    return sorted(line.partition(":")[2].split())


def precision(kind: str, wanted: str, option: Optional[str] = None) -> str:
    """fp32, bf16 or fp16. Raises DeviceError where the device can not do what is wanted.

    option: what to type before another one; default: the preset's key.
    """
    import torch

    option = option or f"--set {kind}.precision="
    if wanted == "fp16" and kind != "cuda":
        raise DeviceError(f"fp16 training needs CUDA, not {kind}", fix=f"use `{option}fp32` or bf16")
    if kind == "mps" and wanted == "bf16":
        raise DeviceError("bf16 is not supported on MPS", fix=f"use `{option}fp32`")
    if kind == "cpu" and wanted == "bf16" and not compat.cpu_adds_up_bf16():
        raise DeviceError(
            f"torch {torch.__version__} adds up bf16 products in bf16 on this CPU, and the results are far off",
            fix=f"use `{option}fp32`, or torch 2.1 or newer",
        )
    if wanted != "auto":
        return wanted
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if kind == "cpu" and cpu_has_bf16() and compat.cpu_adds_up_bf16() else "fp32"


def autocast(torch_device: Any, name: str) -> Any:
    """The autocast context of a precision name."""
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name)
    return torch.autocast(torch_device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
