"""`asrctl train --device ipu-emulated` as people use it: stopped, killed, resumed."""

import importlib.util
import json
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from asrctl.commands.compile import CompileRequest, compile_executables
from asrctl.storage.workspace import Workspace
from asrctl.training import checkpoints

from ..helpers.emulated import emulated_ipu, need_optimum
from ..helpers.ipu_tiny import TINY, TWO_IPUS
from ..helpers.program import copy_workspace, run_here
from ..helpers.stops import HANGS_S, signalled, stopped

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

PRESET = {
    "extends": "base-4ipu",
    "model": {"checkpoint": None, "config": TINY, "ctc_zero_infinity": True},
    "audio": {"max_s": 5},
    "text": {"vocab_splits": ["train"]},
    "optim": {"global_batch": 4, "warmup_steps": 2, "max_steps": 6},
    "run": {"eval_every": 4, "save_every": 1, "log_every": 1},
    "ipu": dict(TWO_IPUS, matmul_proportion=[0.1, 0.1]),
}
TRAIN = ("train", "--preset", "tiny", "--device", "ipu-emulated")


@pytest.fixture(scope="module", autouse=True)
def emulated():
    """The emulated poptorch for this module, and gone again after it."""
    need_optimum()
    with emulated_ipu():
        yield


@pytest.fixture(scope="module")
def spoken(librispeech, tmp_path_factory):
    """A workspace with the utterances of up to 5 s of a corpus like LibriSpeech, and the preset `tiny`."""
    workspace = tmp_path_factory.mktemp("spoken") / "workspace"
    (workspace / "presets").mkdir(parents=True)
    (workspace / "presets" / "tiny.yaml").write_text(yaml.safe_dump(PRESET))
    splits = ("--train", "test-other", "--eval", "test-clean", "--max-rejects", "0.95")
    run_here("prepare", "librispeech", librispeech, *splits, "--preset", "tiny", "--workspace", workspace).succeeded()
    return workspace


@pytest.fixture
def ready(spoken, workspace):
    return copy_workspace(spoken, workspace)


def losses(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if entry["kind"] == "train"]


def last_weights(run):
    found = checkpoints.latest_valid(run / "checkpoints")
    assert not found.damaged
    return found.checkpoint.step, load_file(str(found.checkpoint.path / "model.safetensors"))


def test_train_evaluate_export(ready, asrctl):
    done = asrctl(*TRAIN).succeeded()
    assert "the IPU is emulated" in done.stderr
    assert "1 x 2 IPUs: a step is 4 utterances = 1 x 4 accumulated x 1 replica, padded to 5 s" in done.stderr
    assert "on an emulated IPU" in done.stdout
    run = ready / "runs" / "tiny"
    info = json.loads((run / "run.json").read_text())
    assert (info["state"], info["steps"], info["emulated"]) == ("complete", 6, True)
    assert (info["device"], info["precision"]) == ("ipu-emulated", "fp32")
    assert info["best"]["wer"] > 0
    assert len(losses(run)) == 6
    assert [path.suffix for path in (ready / "cache" / "ipu").iterdir()] == [".popef"] * 2
    scored = asrctl("eval", "--run", "tiny", "--device", "cpu", "--json").succeeded()
    assert scored.result["utterances"] > 0
    exported = asrctl("export", "--run", "tiny", "--format", "hf", "--output", ready.parent / "exported").succeeded()
    assert exported.exit_code == 0
    folder = ready.parent / "exported"
    config = json.loads(next(folder.rglob("config.json")).read_text())
    assert config["architectures"] == ["Wav2Vec2ForCTC"]
    assert "emulated" in next(folder.rglob("README.md")).read_text()


def test_evaluation_on_the_device_gives_the_figures_of_training(ready, asrctl):
    trained = asrctl(*TRAIN, "--json").succeeded().result
    run = ready / "runs" / "tiny"
    best = json.loads((run / "run.json").read_text())["best"]
    done = asrctl("eval", "--run", "tiny", "--device", "ipu-emulated").succeeded()
    assert "the IPU is emulated" in done.stderr
    assert "fp32 on an emulated IPU, greedy" in done.stdout
    found = asrctl("eval", "--run", "tiny", "--device", "ipu-emulated", "--json").succeeded().result
    assert found["unchanged"]
    assert (found["device"], found["emulated"], found["precision"]) == ("ipu-emulated", True, "fp32")
    assert found["wer"] == pytest.approx(best["wer"]) == pytest.approx(trained["best_wer"])
    with open(found["hypotheses"], encoding="utf-8") as stream:
        ids = [json.loads(line)["id"] for line in stream]
    # An odd number, by calls of two.
    assert len(ids) == len(set(ids)) == found["utterances"]
    assert found["utterances"] % 2
    assert not list(ready.glob("evals/*/scratch"))


def test_what_can_not_be_evaluated_on_the_device_is_refused(ready, asrctl):
    asrctl(*TRAIN, "--max-steps", 1).succeeded()
    evaluate = ("eval", "--device", "ipu-emulated", "--json")
    folder = asrctl(*evaluate, "--model", ready / "runs" / "tiny" / "model")
    assert folder.exit_code == 2
    assert "`ipu` section" in folder.error["fix"]
    assert asrctl(*evaluate, "--run", "tiny", "--batch-s", 5).exit_code == 2
    assert asrctl(*evaluate, "--run", "tiny", "--precision", "bf16").exit_code == 2
    recipe = ready / "runs" / "tiny" / "recipe.yaml"
    values = yaml.safe_load(recipe.read_text())
    recipe.write_text(yaml.safe_dump(dict(values, ipu=None)))
    without = asrctl(*evaluate, "--run", "tiny")
    assert without.exit_code == 3
    assert "no `ipu` section" in without.error["message"]
    recipe.write_text(yaml.safe_dump(dict(values, ipu=dict(values["ipu"], layers_per_ipu=[8, 4]))))
    assert asrctl(*evaluate, "--run", "tiny").exit_code == 3
    recipe.write_text(yaml.safe_dump(dict(values, audio=dict(values["audio"], max_s=2))))
    long = asrctl(*evaluate, "--run", "tiny")
    assert long.exit_code == 5
    assert "longer than the 2 s" in long.error["message"]


@pytest.mark.parametrize("killed", [1, 2], ids=["one", "both"])
def test_a_killed_loader_process_is_one_sentence(ready, killed):
    """Batches of it may be on their way, or not: each breaks in its own way."""
    many = ("--set", "ipu.dataloader_workers=2", "--set", "optim.max_steps=5000")
    running = stopped((*TRAIN, "--workspace", ready, *many, "--json"), ready, "/.step-00000002")
    tasks = Path(f"/proc/{running.pid}/task")
    children = [int(number) for path in tasks.glob("*/children") for number in path.read_text().split()]
    assert len(children) >= killed
    for child in children[:killed]:
        os.kill(child, signal.SIGKILL)
    running.send_signal(signal.SIGCONT)
    stdout, stderr = running.communicate(timeout=HANGS_S)
    assert running.returncode == 6, stderr
    error = json.loads(stdout)["error"]
    assert "was killed" in error["message"]
    assert "ipu.dataloader_workers" in error["fix"]
    assert "Traceback" not in stderr


def test_json_alone_is_on_stdout(ready, asrctl):
    result = asrctl(*TRAIN, "--max-steps", 1, "--json").succeeded().result
    assert (result["emulated"], result["device"], result["steps"]) == (True, "ipu-emulated", 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopped_or_killed_and_resumed_it_is_the_straight_run(ready, asrctl, number):
    asrctl(*TRAIN, "--run", "straight").succeeded()
    broken = ready / "runs" / "broken"
    words = (*TRAIN, "--workspace", ready, "--run", "broken", "--set", "ipu.dataloader_workers=2", "--json")
    running = signalled(stopped(words, ready, "/.step-00000003"), number)
    stdout, stderr = running.communicate(timeout=HANGS_S)
    if number == signal.SIGKILL:
        assert running.returncode == -signal.SIGKILL
    else:
        assert running.returncode == 130, stderr
        assert "--resume --run broken" in json.loads(stdout)["error"]["fix"]
        assert json.loads((broken / "run.json").read_text())["state"] == "interrupted"
    asrctl("train", "--resume", "--run", "broken", "--device", "ipu-emulated").succeeded()
    (step, ours), (_, theirs) = last_weights(broken), last_weights(ready / "runs" / "straight")
    assert step == 6
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert losses(broken) == losses(ready / "runs" / "straight")
    assert not (broken / ".backend").exists()


def test_a_run_goes_on_only_on_its_own_kind_of_device(ready, asrctl):
    asrctl(*TRAIN, "--max-steps", 1, "--set", "ipu.dataloader_workers=2").succeeded()
    refused = asrctl("train", "--resume", "--device", "cpu", "--max-steps", 2, "--json")
    assert refused.exit_code == 5
    assert "--device ipu-emulated" in refused.error["fix"]
    assert "--from-run tiny" in refused.error["fix"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("batches.shapes=free", "batches.shapes=static"),
        ("model.spec_augment.time_prob=0.1", "model.spec_augment.time_prob=0"),
        ("model.config.add_adapter=true", "an adapter shortens the output"),
        ("model.freeze_feature_encoder=false", "model.freeze_feature_encoder"),
        ("model.architecture=wavlm", "no pipelined version"),
        ("ipu.layers_per_ipu=[8, 4]", "places 12 layers, the model has 11 layers"),
        ("optim.global_batch=2", "smallest legal value is 3"),
        ("batches.augment.speed=0.1", "changes lengths by speed or join"),
    ],
)
def test_what_the_device_can_not_do_is_refused_before_any_work(ready, asrctl, override, said):
    refused = asrctl(*TRAIN, "--set", override, "--json")
    assert refused.exit_code == 3
    assert any(said in problem for problem in refused.error["problems"]), refused.error
    assert not (ready / "runs").exists()


def test_changed_audio_reaches_the_device(ready, asrctl):
    """Other losses than without, and the same once more."""
    changed = ("--set", "batches.augment.reverb_share=1", "--set", "batches.augment.clip_share=1", "--max-steps", 2)
    asrctl(*TRAIN, "--max-steps", 2).succeeded()
    asrctl(*TRAIN, *changed, "--run", "one").succeeded()
    asrctl(*TRAIN, *changed, "--run", "two").succeeded()
    plain, one, two = (losses(ready / "runs" / name) for name in ("tiny", "one", "two"))
    assert one == two and one != plain


def test_a_preset_without_an_ipu_section(ready, asrctl):
    refused = asrctl("train", "--preset", "tiny-cpu", "--device", "ipu-emulated", "--json")
    assert refused.exit_code == 3
    assert "no `ipu` section" in refused.error["message"]


def test_what_is_not_emulated_is_a_device_error(ready, asrctl):
    refused = asrctl(*TRAIN, "--set", "ipu.auto_loss_scaling=true", "--set", "ipu.precision=fp16", "--json")
    assert refused.exit_code == 6
    assert "ipu.loss_scaling" in refused.error["fix"]


def test_steps_are_whole_calls_of_the_device(ready, asrctl):
    result = asrctl(*TRAIN, "--max-steps", 3, "--set", "ipu.device_iterations=2", "--json").succeeded().result
    assert result["steps"] == 4


def test_data_that_does_not_fill_one_call_is_refused_before_any_work(ready, asrctl):
    changes = ("--set", "ipu.device_iterations=500")
    for words in (("--dry-run",), ()):
        refused = asrctl(*TRAIN, *changes, *words, "--json")
        assert (refused.exit_code, "one call of the device" in refused.error["message"]) == (3, True)
    assert not (ready / "runs").exists()
    planned = asrctl("plan", "--preset", "tiny", *changes, "--json").succeeded().result
    assert any("one call of the device" in warning for warning in planned["warnings"])


def test_plan_counts_the_steps_that_train_takes(ready, asrctl):
    changes = ("--set", "ipu.device_iterations=2", "--set", "optim.max_steps=3")
    planned = asrctl("plan", "--preset", "tiny", *changes, "--json").succeeded().result
    assert planned["steps"] == asrctl(*TRAIN, *changes, "--dry-run", "--json").result["steps"] == 4


def test_compile_then_train_finds_the_executables(ready, asrctl):
    compiled = asrctl("compile", "--preset", "tiny", "--device", "ipu-emulated", "--json").succeeded().result
    assert len(compiled["executables"]) == 2
    assert not (ready / "runs").exists()
    again = asrctl("compile", "--preset", "tiny", "--device", "ipu-emulated").succeeded()
    assert "nothing to compile" in again.stdout


def test_clean_leaves_alone_what_is_being_compiled(ready, asrctl):
    cleaned = []

    def clean_meanwhile(event):
        cleaned.append(asrctl("clean", "--yes", "--json").result)

    request = CompileRequest("tiny", device="ipu-emulated")
    made = compile_executables(Workspace(ready), request, clean_meanwhile)
    assert len(made.executables) == 2
    assert all(path.exists() for path in made.executables)
    assert any(result["held"] for result in cleaned)
    left = [path.name for path in (ready / ".tmp").iterdir() if not path.name.endswith(".lock")]
    assert left == []


def test_the_real_device_is_missed_politely(ready, asrctl_process):
    if importlib.util.find_spec("poptorch") is not None:
        from asrctl.ipu import emulation

        if not emulation.is_emulated():
            pytest.skip("a real poptorch is here")
    for command in ("train", "compile"):
        refused = asrctl_process(command, "--preset", "tiny", "--device", "ipu", "--json")
        assert refused.exit_code == 6
        assert "--device ipu-emulated" in refused.error["fix"]
        assert "--device cpu" in refused.error["fix"]
