"""Memory that runs out, for real: the process is held to an address space. One sentence and the setting to lower."""

import json
import resource
import signal
import subprocess
import sys

import pytest
import torch

from asrctl.training import checkpoints

from ..helpers.stops import HANGS_S, until

GB = 1 << 30
# A convolution that makes 16 MB of each second of audio, and another that makes little of that again.
WIDE = (
    *("--set", "model.config.conv_dim=[4096,16]"),
    *("--set", "model.config.conv_kernel=[16,20]"),
    *("--set", "model.config.conv_stride=[16,20]"),
)
TRAIN = ("train", "--device", "cpu", "--json", "--run", "big", "--preset")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its address space")


@pytest.fixture(scope="module")
def limited():
    """`limited(1.1)`: a process may have this many GB beside the libraries, which take 0.9 GB, with CUDA's 3 GB."""
    program = (
        "import pyarrow, soundfile, torch; from transformers import Wav2Vec2ForCTC\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmPeak')).split()[1])"
    )
    libraries = int(subprocess.check_output([sys.executable, "-c", program])) * 1024

    def beside(gigabytes):
        limit = libraries + int(gigabytes * GB)
        return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))}

    return beside


@pytest.fixture
def preset(learned_tones):
    return learned_tones.parent / "tones.yaml"


def test_a_micro_batch_that_does_not_fit_is_refused_before_the_first_step(tones, asrctl_process, preset, limited):
    words = (*WIDE, "--set", "optim.global_batch=96", "--set", "cpu.micro_batch_s=1000", "--max-steps", 1)
    refused = asrctl_process(*TRAIN, preset, *words, **limited(1.1))
    assert refused.exit_code == 6, refused.stderr
    assert "does not fit into the memory of the cpu device" in refused.error["message"]
    assert "--set cpu.micro_batch_s=" in refused.error["fix"]
    assert "Traceback" not in refused.stderr
    assert not (tones / "runs" / "big" / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_a_length_left_open_is_halved_until_it_fits(tones, asrctl_process, preset, limited):
    words = (*WIDE, "--set", "optim.global_batch=96", "--max-steps", 1)
    done = asrctl_process(*TRAIN, preset, *words, **limited(1.6)).succeeded()
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("micro-batches of up to ")]
    assert 0 < float(said.split()[4]) < 45


@pytest.mark.slow
def test_evaluation_in_batches_that_do_not_fit(tones, asrctl_process, preset, limited):
    few = ("--set", "optim.global_batch=2", "--max-steps", 1)
    asrctl_process(*TRAIN, preset, *WIDE, "--set", "cpu.engine=plain", *few).succeeded()
    words = ("eval", "--run", "big", "--device", "cpu", "--split", "train", "--json", "--batch-s")
    refused = asrctl_process(*words, 100, **limited(1.1))
    assert refused.exit_code == 6, refused.stderr
    assert refused.error["fix"] == "use `--batch-s 50`"
    assert not list(tones.glob("evals/*"))
    asrctl_process(*words, 2, **limited(1.1)).succeeded()


@pytest.mark.slow
def test_memory_that_goes_away_while_training(tones, asrctl, preset):
    """The limit comes down on the running process; what it saved before is still good."""
    words = (
        *TRAIN,
        str(preset),
        *WIDE,
        "--set",
        "run.save_every=1",
        "--set",
        "optim.epochs=5000",
        "--workspace",
        str(tones),
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "asrctl", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    run = tones / "runs" / "big"
    until(lambda: checkpoints.steps(run / "checkpoints"), running)
    resource.prlimit(running.pid, resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))
    stdout, stderr = running.communicate(timeout=HANGS_S)
    if not (torch.__version__.startswith("2.0.") and running.returncode == -signal.SIGSEGV):
        # The oneDNN of torch 2.0 does not ask whether it got the memory.
        assert running.returncode == 6, stderr
        error = json.loads(stdout)["error"]
        assert error["kind"] == "device"
        assert "memory" in error["message"]
    assert "Traceback" not in stderr
    kept = checkpoints.latest_valid(run / "checkpoints").checkpoint.step
    asrctl("train", "--resume", "--run", "big", "--device", "cpu", "--max-steps", kept + 1).succeeded()
