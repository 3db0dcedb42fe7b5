"""The published recipe has no dropout, and a checkpoint's own does not come back, on the host or the emulated IPU."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from asrctl.training import metrics_log

from ..helpers.emulated import emulated_ipu, need_optimum
from ..helpers.ipu_tiny import TINY, TWO_IPUS
from ..helpers.program import copy_workspace, run_here
from ..helpers.tones import write_corpus

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

RATES = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout", "layerdrop")
PRESET = {
    "extends": "base-4ipu",
    "audio": {"max_s": 3},
    "optim": {"global_batch": 4, "warmup_steps": 2, "max_steps": 4},
    "run": {"eval_every": 4, "log_every": 1},
    "cpu": {"precision": "fp32", "workers": 0},
    "ipu": dict(TWO_IPUS, matmul_proportion=[0.1, 0.1]),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A workspace with spoken tones, and the checkpoint `base` beside it, whose configuration drops 30 % everywhere."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    folder = tmp_path_factory.mktemp("published")
    config = Wav2Vec2Config(**TINY, **dict.fromkeys(RATES, 0.3), mask_time_prob=0.3, mask_time_length=2)
    Wav2Vec2ForCTC(config).save_pretrained(str(folder / "base"))
    (folder / "workspace" / "presets").mkdir(parents=True)
    preset = {**PRESET, "model": {"checkpoint": str(folder / "base"), "ctc_zero_infinity": True}}
    (folder / "workspace" / "presets" / "published.yaml").write_text(yaml.safe_dump(preset))
    manifest = write_corpus(folder / "corpus", train=16, held_out=4)
    run_here("prepare", "manifest", manifest, "--preset", "published", "--workspace", folder / "workspace").succeeded()
    return folder / "workspace"


def losses(asrctl, workspace, run, *words):
    asrctl("train", "--preset", "published", "--run", run, *words).succeeded()
    return [entry["loss"] for entry in metrics_log.read(workspace / "runs" / run, "train")]


def written(workspace, run):
    """What the run's recipe and its model's configuration say."""
    recipe = yaml.safe_load((workspace / "runs" / run / "recipe.yaml").read_text())["model"]
    return recipe, json.loads((workspace / "runs" / run / "model" / "config.json").read_text())


def test_the_host_drops_nothing(asrctl, prepared, workspace, tmp_path):
    """The same weights with and without dropout in their configuration, and with dropout in the recipe."""
    copy_workspace(prepared, workspace)
    plain = shutil.copytree(str(prepared.parent / "base"), str(tmp_path / "plain"))
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    (tmp_path / "plain" / "config.json").write_text(json.dumps({**config, **dict.fromkeys(RATES, 0.0)}))
    found = losses(asrctl, workspace, "found", "--device", "cpu")
    assert found == losses(asrctl, workspace, "plain", "--device", "cpu", "--set", f"model.checkpoint={plain}")
    for values in written(workspace, "found"):
        assert {name: values[name] for name in RATES} == dict.fromkeys(RATES, 0.0)
    asked = losses(asrctl, workspace, "asked", "--device", "cpu", "--set", "model.hidden_dropout=0.3")
    assert asked != found


def test_the_emulated_ipu_drops_nothing(asrctl, prepared, workspace):
    """It has the host's losses, which it could not have with dropout: other random numbers draw it there."""
    need_optimum()
    copy_workspace(prepared, workspace)
    host = losses(asrctl, workspace, "host", "--device", "cpu")
    with emulated_ipu():
        device = losses(asrctl, workspace, "device", "--device", "ipu-emulated")
    assert device == pytest.approx(host, rel=1e-5) and len(host) == 4
    # The rest shared by several wildcards is another placement of the same model.
    with emulated_ipu():
        words = ("--device", "ipu-emulated", "--set", "ipu.layers_per_ipu=[-1, -1]", "--max-steps", 2)
        assert losses(asrctl, workspace, "shared", *words) == pytest.approx(host[:2], rel=1e-5)
        words = ("--device", "ipu-emulated", "--set", "ipu.layers_per_ipu=[-1]", "--max-steps", 1)
        assert losses(asrctl, workspace, "alike", *words) == pytest.approx(host[:1], rel=1e-5)
    recipe, config = written(workspace, "device")
    assert {config[name] for name in RATES} == {recipe[name] for name in RATES} == {0.0}
    assert (config["mask_time_prob"], config["apply_spec_augment"]) == (0, False)
