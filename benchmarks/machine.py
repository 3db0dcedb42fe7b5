"""What the numbers were taken on, and how fast it multiplies matrices: the floor under every other time."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict

# GFLOP per second of audio through wav2vec 2.0 (a multiply-add counts as two) at 49.9 frames per second: products with
# weights, without the quadratic part of attention (a tenth more for utterances of 11 s). Backward is twice forward.
CONV_GFLOP = {"base": 4.9, "large": 4.9}
FORWARD_GFLOP = {"base": 8.8, "large": 31.0}


def describe() -> Dict[str, Any]:
    """Processor, memory, libraries and the number of threads."""
    import datasets
    import torch
    import transformers

    from asrctl import __version__
    from asrctl.runtime import devices

    found: Dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bf16_in_hardware": devices.cpu_has_bf16(),
        "python": platform.python_version(),
        "asrctl": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "datasets": datasets.__version__,
    }
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        found["gpu"] = torch.cuda.get_device_name(0)
    found["tflops"] = matrix_rates("cuda", rows=16384, seconds=0.2) if on_gpu else matrix_rates(seconds=0.2)
    return found


def reached_tflops(geometry: str, work: str, audio_s_per_s: float) -> "float | None":
    """TFLOP/s of products at a throughput. work: cached or train (forward and backward), or eval (forward only)."""
    if geometry not in FORWARD_GFLOP:
        return None
    conv, forward = CONV_GFLOP[geometry], FORWARD_GFLOP[geometry]
    gflop = {"cached": 3 * forward, "train": conv + 3 * forward, "eval": conv + forward}[work]
    return gflop * audio_s_per_s / 1000


def processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    kinds = [flag for flag in ("avx512_bf16", "amx_bf16") if any(flag in line for line in lines)]
    return " ".join([names[0] if names else platform.machine(), *kinds])


def matrix_rates(device: str = "cpu", rows: int = 2048, seconds: float = 0.5) -> Dict[str, float]:
    """TFLOP/s of the products of a base layer's feed-forward part, `rows` frames at once.

    forward: x @ w.t(); weight_gradient: g.t() @ x as autograd writes it; weight_gradient_transposed: the same from a
    contiguous copy of the transposed g, the copy counted.
    """
    import torch

    width, inner = 768, 3072
    found: Dict[str, float] = {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        x = torch.randn(rows, width, device=device).to(kind)
        w = torch.randn(inner, width, device=device).to(kind)
        g = torch.randn(rows, inner, device=device).to(kind)
        found[f"{name}_forward"] = _rate(lambda x=x, w=w: x @ w.t(), rows * width * inner, device, seconds)
        found[f"{name}_input_gradient"] = _rate(lambda g=g, w=w: g @ w, rows * width * inner, device, seconds)
        found[f"{name}_weight_gradient"] = _rate(lambda g=g, x=x: g.t() @ x, rows * width * inner, device, seconds)
        found[f"{name}_weight_gradient_transposed"] = _rate(
            lambda g=g, x=x: g.t().contiguous() @ x, rows * width * inner, device, seconds
        )
    return found


def _rate(product: Callable[[], Any], multiplications: int, device: str, seconds: float) -> float:
    import torch

    def once() -> float:
        began = time.perf_counter()
        product()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    once()
    times, began = [once()], time.perf_counter()
    while time.perf_counter() - began < seconds:
        times.append(once())
    return 2 * multiplications / statistics.median(times) / 1e12
