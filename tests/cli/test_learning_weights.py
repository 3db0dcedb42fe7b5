"""Which weights learn, from the command line: a run that was stopped, that lost its model, and what is said of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from asrctl.storage.ownership import CHECKPOINT
from asrctl.training import checkpoints

from ..helpers.program import run_here

CHOSEN = (
    "model.freeze=['*.feature_projection.*']", "optim.layer_decay=0.5", "optim.head_only_steps=1",
    "optim.ema_decay=0.5",
)  # fmt: skip


def train(preset: Path, *words: Any) -> Any:
    chosen = [word for key in CHOSEN for word in ("--set", key)]
    return run_here("train", "--preset", preset, "--device", "cpu", "--set", "run.eval_every=2", *chosen, *words)


def files_of(folder: Path) -> Any:
    last = checkpoints.latest_valid(folder / "checkpoints").checkpoint
    return last.step, {name: digest for name, digest in last.files.items() if name.endswith(".safetensors")}


def test_a_run_is_resumed_evaluated_and_exported_with_its_average(honest: Path, honest_workspace: Path, tmp_path: Path):
    preset, runs = honest / "tones.yaml", honest_workspace / "runs"
    train(preset, "--run", "straight", "--max-steps", 4).succeeded()
    # How a layer's gradient is computed is the device's affair, and changes no bit on a CPU.
    train(preset, "--run", "resumed", "--max-steps", 2, "--set", "cpu.gradient_checkpointing=true").succeeded()
    run_here("train", "--resume", "--run", "resumed", "--device", "cpu", "--max-steps", 4).succeeded()
    assert files_of(runs / "resumed") == files_of(runs / "straight")
    assert len(files_of(runs / "straight")[1]) == 3
    weights = runs / "resumed" / "model" / "model.safetensors"
    before = weights.read_bytes()
    shutil.rmtree(weights.parent)
    run_here("train", "--resume", "--run", "resumed", "--device", "cpu", "--max-steps", 4).succeeded()
    assert weights.read_bytes() == before
    assert not any(CHECKPOINT.strangers(path) for path in (runs / "resumed" / "checkpoints").iterdir())
    assert json.loads((runs / "resumed" / "run.json").read_text("utf-8"))["averaged"] == 0.5
    run_here("export", "--run", "resumed", "--format", "hf", "--output", tmp_path / "model").succeeded()
    assert "moving average, decay 0.5" in (tmp_path / "model" / "README.md").read_text("utf-8")


def test_a_name_that_no_weight_has_is_refused_before_any_work(honest: Path, honest_workspace: Path):
    words = ("train", "--preset", honest / "tones.yaml", "--device", "cpu", "--json", "--set")
    for more in ((), ("--dry-run",)):
        refused = run_here(*words, "model.freeze=['encoder.layers.*']", *more)
        assert refused.exit_code == 3 and "encoder.layers.*" in refused.error["message"]
        assert "names are like wav2vec2." in refused.error["fix"]
    assert sorted(path.name for path in (honest_workspace / "runs").iterdir()) == ["r"]
