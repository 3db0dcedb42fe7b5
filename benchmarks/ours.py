"""asrctl's side of the benchmark: the stages that `asrctl train` and `asrctl eval` call, stopped between steps.

    python -m benchmarks.ours train --workspace WS --model MODEL --set cpu.precision=bf16
    python -m benchmarks.ours eval --workspace WS --model MODEL --precision bf16

Nothing here is faster than the command: the only addition is a listener that waits at benchmarks/gate.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, List

import numpy as np

from benchmarks.gate import Gate
from benchmarks.material import DATA, PRESET, prepared
from benchmarks.stock import device_memory


def train(options: argparse.Namespace, gate: Gate) -> None:
    """Train, one step for each that the gate lets through."""
    gate.wait()
    from asrctl.commands.train import TrainRequest
    from asrctl.commands.train import train as train_stage
    from asrctl.events import StepDone
    from asrctl.storage.workspace import Workspace

    workspace = Workspace(options.workspace)
    overrides = (f"model.checkpoint={options.model}", *options.overrides)
    seconds = StepSeconds(options.workspace, overrides)

    def listen(event: Any) -> None:
        if isinstance(event, StepDone):
            loss = float(event.values["loss"])
            gate.tick(audio_s=seconds.of(event.step - 1), loss=loss, **device_memory(options.device))

    request = TrainRequest(
        preset=str(PRESET), data=DATA, run=options.run, device=options.device, overrides=overrides, overwrite=True
    )
    train_stage(workspace, request, listen)


class StepSeconds:
    """Seconds of audio in each step, from the plan of the batches, which is pure."""

    def __init__(self, workspace: Path, overrides: Any) -> None:
        from asrctl.config import presets
        from asrctl.training.compatibility import alignable, convolutions
        from asrctl.training.job import batch_plan

        recipe = presets.load(str(PRESET), overrides=overrides).recipe
        split = prepared(workspace).split("train")
        split = split.only(alignable(convolutions(recipe), split))
        self._plan, self._rate = batch_plan(recipe, split), split.sample_rate
        self._epochs: List[List[float]] = []

    @property
    def steps_per_epoch(self) -> int:
        return self._plan.steps_per_epoch

    def of(self, step: int) -> float:
        epoch, place = divmod(step, self._plan.steps_per_epoch)
        while len(self._epochs) <= epoch:
            batches = self._plan.epoch(len(self._epochs))
            lengths = self._plan.num_samples
            self._epochs.append([float(lengths[batch].sum(dtype=np.int64)) / self._rate for batch in batches])
        return self._epochs[epoch][place]


def evaluate(options: argparse.Namespace, gate: Gate) -> None:
    """A short pass to get warm, then a whole one for each that the gate lets through."""
    gate.wait()
    from asrctl.config.recipe import HostSection
    from asrctl.evaluation.metrics import Tally
    from asrctl.evaluation.transcribe import transcribe
    from asrctl.models import loading
    from asrctl.runtime import devices

    split = prepared(options.workspace).split("train")
    recognizer = loading.load_recognizer(options.model)
    how = {
        "device": devices.choose(options.device).torch_device,
        "precision": options.precision,
        "batch_s": options.batch_s or HostSection().eval_batch_s,
    }
    for _ in transcribe(recognizer, split, indices=range(min(8, len(split))), **how):
        pass
    gate.tick()
    while True:
        tally, pairs = Tally(len(split)), []
        for index, hypothesis in transcribe(recognizer, split, **how):
            tally.add(index, split.id(index), split.text(index), hypothesis)
            pairs.append((split.text(index), hypothesis))
        wer = tally.scores().wer
        gate.tick(audio_s=split.seconds, wer=wer, pairs=sorted(pairs), **device_memory(options.device))


def parse(arguments: "List[str] | None" = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "eval"))
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--run", default="bench")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--batch-s", type=float)
    return parser.parse_args(arguments)


def main() -> None:
    from asrctl.runtime import threads

    options = parse()
    threads.set_environment()  # as the command does
    (train if options.command == "train" else evaluate)(options, Gate())


if __name__ == "__main__":
    main()
