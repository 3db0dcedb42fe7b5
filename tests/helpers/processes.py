"""A training in several processes, as a user starts it, and what it comes to."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List

import yaml

from asrctl.storage import files

from ..faults.job import RECIPE
from .program import ROOT, run_here
from .stops import HANGS_S, until
from .tones import write_corpus

# Several micro-batches a step; dropout, layer drop, SpecAugment and augmentation are on.
RECIPE = copy.deepcopy(RECIPE)
RECIPE["cpu"] = {"precision": "fp32", "micro_batch_s": 2.0}
RECIPE["optim"].update(max_steps=4)
RECIPE["run"].update(save_every=1, eval_every=2, keep=9)
TRAIN = ("train", "--preset", "faulty", "--device", "cpu", "--run", "r")
RESUME = ("train", "--resume", "--device", "cpu", "--run", "r")


def prepare(folder: Path) -> Path:
    """A workspace with a few tones, ready to train."""
    workspace = folder / "workspace"
    (workspace / "presets").mkdir(parents=True)
    (workspace / "presets" / "faulty.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    corpus = write_corpus(folder / "corpus", train=24, held_out=6)
    run_here("prepare", "manifest", corpus, "--preset", "faulty", "--workspace", workspace).succeeded()
    return workspace


@dataclass
class Training:
    """A training under way. ranks: {rank: process id}, of those that have begun."""

    process: "subprocess.Popen[str]"
    workspace: Path
    ranks: Dict[int, int] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        return self.workspace / "runs" / "r"

    def after_steps(self, count: int) -> "Training":
        """Wait until so many steps were made."""
        log = self.run / "metrics.jsonl"
        until(lambda: log.exists() and log.read_text(encoding="utf-8").count("\n") >= count, self.process)
        for folder in Path("/proc").iterdir():
            self._look_at(folder)
        return self

    def _look_at(self, folder: Path) -> None:
        try:
            command = (folder / "cmdline").read_bytes()
            rank = re.search(rb"(?:^|\0)RANK=(\d+)\0", (folder / "environ").read_bytes())
        except OSError:
            return
        if rank and folder.name.isdigit() and str(self.workspace).encode() in command:
            self.ranks[int(rank[1])] = int(folder.name)

    def ended(self) -> "Done":
        try:
            stdout, stderr = self.process.communicate(timeout=HANGS_S)
        finally:
            self.process.kill()
        return Done(self.process.returncode, stdout, stderr)

    @property
    def info(self) -> Dict[str, Any]:
        return json.loads((self.run / "run.json").read_text(encoding="utf-8"))

    @property
    def left(self) -> List[int]:
        """Ids of ranks that have not ended."""
        return [process for process in self.ranks.values() if _state(process) not in "ZX"]


@dataclass(frozen=True)
class Done:
    status: int
    stdout: str
    stderr: str


def _state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def start(workspace: Path, count: int, *words: Any, torchrun: bool = False) -> Training:
    """`asrctl WORDS` in so many processes, by --processes or by torchrun."""
    own = ["-m", "asrctl", *words, "--workspace", workspace]
    command = [*own, "--processes", count]
    if torchrun:
        # `--`: or torchrun takes --run for an option of its own.
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count, "-m", "--", *own[1:]]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=str(workspace),
    )
    return Training(process, workspace)


def learned(workspace: Path) -> Dict[str, Any]:
    """Weights, optimizer state and metrics of the run, without clocks."""
    run = workspace / "runs" / "r"
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = [{key: value for key, value in json.loads(line).items() if key != "audio_s_per_s"} for line in lines]
    digests = files.file_digests(run)
    weights = {name: digest for name, digest in digests.items() if name.endswith(".safetensors")}
    return {"metrics": metrics, "weights": weights}
