"""Whole commands in turns: `prepare` and `--help`, with what they leave on disk and the memory that they took."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

from benchmarks import material as materials
from benchmarks import measured
from benchmarks.rows import Setting, inverse


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
    hours = len(_rows_of(listing)) / len(setting.material.utterances) * setting.material.audio_s / 3600
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


def _rows_of(listing: Path) -> List[Any]:
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
        from asrctl.storage import files

        found["asrctl cached features (by train, optional)"] = files.disk_bytes(cache) / 1e6 / hours
    return found


def run(command: Sequence[str], log: Path) -> "tuple[float, float]":
    """(seconds, peak MB of the largest process) of a whole command. Raises CalledProcessError."""
    with log.open("wb") as stream:
        used = measured.run(command, stdout=stream, stderr=stream)
    if used.exit_code:
        sys.stderr.write(log.read_text(errors="replace")[-2000:])
        raise subprocess.CalledProcessError(used.exit_code, list(command))
    return used.seconds, used.peak_bytes / 2**20


def _remove(target: Path) -> None:
    from asrctl.storage import files

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
