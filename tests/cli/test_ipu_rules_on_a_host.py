"""What only an IPU asks for is asked for only where one is used: `plan`, `compile`, `--device ipu`, its emulation."""

from __future__ import annotations

import pytest
import yaml

from ..helpers.program import copy_workspace, run_here
from ..helpers.tones import PRESET, write_corpus

# Each breaks one rule of the pipeline, and nothing that a host would mind.
BROKEN = {
    "too few micro-batches": (
        {"optim": {"global_batch": 4}},
        "optim.global_batch is 4; a pipeline over 4 IPUs needs 7",
    ),
    "replicas that do not divide": ({"ipu": {"replication": 3}}, "not a multiple of ipu.micro_batch x ipu.replication"),
    "too few iterations": ({"ipu": {"inference_device_iterations": 1}}, "ipu.inference_device_iterations must be"),
    "too few counts": ({"ipu": {"layers_per_ipu": [9, 4, 4]}}, "ipu.layers_per_ipu has 3 entries for 4 IPUs"),
    "no counts": ({"ipu": {"layers_per_ipu": []}}, "ipu.layers_per_ipu must list the layers"),
    "too few proportions": ({"ipu": {"matmul_proportion": [0.1]}}, "ipu.matmul_proportion needs one number"),
}


def preset(changes):
    return {
        "extends": "base-4ipu",
        "model": {**PRESET["model"], "checkpoint": None},
        "audio": {"max_s": 3},
        "optim": {"max_steps": 1, "global_batch": 32, **changes.get("optim", {})},
        "cpu": {"precision": "fp32", "workers": 0},
        "ipu": changes.get("ipu", {}),
    }


@pytest.fixture(params=sorted(BROKEN))
def broken(request, in_folder):
    """(the preset's file, what an IPU says of it)."""
    changes, said = BROKEN[request.param]
    (in_folder / "mine.yaml").write_text(yaml.safe_dump(preset(changes)))
    return "./mine.yaml", said


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A workspace with data for all of them, prepared with one that no IPU would take."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "bad.yaml").write_text(yaml.safe_dump(preset(BROKEN["too few micro-batches"][0])))
    manifest = write_corpus(folder / "corpus", train=32, held_out=2)
    run_here("prepare", "manifest", manifest, "--preset", folder / "bad.yaml", "--workspace", folder / "w").succeeded()
    return folder / "w"


def test_a_host_does_not_mind(broken, asrctl, workspace, prepared):
    path, said = broken
    asrctl("presets", "show", path).succeeded()
    checked = asrctl("presets", "check", path, "--json").succeeded()
    (warning,) = checked.result["warnings"]
    assert said in warning and "--device ipu" in warning and warning in checked.stderr.replace("\n", " ")
    copy_workspace(prepared, workspace)
    asrctl("train", "--preset", path, "--device", "cpu", "--dry-run").succeeded()


def test_a_host_trains_with_what_no_ipu_takes(asrctl, in_folder, workspace, prepared):
    every = {"optim": {"global_batch": 4}, "ipu": {"inference_device_iterations": 1, "layers_per_ipu": [3, -1]}}
    (in_folder / "mine.yaml").write_text(yaml.safe_dump(preset(every)))
    copy_workspace(prepared, workspace)
    asrctl("train", "--preset", "./mine.yaml", "--device", "cpu", "--run", "r").succeeded()
    asrctl("train", "--resume", "--run", "r", "--device", "cpu", "--set", "optim.max_steps=2").succeeded()


def test_an_ipu_minds_with_the_line_and_before_any_work(broken, asrctl, workspace, prepared):
    path, said = broken
    copy_workspace(prepared, workspace)
    for words in (("plan",), ("compile", "--device", "ipu-emulated"), ("train", "--device", "ipu-emulated")):
        refused = asrctl(*words, "--preset", path, "--json")
        assert refused.exit_code == 3
        assert any(said in problem and "mine.yaml, line" in problem for problem in refused.error["problems"])
    words = ("train", "--device", "ipu-emulated", "--preset", "base-4ipu", "--set", "optim.global_batch=4")
    assert "(--set optim.global_batch=4)" in asrctl(*words, "--json").error["problems"][0]


def test_what_every_device_minds_is_still_refused_on_a_host(asrctl):
    for typed in ("ipu.pod=6", "ipu.micro_batch=0", "ipu.precision=fp8", "optim.global_batch_s=3"):
        assert asrctl("presets", "show", "base-4ipu", "--set", typed).exit_code == 3
