"""Job scripts for Slurm: a training that stops in time, is queued again and goes on; a corpus in an array of jobs.

Some minutes before its time is over a job is told so, its script alone (--signal=B:USR1). The script hands that on as
SIGTERM, upon which asrctl ends where it can go on (a training writes a checkpoint), and queues the job again. `train
--if-new` is the same command for the first time and for every later one, and so is `prepare --shard`.
"""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from asrctl.config import presets
from asrctl.errors import UsageError
from asrctl.messages.command_lines import shown
from asrctl.storage.workspace import Workspace

# So long before its time is over a job is told: a checkpoint of a large model to a slow file system takes a minute.
_WARNED_S = 300
# A job that was queued again more often than this makes no headway.
_MOST_RESTARTS = 100
_TIME = re.compile(r"(\d+-)?\d{1,3}(:[0-5]?\d){0,2}")
_MEMORY = re.compile(r"\d+[KMGT]?")
_WORD = re.compile(r"[\w.,@:+/-]+")
# What the script says itself, or what makes no sense in a job.
_OURS = ("--shard", "--merge", "--engine", "--if-new", "--resume", "--overwrite", "--processes", "--dry-run")

_TAIL = """\
again=0 told=0 step=''
hand_on() {
  told=1
  if [ -n "$step" ]; then kill -TERM "$step" 2> /dev/null; fi
}
trap 'again=1; hand_on' USR1 # the time is nearly over, or another job is to have this place
trap 'told=1' TERM

COMMAND &
step=$!
trap '' TERM # which Slurm itself sends to all that runs in the job, the command too
if [ "$told" = 1 ]; then hand_on; fi
status=127 told=1
while [ "$told" = 1 ]; do # a signal ends `wait`, and not what it waits for
  told=0
  wait "$step"
  code=$?
  if [ "$code" != 127 ]; then status=$code; fi
done
if [ "$again" = 1 ] && [ "$status" != 0 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""


@dataclass(frozen=True)
class SlurmRequest:
    """words: of the command, without `asrctl`: train ... or prepare .... shards: of `prepare`, each a job of an array.

    gpus, cpus, memory: of each machine; default: one GPU, for training. time, partition, account: as sbatch has them.
    """

    words: Tuple[str, ...]
    nodes: int = 1
    gpus: Optional[int] = None
    cpus: int = 8
    memory: Optional[str] = None
    time: str = "24:00:00"
    partition: Optional[str] = None
    account: Optional[str] = None
    shards: Optional[int] = None

    @property
    def machine_gpus(self) -> int:
        return 1 if self.gpus is None else self.gpus

    @property
    def parts(self) -> int:
        return 16 if self.shards is None else self.shards


def script(workspace: Workspace, request: SlurmRequest) -> str:
    """The whole script. Raises UsageError, PresetError."""
    _check(request)
    if request.words[0] == "train":
        presets.load(_value(request.words, "--preset"), workspace=workspace.root)
        return "\n".join([*_train_head(request), *_begin(request), _tail(_training(workspace, request))])
    array = ['if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then', f'  part=(--shard "$SLURM_ARRAY_TASK_ID/{request.parts}")']
    array += ["else", "  part=(--merge)", "fi", ""]
    command = _srun(f'{_asrctl(workspace, request.words)} "${{part[@]}}"')
    return "\n".join([*_prepare_head(request), *_begin(request), *array, _tail(command)])


def _check(request: SlurmRequest) -> None:
    words = request.words
    if words[0] not in ("train", "prepare"):
        raise UsageError(
            f"`asrctl {words[0]}` is done on one machine", fix=f"put `asrctl {words[0]}` into a script of your own"
        )
    for word in words:
        if word.split("=")[0] in _OURS:
            raise UsageError(f"{word.split('=')[0]} is for the script to say", fix="leave it out")
    odd = (
        [name for name, given in (("--nodes", request.nodes > 1), ("--gpus", request.gpus is not None)) if given]
        if words[0] == "prepare"
        else ["--shards"] * (request.shards is not None)
    )
    if odd:
        raise UsageError(f"{odd[0]} has no meaning for `asrctl {words[0]}`", fix="leave it out")
    checks = (
        ("--time", request.time, _TIME, "write it like 24:00:00 or 2-12:00:00"),
        ("--mem", request.memory, _MEMORY, "write it like 64G"),
        ("--partition", request.partition, _WORD, "give a name without spaces"),
        ("--account", request.account, _WORD, "give a name without spaces"),
    )
    for option, value, form, fix in checks:
        if value is not None and not form.fullmatch(value):
            raise UsageError(f"{option} {value!r} is nothing that sbatch understands", fix=fix)


def _value(words: Sequence[str], option: str) -> str:
    """What follows an option, or stands behind its =. Raises UsageError."""
    for place, word in enumerate(words):
        name, has_value, value = word.partition("=")
        if name == option and (has_value or place + 1 < len(words)):
            return value if has_value else words[place + 1]
    raise UsageError(f"the training has no {option}", fix=f"name one with {option}")


def _train_head(request: SlurmRequest) -> List[str]:
    name = Path(_value(request.words, "--preset")).stem
    gpus = [f"#SBATCH --gres=gpu:{request.machine_gpus}"] if request.machine_gpus else []
    return [
        "#!/bin/bash",
        "# Submit it with `sbatch FILE`. It is queued again until the run is complete. `scancel JOB` stops it;",
        "# submitted once more, it goes on with the run.",
        f"#SBATCH --job-name={_named('train', name)}",
        f"#SBATCH --nodes={request.nodes}",
        *gpus,
        *_common(request, "%x-%j.out"),
    ]


def _prepare_head(request: SlurmRequest) -> List[str]:
    name = next((word for word in request.words[1:] if not word.startswith("-")), "corpus")
    return [
        "#!/bin/bash",
        f"# A corpus in {request.parts} parts, and a job that puts them together. Submit both:",
        f"#   job=$(sbatch --parsable --array=1-{request.parts} FILE)",
        '#   sbatch --dependency="afterok:${job%%;*}" FILE',
        f"#SBATCH --job-name={_named('prepare', name)}",
        "#SBATCH --nodes=1",
        *_common(request, "%x-%A_%a.out"),
    ]


def _named(command: str, what: str) -> str:
    return f"asrctl-{command}-{re.sub(r'[^A-Za-z0-9._-]+', '-', what)}"


def _common(request: SlurmRequest, output: str) -> List[str]:
    given = {"mem": request.memory, "partition": request.partition, "account": request.account}
    return [
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --cpus-per-task={request.cpus}",
        f"#SBATCH --time={request.time}",
        f"#SBATCH --signal=B:USR1@{_WARNED_S}",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        f"#SBATCH --output={output}",
        *(f"#SBATCH --{name}={value}" for name, value in given.items() if value is not None),
    ]


def _begin(request: SlurmRequest) -> List[str]:
    """Where asrctl is, and an end to what never ends."""
    return [
        "",
        "set -u",
        f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"',
        f'if [ "${{SLURM_RESTART_COUNT:-0}}" -gt {_MOST_RESTARTS} ]; then',
        '  echo "this job was queued again $SLURM_RESTART_COUNT times, and is given up" >&2',
        "  exit 1",
        "fi",
        "",
    ]


def _asrctl(workspace: Workspace, words: Sequence[str]) -> str:
    """The command, about this workspace wherever it runs."""
    return shown(("asrctl", *_placed(workspace, words)))


def _placed(workspace: Workspace, words: Sequence[str]) -> Tuple[str, ...]:
    named = any(word[:2] == "-w" or word.split("=")[0] == "--workspace" for word in words)
    return tuple(words) if named else (*words, "--workspace", str(workspace.root.absolute()))


def _srun(command: str) -> str:
    return f'srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" {command}'


def _training(workspace: Workspace, request: SlurmRequest) -> str:
    words = (*request.words, "--if-new")
    if request.nodes == 1:
        several = ("--processes", str(request.machine_gpus)) if request.machine_gpus > 1 else ()
        return _srun(_asrctl(workspace, (*words, *several)))
    port = "$((20000 + SLURM_JOB_ID % 20000))"  # two jobs can share a machine
    processes = max(1, request.machine_gpus)
    torchrun = (
        f'torchrun --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node={processes} --rdzv-backend=c10d \\\n'
        f'  --rdzv-endpoint="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):{port}" \\\n'
        '  --rdzv-id="$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}" \\\n'
        # `--`: or torchrun takes --run for an option of its own.
        f"  -m -- {shown(('asrctl', *_placed(workspace, words)))}"
    )
    return _srun(torchrun)


def _tail(command: str) -> str:
    return _TAIL.replace("COMMAND", command)
