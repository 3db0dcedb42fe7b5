"""The measurements: each gives rows of the table, from rounds in which the stock recipe and asrctl take turns."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from benchmarks import material as materials
from benchmarks.gate import Arm
from benchmarks.material import Material

# What switches the cache of the frozen encoder's output off.
CACHE_OFF: Sequence[str] = ()


@dataclass(frozen=True)
class Setting:
    """How much is measured. rounds: turns of each arm. steps: optimiser steps in a turn. device: cpu or cuda."""

    material: Material
    geometry: str
    device: str
    rounds: int
    steps: int
    epochs: int
    prepare_hours: float
    dropout: float
    eval_model: Optional[Path]

    def model(self) -> Path:
        return self.material.model(self.geometry)


def row(name: str, unit: str, stock: Sequence[float], ours: Sequence[float], target: float, **more: Any) -> Dict:
    """A row of the table. stock, ours: a number per round, taken in turns; the more the better.

    ratio: of the medians; low, high: the least and the greatest ratio of one round.
    """
    ratios = [mine / theirs for theirs, mine in zip(stock, ours)]
    return dict(
        name=name,
        unit=unit,
        stock=statistics.median(stock),
        asrctl=statistics.median(ours),
        ratio=statistics.median(ours) / statistics.median(stock),
        low=min(ratios),
        high=max(ratios),
        rounds=len(ratios),
        target=target,
        stock_rounds=list(stock),
        asrctl_rounds=list(ours),
        **more,
    )


def inverse(name: str, unit: str, stock: Sequence[float], ours: Sequence[float], target: float, **more: Any) -> Dict:
    """A row whose numbers are better when less: the ratios are stock over asrctl."""
    found = row(name, unit, stock, ours, target, **more)
    low, high = 1 / found["high"], 1 / found["low"]
    return dict(found, ratio=1 / found["ratio"], low=low, high=high)


def speed(steps: Sequence[Dict[str, Any]]) -> float:
    """Seconds of real audio per second of a turn."""
    return sum(step["audio_s"] for step in steps) / sum(step["seconds"] for step in steps)


# -- the arms ---------------------------------------------------------------------------------------------------------


def stock_arm(setting: Setting, name: str, command: str, *options: str, model: Optional[Path] = None) -> Arm:
    here = setting.material
    arguments = ["benchmarks.stock", command, "--data", here.arrow, "--model", model or setting.model()]
    arguments += ["--output", here.work / "stock-output", "--device", setting.device]
    arguments += ["--dropout", str(setting.dropout), *options]
    return Arm(name, arguments, here.work / f"{name}.log")


def asrctl_train(setting: Setting, name: str, *overrides: str) -> Arm:
    here = setting.material
    arguments = ["benchmarks.ours", "train", "--workspace", here.workspace, "--model", setting.model(), "--run", name]
    dropouts = [f"model.{kind}_dropout={setting.dropout}" for kind in ("hidden", "attention", "activation")]
    for override in (*dropouts, *overrides):
        arguments += ["--set", override]
    return Arm(name, [*arguments, "--device", setting.device], here.work / f"{name}.log")


# -- training ---------------------------------------------------------------------------------------------------------


def training(setting: Setting) -> List[Dict[str, Any]]:
    """Steady state, in turns of `steps` steps: with the encoder's output computed each time, and stock at its best."""
    turns: Dict[str, List[List[Dict[str, Any]]]] = {"stock": [], "asrctl": []}
    with ExitStack() as stack:
        arms = {
            "stock": stack.enter_context(stock_arm(setting, "stock-best", "train", "--bf16", "--grouped")),
            "asrctl": stack.enter_context(asrctl_train(setting, "asrctl-uncached", *CACHE_OFF)),
        }
        for arm in arms.values():
            arm.run(4)  # start-up and the first steps
        for _ in range(setting.rounds):
            for name, arm in arms.items():
                turns[name].append(arm.run(setting.steps))
        memory = {name: arm.peak_mb() for name, arm in arms.items()}
    stock, ours = ([speed(turn) for turn in turns[name]] for name in ("stock", "asrctl"))
    return [row("training without the cache", "audio-s/s", stock, ours, 1.25, peak_mb=memory, **_device(turns))]


def epochs(setting: Setting) -> List[Dict[str, Any]]:
    """Whole epochs from the start of the program: asrctl builds its cache in the first and uses it in the others.

    Stock fp32 is slow and does one epoch, in the turns of asrctl's first; its other epochs are taken to be alike.
    """
    from benchmarks.ours import StepSeconds

    per_epoch = StepSeconds(setting.material.workspace, ()).steps_per_epoch
    turns: Dict[str, List[List[Dict[str, Any]]]] = {"stock": [], "asrctl": [], "fp32": []}
    _forget_cache(setting)
    with ExitStack() as stack:
        arms = {
            "stock": stack.enter_context(stock_arm(setting, "stock-best", "train", "--bf16", "--grouped")),
            "asrctl": stack.enter_context(asrctl_train(setting, "asrctl")),
            "fp32": stack.enter_context(stock_arm(setting, "stock-fp32", "train")),
        }
        starts = {name: arm.run(1) for name, arm in arms.items()}
        for epoch in range(setting.epochs):
            for turn in cut(per_epoch - (epoch == 0), setting.steps):
                for name, arm in arms.items():
                    if name != "fp32" or epoch == 0:
                        turns[name].append(arm.run(turn))
        memory = {name: arm.peak_mb() for name, arm in arms.items()}
    return _epoch_rows(setting, turns, starts, memory, per_epoch)


def cut(steps: int, most: int) -> List[int]:
    """`steps` in equal turns of at most about `most`."""
    turns = max(1, round(steps / most))
    return [steps * (turn + 1) // turns - steps * turn // turns for turn in range(turns)]


def _epoch_rows(setting: Setting, turns: Any, starts: Any, memory: Any, per_epoch: int) -> List[Dict[str, Any]]:
    first = len(cut(per_epoch - 1, setting.steps))  # turns of the first epoch
    later = {name: [speed(turn) for turn in turns[name][first:]] for name in ("stock", "asrctl")}
    seconds = {name: [sum(step["seconds"] for step in turn) for turn in turns[name]] for name in turns}
    begun = {name: steps[0]["seconds"] for name, steps in starts.items()}
    whole = {name: begun[name] + sum(values) for name, values in seconds.items()}
    # The epochs that stock fp32 did not do, without the start of the program.
    whole["fp32"] += (setting.epochs - 1) * sum(seconds["fp32"]) * per_epoch / (per_epoch - 1)
    detail = {"start_s": begun, "peak_mb": memory, "seconds": seconds}
    found = [
        inverse(f"{setting.epochs} epochs, cache built", "s", [whole["stock"]], [whole["asrctl"]], 1.7, **detail),
        inverse(f"{setting.epochs} epochs, stock in fp32", "s", [whole["fp32"]], [whole["asrctl"]], 4.0),
        row(
            "stock fp32, random order (for comparison: stock at its best)",
            "audio-s/s",
            [speed(turn) for turn in turns["stock"][:first]],
            [speed(turn) for turn in turns["fp32"]],
            0.0,
        ),
    ]
    if setting.epochs > 1:
        found.insert(0, row("training, features cached", "audio-s/s", later["stock"], later["asrctl"], 2.0))
    return found


def _forget_cache(setting: Setting) -> None:
    cache = setting.material.workspace / "cache" / "features"
    if cache.exists():
        from asrctl import files

        files.remove_tree(cache)


def stock_modes(setting: Setting) -> List[Dict[str, Any]]:
    """The stock recipe against itself: fp32 and bf16 in random order, bf16 grouped by length."""
    options = {"fp32": (), "bf16": ("--bf16",), "grouped": ("--bf16", "--grouped")}
    turns: Dict[str, List[List[Dict[str, Any]]]] = {name: [] for name in options}
    with ExitStack() as stack:
        arms = {name: stack.enter_context(stock_arm(setting, name, "train", *more)) for name, more in options.items()}
        for arm in arms.values():
            arm.run(2)
        for _ in range(setting.rounds):
            for name, arm in arms.items():
                turns[name].append(arm.run(setting.steps))
    speeds = {name: [speed(turn) for turn in values] for name, values in turns.items()}
    return [
        row(f"stock {name} (for comparison: stock fp32)", "audio-s/s", speeds["fp32"], speeds[name], 0.0)
        for name in ("bf16", "grouped")
    ]


def _device(turns: Any) -> Dict[str, Any]:
    """What a GPU had to hold, for arms that ran on one."""
    found = {
        name: max(step.get("device_mb", 0.0) for turn in values for step in turn) for name, values in turns.items()
    }
    return {"device_mb": found} if any(found.values()) else {}


# -- evaluation -------------------------------------------------------------------------------------------------------


def evaluation(setting: Setting) -> List[Dict[str, Any]]:
    """Whole passes over the split, each side in bf16. Agreement is with asrctl's own fp32 transcripts."""
    model = setting.eval_model or setting.model()
    here = setting.material
    ours = ["benchmarks.ours", "eval", "--workspace", here.workspace, "--model", model, "--device", setting.device]
    passes: Dict[str, List[Dict[str, Any]]] = {}
    with Arm("eval-fp32", [*ours, "--precision", "fp32"], here.work / "eval-fp32.log") as exact:
        exact.run(1)
        passes["exact"] = exact.run(1)
    with ExitStack() as stack:
        arms = {
            "stock": stack.enter_context(stock_arm(setting, "eval-stock", "eval", "--bf16", model=model)),
            "grouped": stack.enter_context(
                stock_arm(setting, "eval-grouped", "eval", "--bf16", "--grouped", model=model)
            ),
            "asrctl": stack.enter_context(Arm("eval-asrctl", ours, here.work / "eval-asrctl.log")),
        }
        for name, arm in arms.items():
            arm.run(1)
            passes[name] = []
        for _ in range(setting.rounds):
            for name, arm in arms.items():
                passes[name] += arm.run(1)
        memory = {name: arm.peak_mb() for name, arm in arms.items()}
    return _evaluation_rows(passes, memory)


def _evaluation_rows(passes: Dict[str, List[Dict[str, Any]]], memory: Dict[str, float]) -> List[Dict[str, Any]]:
    speeds = {name: [speed([one]) for one in values] for name, values in passes.items()}
    best = max(("stock", "grouped"), key=lambda name: statistics.median(speeds[name]))
    told = {
        "wer": {name: values[0]["wer"] for name, values in passes.items()},
        "against_fp32": {name: disagreement(passes["exact"][0], values[0]) for name, values in passes.items()},
    }
    return [
        row("evaluation", "audio-s/s", speeds[best], speeds["asrctl"], 2.5, best_stock=best, peak_mb=memory, **told),
        row(
            "stock evaluation grouped by length (for comparison: in order)",
            "audio-s/s",
            speeds["stock"],
            speeds["grouped"],
            0.0,
        ),
    ]


def disagreement(exact: Dict[str, Any], other: Dict[str, Any]) -> Dict[str, float]:
    """Character and word error rate of the hypotheses against those in fp32."""
    import jiwer

    mine, theirs = dict(exact["pairs"]), dict(other["pairs"])
    texts = [text for text in mine if text in theirs and mine[text].strip()]
    if not texts:
        return {}
    references, hypotheses = [mine[text] for text in texts], [theirs[text] for text in texts]
    return {"cer": jiwer.cer(references, hypotheses), "wer": jiwer.wer(references, hypotheses)}


# -- commands ---------------------------------------------------------------------------------------------------------


def preparation(setting: Setting) -> List[Dict[str, Any]]:
    """The whole command from files to prepared data, with one worker and with two, and what it leaves on disk."""
    manifest, listing = materials.copies(setting.material, setting.prepare_hours)
    times: Dict[Any, List[float]] = {}
    memory: Dict[str, float] = {}
    sizes: Dict[str, float] = {}
    for number in range(setting.rounds):
        for workers in (1, 2):
            for name in ("stock", "asrctl"):
                target = setting.material.work / f"prepared-{name}-{workers}-{number}"
                command = _prepare_command(setting, name, manifest, listing, target, workers)
                seconds, peak_mb = run(command, setting.material.work / f"prepare-{name}.log")
                times.setdefault((name, workers), []).append(seconds)
                memory[name] = max(memory.get(name, 0.0), peak_mb)
                sizes[name] = kept_bytes(name, target)
                _remove(target)
    hours = len(materials_of(listing)) / len(setting.material.utterances) * setting.material.audio_s / 3600
    rows = [
        inverse(
            f"prepare, {workers} worker{'s' * (workers > 1)}",
            "s",
            times["stock", workers],
            times["asrctl", workers],
            3.0,
            hours=hours,
            peak_mb=memory,
        )
        for workers in (1, 2)
    ]
    megabytes = {name: size / 1e6 / hours for name, size in sizes.items()}
    formats = _format_sizes(setting, megabytes)
    return [*rows, inverse("disk", "MB/h", [megabytes["stock"]], [megabytes["asrctl"]], 2.0, formats=formats)]


def _prepare_command(
    setting: Setting, name: str, manifest: Path, listing: Path, target: Path, workers: int
) -> List[str]:
    python = [sys.executable, "-m"]
    if name == "stock":
        model = setting.material.model("tiny")
        files = ["--listing", str(listing), "--model", str(model), "--target", str(target)]
        return [*python, "benchmarks.stock", "prepare", *files, "--workers", str(workers)]
    options = ["--workspace", str(target), "--workers", str(workers), "--json"]
    return [*python, "asrctl", "prepare", "manifest", str(manifest), *options]


def materials_of(listing: Path) -> List[Any]:
    import json

    return json.loads(listing.read_text(encoding="utf-8"))


def kept_bytes(name: str, target: Path) -> int:
    """Bytes of prepared speech: what training reads, without lists and vocabularies."""
    pattern = "speech*.arrow" if name == "stock" else "prepared/**/*.arrow"
    return sum(path.stat().st_size for path in target.glob(pattern))


def _format_sizes(setting: Setting, megabytes: Dict[str, float]) -> Dict[str, float]:
    """MB per hour of every form that the speech takes."""
    source = sum(Path(row["path"]).stat().st_size for row in setting.material.utterances)
    hours = setting.material.audio_s / 3600
    found = {
        "source files": source / 1e6 / hours,
        "stock float32 Arrow": megabytes["stock"],
        "asrctl int16": megabytes["asrctl"],
    }
    cache = setting.material.workspace / "cache" / "features"
    if cache.exists():
        size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        found["asrctl cached features (by train, optional)"] = size / 1e6 / hours
    return found


def run(command: Sequence[str], log: Path) -> "tuple[float, float]":
    """(seconds, peak MB of the largest process) of a whole command. Raises CalledProcessError."""
    with log.open("wb") as stream:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    process.returncode = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
    if process.returncode:
        sys.stderr.write(log.read_text(errors="replace")[-2000:])
        raise subprocess.CalledProcessError(process.returncode, list(command))
    return seconds, usage.ru_maxrss / (1024 if sys.platform == "linux" else 2**20)


def _remove(target: Path) -> None:
    from asrctl import files

    files.remove_tree(target)


def help_time(setting: Setting) -> List[Dict[str, Any]]:
    """`asrctl --help` against what the stock recipe imports before it can say anything."""
    stock = "import datasets, transformers; from transformers import Trainer, TrainingArguments, AutoModelForCTC"
    times: Dict[str, List[float]] = {"stock": [], "asrctl": []}
    log = setting.material.work / "help.log"
    for number in range(max(5, setting.rounds)):
        for name, rest in (("stock", ["-c", stock]), ("asrctl", ["-m", "asrctl", "--help"])):
            seconds, _ = run([sys.executable, *rest], log)
            if number:
                times[name].append(seconds * 1000)
    return [inverse("asrctl --help", "ms", times["stock"], times["asrctl"], 0.0, limit=150.0)]


MEASUREMENTS = {
    "epochs": epochs,
    "train": training,
    "eval": evaluation,
    "prepare": preparation,
    "help": help_time,
    "stock": stock_modes,
}
