"""Limits on memory and open files (`ulimit`): whatever runs out, in whatever library, it is one sentence and a fix."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Sequence

import pytest

from asrctl.training import checkpoints

from ..helpers.program import ROOT, Result
from ..helpers.stops import HANGS_S, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its address space")
MB = 1 << 20


def limited(limit: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(limit, (value, value))


def told_in_a_sentence(done: Result, *codes: int) -> None:
    assert done.exit_code in codes, done
    assert "Traceback" not in done.stderr, done.stderr
    if done.exit_code:
        assert done.error["message"] and done.error["fix"], done
        lines = done.stderr.splitlines()
        assert [line for line in lines if line.startswith("error: ")] == [f"error: {done.error['message']}"], (
            done.stderr
        )
        assert lines[-1] == f"fix: {done.error['fix']}"


# Beside a bare interpreter's. Between them: what we import first, half of numpy, OpenBLAS, half of pyarrow, half of
# torch, torch and no model. Not below 14: with less, Python 3.11 itself may end before our first line, or turn in a
# circle for want of the memory for an exception's place.
_MEGABYTES = (14, 18, 38, 88, 138, 318, 438, 668, 808)
_COMMANDS = (
    ("doctor",), ("status",), ("vocab", "manifest", "{corpus}"), ("prepare", "manifest", "{corpus}", "--force"),
    ("train", "--preset", "{preset}", "--device", "cpu", "--max-steps", "1", "--run", "short"),
    ("eval", "--run", "learned", "--device", "cpu"), ("export", "--run", "learned", "--format", "hf"),
)  # fmt: skip


@pytest.fixture(scope="module")
def bare_bytes() -> int:
    """The addresses of a bare interpreter: builds and locales differ by as much as it takes to start."""
    program = "print(next(line for line in open('/proc/self/status') if line.startswith('VmPeak')).split()[1])"
    return int(subprocess.check_output([sys.executable, "-c", program])) * 1024


@pytest.fixture
def words(learned_tones: Path) -> Dict[str, str]:
    folder = learned_tones.parent
    return {"corpus": str(folder / "corpus" / "tones.csv"), "preset": str(folder / "tones.yaml")}


@pytest.mark.parametrize(
    ("megabytes", "command"),
    [(size, _COMMANDS[index % len(_COMMANDS)]) for index, size in enumerate(_MEGABYTES)],
    ids=lambda value: str(value) if isinstance(value, int) else value[0],
)
def test_a_limit_on_addresses(
    tones: Path, asrctl_process, words, bare_bytes: int, megabytes: int, command: Sequence[str]
) -> None:
    typed = [word.format(**words) for word in command]
    done = asrctl_process(*typed, "--json", preexec_fn=limited(resource.RLIMIT_AS, bare_bytes + megabytes * MB))
    told_in_a_sentence(done, 0, 6)
    if done.exit_code:
        assert "memory" in done.error["message"]


def test_help_needs_little(asrctl_process, bare_bytes: int) -> None:
    asrctl_process("--help", preexec_fn=limited(resource.RLIMIT_AS, bare_bytes + 28 * MB)).succeeded()


def test_algorithms_that_get_no_memory_are_no_traceback() -> None:
    """hashlib logs one for each module that cannot be loaded, and is imported all the same."""
    program = "import sys; sys.modules['_hashlib'] = sys.modules['_blake2'] = None; {}"
    bare = subprocess.run([sys.executable, "-c", program.format("import hashlib")], stderr=subprocess.PIPE, check=True)
    assert b"Traceback" in bare.stderr
    ours = "from asrctl.cli import apart\ntry: apart._load_hashes()\nexcept MemoryError: print('no memory')"
    done = subprocess.run([sys.executable, "-c", program.format(ours)], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"no memory\n", b"")


def test_without_a_limit_nothing_runs_apart(asrctl_process, workspace: Path) -> None:
    """Only where a library may end the process has a command a parent."""
    program = "import os, sys; sys.argv = ['asrctl', 'presets', 'list']; from asrctl.cli import app; app.main()"
    traced = ["-c", f"import os; os.fork = None; {program}"]
    subprocess.run([sys.executable, *traced], check=True, capture_output=True, env=dict(os.environ))


@pytest.fixture(scope="module")
def fewest_files() -> int:
    """The lowest limit on open files at which Python itself starts: site-packages may hold code that runs first."""
    for limit in range(3, 32):
        lowered = limited(resource.RLIMIT_NOFILE, limit)
        if not subprocess.run([sys.executable, "-c", ""], stderr=subprocess.PIPE, preexec_fn=lowered).stderr:
            return limit
    raise AssertionError("Python starts with no limit below 32")


@pytest.mark.parametrize("command", _COMMANDS[3:6], ids=lambda command: command[0])
def test_a_limit_on_open_files_is_no_damage(
    tones: Path, asrctl_process, words, fewest_files: int, command: Any
) -> None:
    typed = [word.format(**words) for word in command]
    done = asrctl_process(*typed, "--json", preexec_fn=limited(resource.RLIMIT_NOFILE, fewest_files))
    told_in_a_sentence(done, 0, 5)
    if done.exit_code:
        assert done.error["message"].startswith("too many open files")
        assert "ulimit -n" in done.error["fix"]


def test_a_limit_on_the_size_of_files(tones: Path, asrctl_process, words) -> None:
    typed = [word.format(**words) for word in _COMMANDS[4]]
    done = asrctl_process(*typed, "--json", preexec_fn=limited(resource.RLIMIT_FSIZE, 20000))
    told_in_a_sentence(done, 5)
    assert "ulimit -f" in done.error["fix"]


# -- signals where a command runs apart --------------------------------------------------------------------------------

ROOMY = 1 << 36


@pytest.fixture
def training(tones: Path, words):
    """A training that goes on for long, with a parent, in a group of its own; it has saved a checkpoint."""
    command = ["train", "--preset", words["preset"], "--device", "cpu", "--run", "long", "--json", "--workspace", tones]
    command += ["--set", "optim.epochs=5000", "--set", "run.save_every=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "asrctl", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: (os.setsid(), resource.setrlimit(resource.RLIMIT_AS, (ROOMY, ROOMY))),
    )
    process.checkpoints = tones / "runs" / "long" / "checkpoints"  # type: ignore[attr-defined]
    until(lambda: checkpoints.steps(process.checkpoints), process)  # type: ignore[attr-defined]
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def children(pid: int) -> Sequence[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("whole_group", [False, True])
def test_a_signal_ends_a_training_in_good_order(training: Any, whole_group: bool) -> None:
    """Also where the parent and its child get it: the second one does not end it at once."""
    assert len(children(training.pid)) == 1
    (os.killpg if whole_group else os.kill)(training.pid, signal.SIGTERM)
    stdout, stderr = training.communicate(timeout=HANGS_S)
    assert training.returncode == 130, stderr
    assert json.loads(stdout)["error"]["kind"] == "interrupted"
    assert checkpoints.latest_valid(training.checkpoints).damaged == []


def test_a_child_that_is_killed_is_no_lack_of_memory(training: Any) -> None:
    os.kill(children(training.pid)[0], signal.SIGKILL)
    training.communicate(timeout=HANGS_S)
    assert training.returncode == -signal.SIGKILL


def test_a_parent_that_is_killed_takes_its_child_along(training: Any) -> None:
    (child,) = children(training.pid)
    training.kill()
    training.communicate(timeout=HANGS_S)
    until(lambda: not Path(f"/proc/{child}").exists())
