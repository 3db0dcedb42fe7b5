"""asrctl plan."""

from __future__ import annotations

import numpy as np
import pytest

from asrctl.ipu.plan import geometry, limits
from asrctl.ipu.plan.layers import total_flops


def test_the_published_base_preset(asrctl):
    result = asrctl("plan", "--preset", "base-4ipu", "--json").result
    assert result["layers_per_ipu"] == [9, 4, 4, 4]
    assert [item["ipu"] for item in result["placement"]] == [0] * 9 + [1] * 4 + [2] * 4 + [3] * 4
    assert result["batch"] == {
        "micro_batch": 1,
        "replication": 1,
        "accumulation": 32,
        "device_iterations": 1,
        "global_batch": 32,
        "combined": 32,
    }
    assert (result["pipeline"]["depth"], result["pipeline"]["ramp_share"]) == (7, pytest.approx(6 / 38))
    assert result["shapes"] == {"max_s": 20.0, "samples": 320000, "frames": 999, "max_labels": 500}
    assert [item["verdict"] for item in result["memory"]] == ["fits"] * 4
    assert sum(result["pipeline"]["compute_share"]) == pytest.approx(1)
    assert (result["data"], result["steps"], result["poprun"], result["search"]) == (None, None, None, None)
    assert result["warnings"] == []


def test_the_page_for_people_fits_80_columns(asrctl):
    one_ipu = (
        "--set",
        "ipu.ipus_per_replica=1",
        "--set",
        "ipu.layers_per_ipu=[21]",
        "--set",
        "ipu.matmul_proportion=[]",
    )
    for options in (
        ("base-4ipu",),
        ("base-4ipu", *one_ipu),
        ("large-8ipu", "--set", "ipu.pod=16", "--set", "ipu.hosts=2", "--search"),
    ):
        shown = asrctl("plan", "--preset", *options).succeeded().stdout
        assert max(map(len, shown.splitlines())) <= 80
        for word in ("IPU 0", "layers_per_ipu", "drain", "of SRAM", "batch", "shapes"):
            assert word in shown


def test_every_layer_with_verbose(asrctl):
    lines = asrctl("plan", "--preset", "base-4ipu", "--verbose").succeeded().stdout.splitlines()
    assert "  1  Encoder 1" in lines and "  3  Project Hidden" in lines


def test_a_pod_and_several_hosts(asrctl):
    overrides = ("--set", "ipu.pod=64", "--set", "ipu.hosts=4", "--set", "ipu.device_iterations=2")
    result = asrctl("plan", "--preset", "base-4ipu", *overrides, "--json").result
    assert (result["batch"]["global_batch"], result["batch"]["combined"]) == (512, 1024)
    assert result["ipus"] == {"per_replica": 4, "replicas": 16, "total": 64}
    for words in ("--num-instances=4", "--num-replicas=16", "--ipus-per-replica=4", "--set ipu.pod=64"):
        assert words in result["poprun"]


def test_a_layout_that_will_not_fit_is_warned_about_and_a_better_one_found(asrctl):
    overrides = ("--set", "ipu.layers_per_ipu=[18,1,1,1]", "--set", "ipu.optimizer_state_offchip=false")
    result = asrctl("plan", "--preset", "base-4ipu", *overrides, "--search", "--json").result
    assert any(warning.startswith("IPU 0 will not hold") for warning in result["warnings"])
    found = result["search"]["alternative"]
    assert sum(found["layers_per_ipu"]) == 21 and found["speedup"] > 1.5
    assert {item["verdict"] for item in found["memory"]} == {"fits"}
    again = ("--set", f"ipu.layers_per_ipu={found['layers_per_ipu']}")
    assert asrctl("plan", "--preset", "base-4ipu", *again, "--search", "--json").result["search"] == {
        "alternative": None
    }


def test_what_training_on_an_ipu_refuses_is_said(asrctl):
    overrides = ("--set", "model.spec_augment.time_prob=0.5", "--set", "ipu.hosts=3")
    warnings = asrctl("plan", "--preset", "base-4ipu", *overrides, "--json").result["warnings"]
    assert any("spec_augment" in warning for warning in warnings) and any(
        "ipu.hosts" in warning for warning in warnings
    )


def test_an_unknown_checkpoint_is_assumed_and_that_is_said(asrctl):
    result = asrctl("plan", "--preset", "base-4ipu", "--set", "model.checkpoint=a/stranger", "--json").result
    assert result["model"]["assumed"] and any("assumed" in warning for warning in result["warnings"])


def test_a_local_checkpoint_is_read(asrctl, in_folder):
    (in_folder / "model").mkdir()
    (in_folder / "model" / "config.json").write_text('{"num_hidden_layers": 4, "hidden_size": 96}')
    overrides = ("--set", "model.checkpoint=model", "--set", "ipu.layers_per_ipu=[9,-1,1,1]")
    result = asrctl("plan", "--preset", "base-4ipu", *overrides, "--json").result
    assert (result["model"]["layers"], result["model"]["hidden"], result["layers_per_ipu"]) == (4, 96, [9, 2, 1, 1])
    (in_folder / "model" / "config.json").write_text('{"num_hidden_layers": "many"}')
    assert asrctl("plan", "--preset", "base-4ipu", *overrides).exit_code == 3


@pytest.mark.parametrize(
    ("options", "exit_code", "word"),
    [
        (("--preset", "tiny-cpu"), 3, "base-4ipu"),
        (("--preset", "base-4ipu", "--set", "ipu.layers_per_ipu=[9,4,4,3]"), 3, "layers_per_ipu"),
        (("--preset", "base-4ipu", "--data", "nothing"), 4, "prepare"),
        (("--preset", "nothing"), 3, "presets list"),
    ],
)
def test_refusals(asrctl, options, exit_code, word):
    result = asrctl("plan", *options, "--json")
    assert result.exit_code == exit_code
    assert word in result.stdout


def test_prepared_speech(asrctl, librispeech_workspace):
    result = asrctl("plan", "--preset", "base-4ipu", "--set", "optim.global_batch=8", "--json").result
    data = result["data"]
    assert 0 < data["limit"]["padding_compute"] < 1 and data["limit"]["dropped"] == 0
    assert data["steps_per_epoch"] == data["utterances"] // 8
    assert (result["steps"], result["samples"]) == (data["steps_per_epoch"], data["steps_per_epoch"] * 8)
    better = data["better"]
    assert better["max_s"] < 20 and better["dropped_share"] <= limits.MAX_DROPPED_SHARE
    assert better["padding_compute"] < data["limit"]["padding_compute"]
    shown = asrctl("plan", "--preset", "base-4ipu", "--set", "optim.global_batch=8").succeeded().stdout
    assert better in data["choices"]
    assert f"--set audio.max_s={better['max_s']:g}" in " ".join(shown.split())


def test_the_better_limit_is_the_best_of_all_on_the_grid():
    shape = geometry.from_config({}, 32)
    num_samples = (np.random.default_rng(3).gamma(6.0, 2.0, 500).clip(1.0, 30.0) * 16000).astype(np.int32)

    def cost(samples):
        return total_flops(shape, samples)

    grid = [limits.measure(num_samples, 16000, tick / 10, cost) for tick in range(10, 301)]
    allowed = [limit for limit in grid if limit.kept and limit.dropped_share <= limits.MAX_DROPPED_SHARE]
    found = limits.better(num_samples, 16000, 30.0, cost)
    assert found == min(allowed, key=lambda limit: limit.flops_per_s)
    assert limits.better(np.full(9, 80000, np.int32), 16000, 5.0, cost) is None
    assert limits.better(np.zeros(0, np.int32), 16000, 5.0, cost) is None


def test_the_picture(asrctl, in_folder):
    pytest.importorskip("matplotlib")
    result = asrctl("plan", "--preset", "large-8ipu", "--png", "plots/plan.png", "--json").result
    assert result["png"] == "plots/plan.png" and (in_folder / "plots/plan.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_without_matplotlib_is_exit_6(asrctl, in_folder, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = asrctl("plan", "--preset", "base-4ipu", "--png", "plan.png", "--json")
    assert result.exit_code == 6 and "asrctl[plot]" in result.error["fix"]
    assert not (in_folder / "plan.png").exists()
