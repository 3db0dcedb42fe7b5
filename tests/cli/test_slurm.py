"""`asrctl slurm`: what its scripts do in bash, with stand-ins for Slurm's own programs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest

from tests.helpers import stops

# Runs the command in its place, as srun does for one task. Where $STOPS is set, asrctl stops itself there.
_SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
echo "$@" >> "$SEEN"
echo $$ > "$SEEN.pid.part" && mv "$SEEN.pid.part" "$SEEN.pid"
if [ -n "${STOPS:-}" ]; then shift; exec "$PYTHON" "$HELPER" "$ROOT" "$STOPS" 0 "$@"; fi
exec "$@"
"""
_SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo node1; echo node2; else echo "$@" >> "$SEEN.scontrol"; fi
"""
# Ends as asrctl does when it is told to, and nothing else. Not in bash, where a signal just before a read can be lost.
_TRAINS_ON = """#!/bin/bash
exec "$PYTHON" -c '
import os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(130))
open(os.environ["SEEN"] + ".ready", "w").close()
while True:
    signal.pause()
'
"""


class Cluster:
    """Scripts as Slurm would run them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, folder / "seen"
        self._bin = folder / "bin"
        self._bin.mkdir(parents=True)
        self.program("srun", _SRUN)
        self.program("scontrol", _SCONTROL)

    def program(self, name: str, text: str) -> None:
        (self._bin / name).write_text(text, encoding="utf-8")
        (self._bin / name).chmod(0o755)

    def start(self, script: str, **more: Any) -> "subprocess.Popen[str]":
        path = self.folder / "job.sh"
        # The stand-in for asrctl, where there is one, comes before that of the environment.
        path.write_text(script.replace("export PATH=", f"export PATH={self._bin}:"), encoding="utf-8")
        known = dict(
            PATH=f"{self._bin}:{os.environ['PATH']}",
            SEEN=self.seen,
            PYTHON=sys.executable,
            HELPER=stops.__file__,
            SLURM_JOB_ID=7,
            SLURM_CPUS_PER_TASK=2,
            SLURM_JOB_NUM_NODES=2,
            SLURM_JOB_NODELIST="node[1-2]",
            **more,
        )
        environment = {**os.environ, **{name: str(value) for name, value in known.items()}}
        return subprocess.Popen(
            ["bash", str(path)], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )

    def done(self, script: str, **more: Any) -> "tuple[int, str]":
        process = self.start(script, **more)
        _, told = process.communicate(timeout=stops.HANGS_S)
        return process.returncode, told

    def step(self) -> int:
        return int(Path(f"{self.seen}.pid").read_text())

    def requeued(self) -> List[str]:
        path = Path(f"{self.seen}.scontrol")
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path / "cluster")


def script_of(asrctl: Any, *words: Any) -> str:
    return asrctl("slurm", "--json", *words).succeeded().result["script"]


@pytest.mark.parametrize("number, again", [(signal.SIGUSR1, ["requeue 7"]), (signal.SIGTERM, [])])
def test_a_warned_job_ends_its_command_and_is_queued_again(
    asrctl: Any, cluster: Cluster, number: int, again: List[str]
) -> None:
    """SIGTERM, which Slurm sends to all of a job, is not handed on: twice would mean to leave at once."""
    cluster.program("asrctl", _TRAINS_ON)
    job = cluster.start(script_of(asrctl, "--preset", "tiny-cpu", "--gpus", "0"))
    stops.until(Path(f"{cluster.seen}.ready").exists, job)
    job.send_signal(number)
    if number == signal.SIGTERM:
        os.kill(cluster.step(), signal.SIGTERM)
    _, told = job.communicate(timeout=stops.HANGS_S)
    assert (job.returncode, cluster.requeued()) == (130, again), told
    (line,) = cluster.seen.read_text().splitlines()
    assert line.startswith("asrctl train --preset tiny-cpu --if-new --workspace /")


def test_a_job_that_is_done_or_fails_is_not_queued_again(asrctl: Any, cluster: Cluster) -> None:
    script = script_of(asrctl, "--preset", "tiny-cpu", "--gpus", "4")
    for code in (0, 6):
        cluster.program("asrctl", f"#!/bin/bash\nexit {code}\n")
        assert cluster.done(script) == (code, "")
    assert "--processes 4" in cluster.seen.read_text() and not cluster.requeued()
    code, told = cluster.done(script, SLURM_RESTART_COUNT=101)
    assert code == 1 and "given up" in told


def test_several_machines_meet_by_torchrun_and_shards_are_an_array(asrctl: Any, cluster: Cluster) -> None:
    from torch.distributed.run import get_args_parser

    for name in ("torchrun", "asrctl"):
        cluster.program(name, "#!/bin/bash\n")
    train = ("train", "--preset", "tiny-cpu", "--run", "first")
    assert cluster.done(script_of(asrctl, "--nodes", 2, "--gpus", 8, "--", *train))[0] == 0
    prepare = script_of(asrctl, "--shards", 3, "--", "prepare", "folder", "/data/my speech")
    assert cluster.done(prepare, SLURM_ARRAY_TASK_ID=2)[0] == cluster.done(prepare)[0] == 0
    first, second, third = cluster.seen.read_text().splitlines()
    assert first.startswith("torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=node1:20007")
    understood = get_args_parser().parse_args(first.split()[1:])
    assert (understood.module, understood.training_script) == (True, "asrctl")
    words = [word for word in understood.training_script_args if word != "--"]
    assert words[:-1] == [*train, "--if-new", "--workspace"]
    assert second.startswith("asrctl prepare folder /data/my speech") and second.endswith("--shard 2/3")
    assert third.endswith("--merge") and "'/data/my speech'" in prepare and "--array=1-3" in prepare


def test_scripts_are_what_an_administrator_accepts(asrctl: Any) -> None:
    found = [
        script_of(asrctl, "--preset", "base-100h", "--mem", "64G", "--partition", "gpu", "--account", "me"),
        script_of(asrctl, "--nodes", 2, "--", "train", "--preset=base-100h"),
        script_of(asrctl, "--", "prepare", "folder", "it's; rm -rf"),
    ]
    checkers = [["bash", "-n"]] + [[path] for path in [shutil.which("shellcheck")] if path]
    for script in found:
        for line in ("--signal=B:USR1@300", "--requeue", "--open-mode=append", "--time=24:00:00"):
            assert f"#SBATCH {line}\n" in script
        for words in checkers:
            done = subprocess.run([*words, "/dev/stdin"], input=script, encoding="utf-8", stdout=subprocess.PIPE)
            assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "words, said",
    [
        ((), "nothing to do"),
        (("--preset", "nothing"), "no preset called"),
        (("--", "train"), "no --preset"),
        (("--", "train", "--prest", "x"), "--prest"),
        (("--", "train", "--preset", "tiny-cpu", "--resume"), "for the script to say"),
        (("--", "eval"), "one machine"),
        (("--", "trian"), "no command 'trian'"),
        (("--nodes", "2", "--", "prepare", "folder", "x"), "no meaning"),
        (("--preset", "tiny-cpu", "--shards", "2"), "no meaning"),
        (("--preset", "tiny-cpu", "--mem", "64GB"), "--mem"),
        (("--preset", "tiny-cpu", "--time", "x\n#SBATCH --uid=0"), "--time"),
        (("--preset", "tiny-cpu", "--partition", "a b"), "--partition"),
    ],
)
def test_what_makes_no_job_is_told(asrctl: Any, words: Any, said: str) -> None:
    refused = asrctl("slurm", "--json", *words)
    assert refused.exit_code in (2, 3) and said in refused.error["message"] and refused.error["fix"], refused.error


@pytest.mark.slow
def test_a_training_is_warned_and_goes_on_in_the_next_job(
    tones: Path, learned_tones: Path, asrctl: Any, cluster: Cluster
) -> None:
    """By the real program, on a training that goes on and on: each job begins where the one before was warned."""
    words = ("train", "--preset", learned_tones.parent / "tones.yaml", "--data", "tones", "--device", "cpu")
    script = script_of(asrctl, "--gpus", 0, "--", *words, "--run", "job", "--max-steps", 1_000_000)
    run = tones / "runs" / "job"

    def steps() -> List[int]:
        path = run / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        return [json.loads(line).get("step", 0) for line in lines if line.endswith("\n")]

    before = 0
    for number in range(2):
        job = cluster.start(script, SLURM_RESTART_COUNT=number)
        stops.until(lambda: max(steps(), default=0) > before, job)  # noqa: B023
        job.send_signal(signal.SIGUSR1)
        _, told = job.communicate(timeout=stops.HANGS_S)
        assert (job.returncode, cluster.requeued()) == (130, ["requeue 7"] * (number + 1)), told
        state = json.loads((run / "run.json").read_text(encoding="utf-8"))["state"]
        kept = max(int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*"))
        assert state == "interrupted" and kept > before
        before = kept
    assert steps() == sorted(set(steps())), "no step was done twice"
