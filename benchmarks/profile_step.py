"""Where the time of asrctl's training step goes, beside what the machine's matrix products allow.

    python -m benchmarks.profile_step --work benchmark-work --geometry base [--set KEY=VALUE]

Runs the training stage as benchmarks/ours.py does, records a few steps by torch.profiler, and sums the operators' own
time by part of the step (forward, backward, optimizer ...) and by kind (products, copies ...). The floor is the FLOP of
a second of audio over the measured rates of the products that they consist of.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from asrctl.runtime import threads
from benchmarks import machine
from benchmarks.material import DATA, GEOMETRIES, PRESET, ensure
from benchmarks.ours import StepSeconds
from benchmarks.run import default_corpus

# Kind of work: words that the operator's name holds. The first that fits counts.
KINDS = (
    ("optimizer", ("adamw", "adam", "_foreach", "norm_clip", "clip_grad")),
    ("CTC", ("ctc_loss",)),
    ("convolution", ("conv",)),
    ("attention", ("attention", "softmax", "flash")),
    ("products", ("mm", "linear", "matmul", "einsum")),
    ("copies and casts", ("copy", "contiguous", "clone", "cat", "_to_copy", "index", "fill", "zero", "gather", "pad")),
    ("norms", ("norm",)),
    ("activation and sums", ("gelu", "relu", "add", "mul", "sum", "div", "dropout", "bernoulli")),
)
# (part of the step, module, function): calls of it are that part's.
PARTS: Tuple[Tuple[str, str, str], ...] = (
    ("forward", "asrctl.models.ctc", "forward"),
    ("convolutional encoder", "asrctl.models.packed.feature_encoder", "features"),
    ("transformer", "asrctl.models.packed.transformer", "logits"),
    ("loss", "asrctl.models.ctc", "ctc_losses"),
)
BACKWARD, OPTIMIZER, REST = "backward", "optimizer", "rest"


class _Enough(Exception):
    """The steps wanted are recorded."""


@contextmanager
def marked_parts() -> Iterator[None]:
    """Within the block calls of PARTS carry their name into the profile."""
    import functools
    import importlib

    from torch.profiler import record_function

    kept = []
    for part, module_name, name in PARTS:
        module = importlib.import_module(module_name)
        function = getattr(module, name)

        @functools.wraps(function)
        def marked(*arguments: Any, _function: Any = function, _part: str = part, **options: Any) -> Any:
            with record_function(f"part::{_part}"):
                return _function(*arguments, **options)

        kept.append((module, name, function))
        setattr(module, name, marked)
    try:
        yield
    finally:
        for module, name, function in kept:
            setattr(module, name, function)


def record(workspace: Path, model: Path, overrides: Tuple[str, ...], warm: int, steps: int) -> Dict[str, Any]:
    """Train for `warm` + `steps` + `steps` steps; the middle ones are timed, the last ones recorded."""
    from torch.profiler import ProfilerActivity, profile

    from asrctl.commands.train import TrainRequest, train
    from asrctl.events import StepDone
    from asrctl.storage.workspace import Workspace

    overrides = (f"model.checkpoint={model}", *overrides)
    seconds = StepSeconds(workspace, overrides)
    profiler = profile(activities=[ProfilerActivity.CPU])
    clock: List[float] = []

    def listen(event: Any) -> None:
        if not isinstance(event, StepDone):
            return
        if event.step in (warm, warm + steps):
            clock.append(time.perf_counter())
        if event.step == warm + steps:
            profiler.__enter__()
        if event.step == warm + 2 * steps:
            profiler.__exit__(None, None, None)
            raise _Enough

    request = TrainRequest(
        preset=str(PRESET), data=DATA, run="profile", device="cpu", overrides=overrides, overwrite=True
    )
    try:
        with marked_parts():
            train(Workspace(workspace), request, listen)
    except _Enough:
        timed_s = clock[1] - clock[0]
    audio = [sum(seconds.of(step) for step in range(start, start + steps)) for start in (warm, warm + steps)]
    found = shares(profiler.events())
    return dict(found, step_s=timed_s / steps, audio_s_per_s=audio[0] / timed_s, recorded_audio_s=audio[1])


def shares(events: Any) -> Dict[str, Any]:
    """{"parts": {part: ms}, "kinds": {kind: ms}, "table": {part: {kind: ms}}, "operators": the ten longest}."""
    main = next((event.thread for event in events if event.name.startswith("part::")), None)
    table: Dict[str, Dict[str, float]] = defaultdict(lambda: defaultdict(float))
    operators: Dict[str, float] = defaultdict(float)
    for event in events:
        if event.thread != main:
            continue
        own_ms = event.self_cpu_time_total / 1000
        table[part_of(event)][kind_of(event.name)] += own_ms
        operators[event.name] += own_ms
    longest = sorted(operators.items(), key=lambda item: -item[1])[:10]
    return {
        "parts": {part: sum(kinds.values()) for part, kinds in table.items()},
        "kinds": {
            kind: sum(kinds.get(kind, 0.0) for kinds in table.values())
            for kind in sorted({kind for kinds in table.values() for kind in kinds})
        },
        "table": {part: dict(kinds) for part, kinds in table.items()},
        "operators": dict(longest),
    }


def part_of(event: Any) -> str:
    """The part of the step that an operator belongs to, by what it was called from."""
    while event is not None:
        if event.name.startswith("part::"):
            return event.name[len("part::") :]
        if event.name.startswith("autograd::engine"):
            return BACKWARD
        if event.name.startswith("Optimizer.") or "adamw" in event.name:
            return OPTIMIZER
        event = event.cpu_parent
    return REST


def kind_of(name: str) -> str:
    lowered = name.lower()
    return next((kind for kind, words in KINDS if any(word in lowered for word in words)), "other")


def floor(geometry: str, rates: Dict[str, float]) -> Dict[str, float]:
    """Audio seconds per second if nothing but matrix products took time, at the library's measured rates.

    Of the precision that is faster here: fp32 where the chip has no bf16.
    """
    conv, forward = machine.CONV_GFLOP[geometry], machine.FORWARD_GFLOP[geometry]
    fast = max(("bf16", "fp32"), key=lambda precision: rates[f"{precision}_forward"])
    per_tflop = {name: 1 / rates[f"{fast}_{name}"] for name in ("forward", "input_gradient", "weight_gradient")}
    forward_s = forward / 1000 * per_tflop["forward"]
    backward_s = forward / 1000 * (per_tflop["input_gradient"] + per_tflop["weight_gradient"])
    conv_s = conv / 1000 * per_tflop["forward"]
    return {
        "training, features cached": 1 / (forward_s + backward_s),
        "training without the cache": 1 / (conv_s + forward_s + backward_s),
        "evaluation": 1 / (conv_s + forward_s),
    }


def main(arguments: Optional[List[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("benchmark-work"))
    parser.add_argument("--geometry", choices=sorted(GEOMETRIES), default="base")
    parser.add_argument("--warm", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    threads.set_environment()
    material = ensure(default_corpus(), options.work)
    model = material.model(options.geometry)
    found = record(material.workspace, model, tuple(options.overrides), options.warm, options.steps)
    rates = machine.matrix_rates()
    found["rates_tflops"] = rates
    if options.geometry in machine.FORWARD_GFLOP:
        found["floor_audio_s_per_s"] = floor(options.geometry, rates)
    show(found, options.steps)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def show(found: Dict[str, Any], steps: int) -> None:
    total = sum(found["parts"].values())
    print(f"{found['step_s']:.3f} s per step, {found['audio_s_per_s']:.1f} audio-s/s (not recorded)")
    print(f"recorded: {total / steps / 1000:.3f} s of operators per step")
    for part, kinds in sorted(found["table"].items(), key=lambda item: -sum(item[1].values())):
        ordered = sorted(kinds.items(), key=lambda item: -item[1])
        told = ", ".join(f"{kind} {100 * ms / total:.1f}" for kind, ms in ordered if ms > 0.005 * total)
        print(f"  {part}: {100 * sum(kinds.values()) / total:.1f} %  ({told})")
    for name in ("kinds", "operators"):
        ordered = sorted(found[name].items(), key=lambda item: -item[1])
        print(f"{name}: " + ", ".join(f"{kind} {100 * ms / total:.1f} %" for kind, ms in ordered))
    print("TFLOP/s: " + ", ".join(f"{name} {rate:.2f}" for name, rate in found["rates_tflops"].items()))
    for name, speed in found.get("floor_audio_s_per_s", {}).items():
        print(f"floor, {name}: {speed:.0f} audio-s/s")


if __name__ == "__main__":
    main()
