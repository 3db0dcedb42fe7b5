"""Long runs in one process: memory, open files, threads and temporary files do not grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from ..fault_table import Faults
from ..helpers.program import ROOT
from .job import TRAIN, Job

# What memory may still grow by once everything has been used: allocators keep a little of what they were given.
ALLOWED_BYTES = 24 << 20
# oneDNN keeps the code of each shape of a product that it has met. In a run of 200 steps nearly every length is a new
# one, so that alone takes 20 MB before it levels off; a short run is told to keep little of it.
FEW_PRIMITIVES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "4"}

PROGRAM = """
import gc, json, os, sys, tempfile
from pathlib import Path
from asrctl.cli.app import main

def standing():
    gc.collect()
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    files = sum(len(found) for _, _, found in os.walk(os.environ["ASRCTL_WORKSPACE"]))
    return {
        "bytes": rss,
        "open": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "temporary": len(os.listdir(tempfile.gettempdir())),
        "files": files,
    }

def call(words):
    try:
        main([*words, "--json"])
    except SystemExit as leaving:
        if leaving.code:
            raise
    return standing()
"""

COMMANDS = (
    PROGRAM
    + """
rounds, commands = int(sys.argv[1]), json.loads(sys.argv[2])
told = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
standings = []
for number in range(rounds):
    for words in commands:
        found = call(words)
    standings.append(found)
json.dump(standings, told)
"""
)

STEPS = (
    PROGRAM
    + """

words, every = json.loads(sys.argv[1]), int(sys.argv[2])
told = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
standings = []

def watched(event):
    if type(event).__name__ == "StepDone" and event.step % every == 0:
        standings.append(standing())

from asrctl.cli import progress
show = progress.Display.show
progress.Display.show = lambda self, event: (watched(event), show(self, event))[1]
call(words)
json.dump(standings, told)
"""
)


def soak(program: str, workspace: Path, *arguments: Any, env: Optional[Dict[str, str]] = None) -> List[Dict[str, int]]:
    temporary = workspace.parent / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=dict(os.environ, ASRCTL_WORKSPACE=str(workspace), TMPDIR=str(temporary), **(env or {})),
        cwd=str(ROOT),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def stays_level(standings: List[Dict[str, int]]) -> None:
    """Nothing is more at the end than it was after the first third."""
    early, late = standings[len(standings) // 3], standings[-1]
    assert late["bytes"] - early["bytes"] <= ALLOWED_BYTES, [found["bytes"] for found in standings]
    for name in ("open", "threads", "temporary", "files"):
        assert late[name] <= early[name], (name, [found[name] for found in standings])


pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="NOT TESTED: there is no /proc")


@pytest.mark.faults_full
@pytest.mark.parametrize("rounds", [3, 100])
def test_commands_in_one_process(job: Job, tmp_path: Path, faults: Faults, rounds: int) -> None:
    """prepare and eval in turns, each doing its work again."""
    workspace = job.start_from("eval", tmp_path / "workspace")
    commands = [[*map(str, job.words("prepare")), "--force"], [*job.words("eval"), "--force"]]
    with faults.survives(f"{2 * rounds} calls of prepare and eval"):
        stays_level(soak(COMMANDS, workspace, rounds, json.dumps(commands)))


@pytest.mark.faults_full
@pytest.mark.parametrize("steps", [200, 10_000])
def test_many_steps(many_shards: Job, tmp_path: Path, faults: Faults, steps: int) -> None:
    """Checkpoints and evaluations among them; the journal is one file."""
    workspace = many_shards.copy(many_shards.after["prepare"], tmp_path / "workspace")
    every = steps // 10
    keys = [f"run.{name}={every}" for name in ("save_every", "eval_every")]
    keys += ["run.eval_max_utterances=20", "optim.max_steps=null", "optim.global_batch=2"]
    words = [*TRAIN, "--max-steps", str(steps), *(part for key in keys for part in ("--set", key))]
    with faults.survives(f"{steps} steps of training"):
        env = FEW_PRIMITIVES if steps < 1000 else None
        stays_level(soak(STEPS, workspace, json.dumps(words), every, env=env))
