"""The IPU backend over the emulated device: the host's experiment, exact resume, and checkpoints that run no code."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from asrctl.errors import BadData, Diverged, PresetError
from asrctl.ipu import runner
from asrctl.models import architectures, loading
from asrctl.runtime.signals import StopRequest
from asrctl.storage.files import file_digests, write_json
from asrctl.storage.hashing import digest
from asrctl.training import checkpoints, metrics_log, trainer

from ..helpers import ipu_tiny
from ..helpers.emulated import emulated_ipu
from ..helpers.program import timed_by_processor
from ..helpers.tiny import QUIET

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module", autouse=True)
def emulated():
    """The emulated poptorch for this module, and gone again after it."""
    pytest.importorskip("optimum.version", reason="optimum-graphcore is not installed (pip install 'asrctl[ipu]')")
    from asrctl.ipu import hardware

    with emulated_ipu():
        try:
            hardware.require("ipu-emulated")
        except Exception as error:
            pytest.skip(str(error))
        yield


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return ipu_tiny.write_split(tmp_path_factory.mktemp("split") / "train")


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return ipu_tiny.write_split(tmp_path_factory.mktemp("eval") / "eval", count=6, seed=11)


def losses(folder):
    return [entry["loss"] for entry in metrics_log.read(folder, "train")]


def last(folder):
    found = checkpoints.latest_valid(folder / "checkpoints")
    assert not found.damaged
    return found.checkpoint


def assert_same(left, right):
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.mark.parametrize("architecture", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_host_and_ipu_are_one_experiment(split, evaluation, tmp_path, architecture, norm):
    wanted = ipu_tiny.recipe(norm=norm, model={"architecture": architecture}, run={"eval_every": 10})
    outcomes = {}
    for kind, train in (("cpu", trainer.train), ("ipu-emulated", runner.train)):
        job = ipu_tiny.job(wanted, split, tmp_path / kind, steps=20, kind=kind, evaluation=evaluation)
        outcomes[kind] = train(*job, lambda event: None)
    ours, theirs = losses(tmp_path / "ipu-emulated"), losses(tmp_path / "cpu")
    assert len(ours) == 20
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert outcomes["cpu"].state.best_wer == outcomes["ipu-emulated"].state.best_wer
    assert outcomes["cpu"].audio_s == pytest.approx(outcomes["ipu-emulated"].audio_s)
    for name in ("learning_rate", "epoch"):
        entries = [[entry[name] for entry in metrics_log.read(tmp_path / kind, "train")] for kind in outcomes]
        assert entries[0] == entries[1]
    host_weights, ipu_weights = last(tmp_path / "cpu").model(), last(tmp_path / "ipu-emulated").model()
    assert host_weights.keys() == ipu_weights.keys()
    for name, tensor in host_weights.items():
        torch.testing.assert_close(ipu_weights[name], tensor, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"ipu": {"replication": 2}, "optim": {"global_batch": 6}},
        {"ipu": {"device_iterations": 2, "output_mode": "sum"}},
        {"ipu": {"micro_batch": 2}, "optim": {"global_batch": 6}},
        {"optim": {"adam_bias_correction": True, "schedule": "tri-stage"}},
        {"ipu": {"layers_per_ipu": (-1,), "ipus_per_replica": 1, "dataloader_mode": "async_rebatched"}},
        {"ipu": {"dataloader_mode": "async_rebatched", "dataloader_workers": 2}},
    ],
    ids=lambda changes: json.dumps(changes),
)
def test_every_way_of_making_the_batch_gives_the_hosts_losses(split, tmp_path, changes):
    wanted = ipu_tiny.recipe(**changes)
    iterations = wanted.ipu.device_iterations
    for kind, train in (("cpu", trainer.train), ("ipu-emulated", runner.train)):
        train(*ipu_tiny.job(wanted, split, tmp_path / kind, steps=6, kind=kind), lambda event: None)
    ours, theirs = losses(tmp_path / "ipu-emulated"), losses(tmp_path / "cpu")
    if iterations == 1:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    else:
        # A call of two steps has one learning rate, so only the first call (rate 0) is the host's, step by step.
        assert len(ours) == 3
        assert ours[0] == pytest.approx(np.mean(theirs[:2]), rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": dict(QUIET, hidden_dropout=0.2, attention_dropout=0.1, layerdrop=0.3)},
        {"optim": {"optimizer": "lamb", "adam_betas": (0.9, 0.999)}},
        {"ipu": {"precision": "fp16", "loss_scaling": 64.0}},
        {"ipu": {"device_iterations": 2}},
    ],
    ids=["fp32", "dropout", "lamb", "fp16", "device iterations"],
)
def test_a_resumed_run_is_bit_for_bit_the_straight_one(split, evaluation, tmp_path, changes):
    wanted = ipu_tiny.recipe(run={"save_every": 2, "eval_every": 4, "keep": 9}, **changes)
    options = {"steps": 8, "evaluation": evaluation}
    runner.train(*ipu_tiny.job(wanted, split, tmp_path / "straight", **options), lambda event: None)
    parts, done = tmp_path / "parts", None
    for _ in range(10):
        outcome = runner.train(
            *ipu_tiny.job(wanted, split, parts, resume=done, max_minutes=0, **options), lambda event: None
        )
        done = last(parts)
        if outcome.reason == "finished":
            break
    assert (outcome.reason, done.step) == ("finished", 8)
    straight = last(tmp_path / "straight")
    assert_same(straight.model(), done.model())
    assert_same(straight.optimizer(), done.optimizer())
    assert losses(parts) == losses(tmp_path / "straight")
    assert done.backend == straight.backend
    # max-minutes evaluates where it stops, so the best step may be another; the final figures are not.
    assert metrics_log.read(parts, "eval")[-1] == metrics_log.read(tmp_path / "straight", "eval")[-1]


@pytest.mark.parametrize("iterations", [1, 2])
def test_a_limited_time_takes_the_whole_schedule(split, tmp_path, iterations):
    """What the device is given for the next call is what the loop has planned for it."""
    wanted = ipu_tiny.recipe(optim={"warmup_steps": 1000}, ipu={"device_iterations": iterations})
    job = ipu_tiny.job(wanted, split, tmp_path / "run", steps=100_000, max_minutes=0.03)
    run = runner.IpuRun(*job, lambda event: None, tmp_path / "run" / ".backend")
    with timed_by_processor():
        ended = run.run()
    step = ended.state.step
    assert ended.reason == "max-minutes" and step % iterations == 0 and step <= ended.total < 100_000
    assert run.trainer.optimizer.param_groups[0]["lr"] == pytest.approx(run.loop.rate(step))
    given = [entry["learning_rate"] for entry in metrics_log.read(tmp_path / "run", "train")]
    assert given[0] == 0 and given[-1] == pytest.approx(run.loop.rate(step - iterations))
    assert run.loop.rate(ended.total) == pytest.approx(0, abs=1e-9)


def test_a_longer_run_takes_the_schedule_of_its_new_total(split, tmp_path):
    wanted = ipu_tiny.recipe()
    for kind, train in (("cpu", trainer.train), ("ipu-emulated", runner.train)):
        folder = tmp_path / kind
        train(*ipu_tiny.job(wanted, split, folder, steps=5, kind=kind), lambda event: None)
        train(*ipu_tiny.job(wanted, split, folder, steps=9, kind=kind, resume=last(folder)), lambda event: None)
    np.testing.assert_allclose(losses(tmp_path / "ipu-emulated"), losses(tmp_path / "cpu"), rtol=1e-5)


def test_a_checkpoint_has_the_hosts_files_and_the_librarys_apart(split, tmp_path):
    wanted = ipu_tiny.recipe(model={"architecture": "hubert"})
    runner.train(*ipu_tiny.job(wanted, split, tmp_path / "run", steps=2), lambda event: None)
    checkpoint = last(tmp_path / "run")
    assert {path.name for path in checkpoint.path.iterdir()} == {
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
        "backend",
    }
    assert {path.name for path in (checkpoint.path / "backend").iterdir()} >= {"optimizer.pt", "pytorch_model.bin"}
    assert set(checkpoint.files) == set(file_digests(checkpoint.path)) - {"state.json"}
    assert {tensor.dtype for tensor in checkpoint.model().values()} == {torch.float32}
    assert any(name.startswith("exp_avg/hubert.encoder.layers.0.") for name in checkpoint.optimizer())
    assert not (tmp_path / "run" / ".backend").exists()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("architecture", ["wav2vec2", "hubert"])
def test_the_model_loads_in_plain_transformers(split, tmp_path, architecture, precision):
    from transformers import AutoModelForCTC

    wanted = ipu_tiny.recipe(
        norm="layer", model={"architecture": architecture}, ipu={"precision": precision, "loss_scaling": 64.0}
    )
    runner.train(*ipu_tiny.job(wanted, split, tmp_path / "run", steps=2), lambda event: None)
    folder = tmp_path / "run" / "model"
    values = json.loads((folder / "config.json").read_text())
    assert values["architectures"] == [architectures.ARCHITECTURES[architecture]]
    assert values["torch_dtype"] == "float32"
    plain = AutoModelForCTC.from_pretrained(str(folder)).eval()
    ours = loading.load_recognizer(folder).model
    samples = torch.randn(1, 6000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(plain(samples).logits, ours(samples).logits)
    assert_same(load_file(str(folder / "model.safetensors")), last(tmp_path / "run").model())


def test_every_utterance_is_scored_once_whatever_the_last_batch_holds(split, tmp_path):
    """6 utterances by calls of 4: the same figures as the host, which counts each once."""
    for count in (1, 6):
        few = ipu_tiny.write_split(tmp_path / f"eval{count}", count=count, seed=5)
        for kind, train in (("cpu", trainer.train), ("ipu-emulated", runner.train)):
            job = ipu_tiny.job(
                ipu_tiny.recipe(), split, tmp_path / f"{kind}{count}", steps=2, kind=kind, evaluation=few
            )
            train(*job, lambda event: None)
        entries = [metrics_log.read(tmp_path / f"{kind}{count}", "eval")[-1] for kind in ("cpu", "ipu-emulated")]
        assert entries[0] == entries[1]


def test_a_stop_within_a_step_leaves_the_step_before(split, tmp_path):
    """The request comes in the middle of step 4; the checkpoint is that of step 3, and resuming changes nothing."""
    straight = ipu_tiny.recipe(model=dict(QUIET, hidden_dropout=0.2))
    runner.train(*ipu_tiny.job(straight, split, tmp_path / "straight", steps=6), lambda event: None)
    job, start = ipu_tiny.job(straight, split, tmp_path / "stopped", steps=6)

    class Patient(StopRequest):
        """Asks to stop after so many looks."""

        looks = 0

        @property
        def requested(self):
            Patient.looks += 1
            # 4 micro-batches and one look between steps: 3 steps are 15 looks.
            return Patient.looks > 17

        @requested.setter
        def requested(self, value):
            assert not value

    import dataclasses

    outcome = runner.train(job, dataclasses.replace(start, stop=Patient()), lambda event: None)
    assert (outcome.reason, outcome.state.step) == ("interrupted", 3)
    done = last(tmp_path / "stopped")
    assert done.step == 3
    runner.train(*ipu_tiny.job(straight, split, tmp_path / "stopped", steps=6, resume=done), lambda event: None)
    assert_same(last(tmp_path / "straight").model(), last(tmp_path / "stopped").model())


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "scheduler.pt"])
def test_a_checkpoint_with_code_in_it_is_refused_and_the_code_not_run(split, tmp_path, name):
    wanted = ipu_tiny.recipe()
    runner.train(*ipu_tiny.job(wanted, split, tmp_path / "run", steps=2), lambda event: None)
    folder, trap = last(tmp_path / "run").path, tmp_path / "trap"
    torch.save({"state": Malicious(trap)}, folder / "backend" / name)
    state = json.loads((folder / "state.json").read_text())
    state["files"] = {path: value for path, value in file_digests(folder).items() if path != "state.json"}
    own = digest({key: value for key, value in state.items() if key != "digest"})
    write_json(folder / "state.json", dict(state, digest=own))
    poisoned = last(tmp_path / "run")
    with pytest.raises(BadData, match="not loaded"):
        runner.train(*ipu_tiny.job(wanted, split, tmp_path / "run", steps=4, resume=poisoned), lambda event: None)
    assert not trap.exists()


def test_what_the_trainer_never_needs_is_never_read(split, tmp_path):
    wanted = ipu_tiny.recipe()
    runner.train(*ipu_tiny.job(wanted, split, tmp_path / "run", steps=2), lambda event: None)
    done, trap = last(tmp_path / "run"), tmp_path / "trap"
    for name in ("rng_state.pth", "training_args.bin"):
        (done.path / "backend" / name).write_bytes(pickle.dumps(Malicious(trap)))
    runner.train(*ipu_tiny.job(wanted, split, tmp_path / "run", steps=4, resume=done), lambda event: None)
    assert not trap.exists()


def test_a_truncated_file_of_the_library_is_noticed(split, tmp_path):
    wanted = ipu_tiny.recipe(run={"save_every": 1, "keep": 2})
    runner.train(*ipu_tiny.job(wanted, split, tmp_path / "run", steps=2), lambda event: None)
    damaged = last(tmp_path / "run").path / "backend" / "optimizer.pt"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    found = checkpoints.latest_valid(tmp_path / "run" / "checkpoints")
    assert found.checkpoint.step == 1
    assert len(found.damaged) == 1


def test_a_checkpoint_of_another_device_is_refused(split, tmp_path):
    wanted = ipu_tiny.recipe()
    trainer.train(*ipu_tiny.job(wanted, split, tmp_path / "run", steps=2, kind="cpu"), lambda event: None)
    resumed = ipu_tiny.job(wanted, split, tmp_path / "run", steps=4, resume=last(tmp_path / "run"))
    with pytest.raises(BadData, match="made on the host"):
        runner.train(*resumed, lambda event: None)


def test_numbers_that_are_not_finite_end_the_run_and_spoil_nothing(split, evaluation, tmp_path):
    wanted = ipu_tiny.recipe(run={"save_every": 1, "eval_every": 1})
    runner.train(*ipu_tiny.job(wanted, split, tmp_path / "run", steps=2, evaluation=evaluation), lambda event: None)
    done = last(tmp_path / "run")
    poisoned = torch.load(done.path / "backend" / "pytorch_model.bin", weights_only=True)
    torch.save({name: tensor * float("nan") for name, tensor in poisoned.items()}, done.path / "backend" / "x.bin")
    shutil.move(str(done.path / "backend" / "x.bin"), str(done.path / "backend" / "pytorch_model.bin"))
    good = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    with pytest.raises(Diverged, match="not finite"):
        runner.train(
            *ipu_tiny.job(wanted, split, tmp_path / "run", steps=40, resume=done, evaluation=evaluation),
            lambda event: None,
        )
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == good
    assert checkpoints.steps(tmp_path / "run" / "checkpoints")[-1] == 2


def test_an_explosion_ends_the_run_and_leaves_the_last_good_checkpoint(split, evaluation, tmp_path):
    """The second step ruins the weights, which shows only in the loss of the third."""
    wanted = ipu_tiny.recipe(run={"save_every": 1, "eval_every": 1}, optim={"learning_rate": 30.0, "warmup_steps": 2})
    with pytest.raises(Diverged, match="exploded") as stopped:
        runner.train(
            *ipu_tiny.job(wanted, split, tmp_path / "run", steps=400, evaluation=evaluation), lambda event: None
        )
    assert "the checkpoint of step 1 is kept" in stopped.value.fix
    assert last(tmp_path / "run").step == 1
    assert_same(load_file(str(tmp_path / "run" / "model" / "model.safetensors")), last(tmp_path / "run").model())


def test_early_stopping(split, evaluation, tmp_path):
    wanted = ipu_tiny.recipe(run={"eval_every": 1, "early_stopping": 2}, optim={"learning_rate": 1e-9})
    outcome = runner.train(
        *ipu_tiny.job(wanted, split, tmp_path / "run", steps=9, evaluation=evaluation), lambda event: None
    )
    assert (outcome.reason, outcome.state.step) == ("early-stopping", 3)


def test_too_few_utterances_for_a_call(split, tmp_path):
    wanted = ipu_tiny.recipe(optim={"global_batch": 20})
    with pytest.raises(PresetError, match="18 utterances, fewer than the 20"):
        runner.train(*ipu_tiny.job(wanted, split, tmp_path / "run", steps=1), lambda event: None)


def test_compiling_offline_leaves_two_executables_and_no_run(split, evaluation, tmp_path):
    job = ipu_tiny.job(ipu_tiny.recipe(), split, tmp_path / "run", steps=4, evaluation=evaluation)
    made = runner.compile_only(*job)
    assert len(made) == 2
    assert {json.loads(path.read_text())["training"] for path in made} == {True, False}
    assert not list((tmp_path / "run").iterdir())
    assert runner.compile_only(*job) == []
