"""ipu_config.json of every release of optimum-graphcore -> presets."""

from __future__ import annotations

import json

import pytest

from asrctl.config import presets
from asrctl.errors import MissingArtifact, PresetError
from asrctl.ipu import import_config

PODS = {"pod4": 1, "pod8": 2, "pod16": 4, "pod32": 8, "pod64": 16, "default": 1}
COMMON = {
    "inference_replication_factor": 1,
    "device_iterations": 1,
    "replicated_tensor_sharding": True,
    "recompute_checkpoint_every_layer": False,
    "enable_half_partials": True,
    "executable_cache_dir": "./exe_cache",
}
# The values that Graphcore published, for the example's command and on the hub.
BASE = {
    **COMMON,
    "layers_per_ipu": [9, 4, 4, 4],
    "ipus_per_replica": 4,
    "matmul_proportion": [0.1] * 4,
    "gradient_accumulation_steps": 32,
    "replication_factor": 1,
    "inference_device_iterations": 4,
    "optimizer_state_offchip": False,
}
LARGE = {
    **COMMON,
    "layers_per_ipu": [8, 3, 4, 4, 4, 4, 4, 2],
    "ipus_per_replica": 8,
    "matmul_proportion": [0.1] * 8,
    "gradient_accumulation_steps": 16,
    "replication_factor": 1,
    "inference_device_iterations": 8,
    "optimizer_state_offchip": True,
}
HUB_BASE = {
    **BASE,
    "embedding_serialization_factor": 0,
    "enable_half_first_order_momentum": True,
    "replication_factor": PODS,
    "inference_replication_factor": PODS,
}
PUBLISHED = {"base": (BASE, "base-4ipu"), "large": (LARGE, "large-8ipu"), "hub-base": (HUB_BASE, "base-4ipu")}


def preset(values, name="imported"):
    return import_config.translate(values, name).preset


def problems(values):
    with pytest.raises(PresetError) as caught:
        import_config.translate(values, "imported")
    assert caught.value.exit_code == 3
    return list(caught.value.problems)


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_was_published_is_the_built_in_preset(name, asrctl, in_folder):
    values, base = PUBLISHED[name]
    (in_folder / "ipu_config.json").write_text(json.dumps(values))
    asrctl("presets", "import", "ipu_config.json", "--output", "mine.yaml").succeeded()
    ours, theirs = presets.load("./mine.yaml").recipe.as_dict(), presets.load(base).recipe.as_dict()
    for recipe in (ours, theirs):
        recipe.pop("name"), recipe.pop("description")
    assert ours == theirs


def test_the_hub_preset_on_a_bigger_pod_has_the_replicas_of_the_file(asrctl, in_folder):
    (in_folder / "ipu_config.json").write_text(json.dumps(HUB_BASE))
    asrctl("presets", "import", "ipu_config.json", "--output", "mine.yaml").succeeded()
    for pod, replicas in PODS.items():
        if pod != "default":
            recipe = presets.load("./mine.yaml", overrides=[f"ipu.pod={pod[3:]}"]).recipe
            assert (recipe.ipu.replication, recipe.optim.global_batch) == (replicas, 32 * replicas)


def test_what_a_file_leaves_out_is_as_in_optimum_graphcore_not_as_in_the_preset():
    found = preset({"layers_per_ipu": [9, 4, 4, 4], "gradient_accumulation_steps": 8, "inference_device_iterations": 4})
    assert found["ipu"]["replicated_tensor_sharding"] is False
    assert found["ipu"]["matmul_proportion"] == [0.2] * 4
    assert (found["ipu"]["ipus_per_replica"], found["optim"]["global_batch"]) == (4, 8)


def test_the_global_batch_counts_replicas_and_accumulation():
    assert preset({**BASE, "replication_factor": 4})["optim"]["global_batch"] == 128


@pytest.mark.parametrize(
    ("old", "key", "value"),
    [
        ({"training_replication_factor": 2}, "replication", 2),
        ({"training_ipus_per_replica": 4}, "ipus_per_replica", 4),
        ({"matmul_proportion": 0.25}, "matmul_proportion", [0.25] * 4),
        ({"output_mode": "default"}, "output_mode", "final"),
        ({"output_mode": {"pod4": "all", "default": "sum"}}, "output_mode", "sum"),
        ({"auto_loss_scaling": True}, "auto_loss_scaling", True),
        ({"inference_device_iterations": 1}, "inference_device_iterations", 4),
        ({"layers_per_ipu": [-1]}, "layers_per_ipu", [-1]),
        ({"layers_per_ipu": [9, -1, -1, 4]}, "layers_per_ipu", [9, -1, -1, 4]),
        ({"matmul_proportion": [0.25]}, "matmul_proportion", [0.25] * 4),
        ({"replication_factor": {"pod16": 4, "pod4": 1}}, "replication", 1),
        ({"replication_factor": {"pod256": 64, "pod128": 32, "default": 2}}, "replication", 2),
        ({"layers_per_ipu": {"pod4": [9, 4, 4, 4], "default": [8, 5, 4, 4]}}, "layers_per_ipu", [8, 5, 4, 4]),
        ({"optimizer_state_offchip": {"pod4": True, "default": False}}, "optimizer_state_offchip", False),
        ({"layers_per_ipu": [0, 4, 4, 4]}, "layers_per_ipu", [8, 4, 4, 5]),
    ],
)
def test_older_spellings(old, key, value):
    values = {name: BASE[name] for name in BASE if f"training_{name}" not in old}
    assert preset({**values, **old})["ipu"][key] == value


@pytest.mark.parametrize(
    "silent",
    [
        {"use_popdist": False, "execute_encoder_on_cpu_for_generation": False, "explicit_ir_inference": False},
        {"optimum_version": "1.6.1", "transformers_version": "4.29.2", "embedding_serialization_factor": 2},
        {"parallelize_kwargs": {}, "inference_parallelize_kwargs": {}, "serialized_embedding_splits_per_ipu": None},
        {
            "inference_layers_per_ipu": [9, 4, 4, 4],
            "inference_ipus_per_replica": 4,
            "inference_matmul_proportion": None,
        },
        {"projection_serialization_factor": 1, "sharded_execution_for_inference": True, "decompose_grad_sum": True},
        {"synthetic_data": False, "profile_dir": "", "async_dataloader": True, "architectures": None, "id2label": {}},
    ],
)
def test_keys_without_effect_change_nothing(silent):
    assert preset({**BASE, **silent}) == preset(BASE)


PODS_OF_2021 = {"pod4": 1, "pod16": 4, "pod64": 16, "pod128": 32, "pod256": 64, "default": 1}
HUBERT = {
    "recompute_checkpoint_every_layer": True,
    "optimizer_state_offchip": True,
    "replicated_tensor_sharding": True,
    "enable_half_first_order_momentum": True,
    "enable_half_partials": True,
    "replication_factor": PODS_OF_2021,
    "gradient_accumulation_steps": 16,
    "device_iterations": 1,
    "executable_cache_dir": "./exe_cache",
    "inference_device_iterations": 4,
    "inference_replication_factor": PODS_OF_2021,
    "ipus_per_replica": 4,
    "layers_per_ipu": [0, 4, 4, 4],
    "matmul_proportion": [0.1] * 4,
}
# Of the examples of optimum-graphcore and the Graphcore models on the hub, one of each form.
ALSO_PUBLISHED = {
    "hubert-base": (HUBERT, {"layers_per_ipu": [8, 4, 4, 5], "replication": 1, "inference_replication": 1}),
    "hubert-base, later": ({**HUBERT, "gradient_accumulation_steps": 512}, {"replication": 1}),
    "one proportion": (
        {**HUBERT, "matmul_proportion": [0.25], "replication_factor": 4, "random_seed": 1984, "async_dataloader": True},
        {"matmul_proportion": [0.25] * 4, "replication": 4},
    ),
    "large of 2022": ({**LARGE, "embedding_serialization_factor": 0}, {"layers_per_ipu": LARGE["layers_per_ipu"]}),
    "one IPU": ({"executable_cache_dir": "./exe_cache", "ipus_per_replica": 1}, {"layers_per_ipu": [-1]}),
    "inference on two": (
        {"matmul_proportion": 0.1, "layers_per_ipu": [17, 16], "ipus_per_replica": 2, "gradient_accumulation_steps": 3},
        {"layers_per_ipu": [17, 16], "matmul_proportion": [0.1, 0.1]},
    ),
}


@pytest.mark.parametrize("name", ALSO_PUBLISHED)
def test_every_published_form_becomes_a_preset(name, asrctl, in_folder):
    values, expected = ALSO_PUBLISHED[name]
    (in_folder / "ipu_config.json").write_text(json.dumps(values))
    imported = asrctl("presets", "import", "ipu_config.json", "--output", "mine.yaml", "--json").succeeded()
    found = presets.load("./mine.yaml").recipe
    assert {key: found.as_dict()["ipu"][key] for key in expected} == expected
    assert imported.result["global_batch"] == values.get("gradient_accumulation_steps", 1) * found.ipu.replication
    assert asrctl("presets", "check", "mine.yaml", "--json").result["warnings"] == []


def test_the_pods_of_a_file_are_told_by_what_grows_with_them():
    def note(**pods):
        notes = import_config.translate({**BASE, "replication_factor": dict(pods, default=1)}, "imported").notes
        return next(note for note in notes if note.startswith("replication_factor"))

    assert "`--set ipu.pod=N` multiplies" in note(pod4=1, pod16=4, pod128=32)
    assert "set ipu.replication and optim.global_batch" in note(pod4=1, pod16=16)


def test_what_is_said_about_the_way():
    notes = "\n".join(import_config.translate({**HUB_BASE, "inference_device_iterations": 1}, "imported").notes)
    for word in ("replication_factor", "ipu.pod", "enable_half_first_order_momentum", "inference_device_iterations"):
        assert word in notes


def test_the_seed_is_kept():
    assert preset({**BASE, "seed": 7})["optim"]["seed"] == 7
    assert preset({**BASE, "random_seed": 1984})["optim"]["seed"] == 1984
    assert "seed" not in preset({**BASE, "seed": None})["optim"]


def test_the_size_of_the_model_is_asked_for_where_wildcards_hide_it():
    found = import_config.translate({**BASE, "layers_per_ipu": [9, -1, -1, -1]}, "imported")
    assert "model.checkpoint" in found.notes[-1]


@pytest.mark.parametrize(
    ("wrong", "key", "fix"),
    [
        ({"use_popdist": True}, "use_popdist", "ipu.hosts"),
        ({"explicit_ir_inference": True}, "explicit_ir_inference", "remove"),
        ({"execute_encoder_on_cpu_for_generation": True}, "execute_encoder_on_cpu_for_generation", "remove"),
        ({"parallelize_kwargs": {"a": 1}}, "parallelize_kwargs", "remove"),
        ({"serialized_embedding_splits_per_ipu": [1, 0, 0, 0]}, "serialized_embedding_splits_per_ipu", "remove"),
        ({"inference_layers_per_ipu": [21]}, "inference_layers_per_ipu", "remove"),
        ({"layers_per_ipu": [9, 4, 4]}, "layers_per_ipu", "agree"),
        ({"layers_per_ipu": "9,4,4,4"}, "layers_per_ipu", "list"),
        ({"layers_per_ipu": [9, 4, 4, True]}, "layers_per_ipu", "list"),
        ({"matmul_proportion": [0.1, 0.1]}, "matmul_proportion", "4"),
        ({"matmul_proportion": [0.1, 0.1, 0.1, 2]}, "matmul_proportion", "0 to 1"),
        ({"gradient_accumulation_steps": 6}, "gradient_accumulation_steps", "7"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps", "from 1"),
        ({"gradient_accumulation_steps": 10**30}, "gradient_accumulation_steps", "from 1"),
        ({"replication_factor": {"pod3": 1}}, "replication_factor", '{"pod4": 1, "pod16": 4, "default": 1}'),
        ({"replication_factor": {"pod4": 1, "mine": 2}}, "replication_factor", "one for each pod"),
        ({"replication_factor": {"default": "two"}}, "replication_factor", "whole number"),
        ({"replication_factor": 5000}, "replication_factor", "from 1 to 4096"),
        ({"device_iterations": 10**6}, "device_iterations", "from 1 to 100000"),
        ({"gradient_accumulation_steps": 10**6, "replication_factor": 8}, "gradient_accumulation_steps", "8,000,000"),
        ({"synthetic_data": True}, "synthetic_data", "remove"),
        ({"fp32": True}, "fp32", "ipu.precision"),
        ({"pod_type": "pod16"}, "pod_type", "ipu.pod"),
        ({"learning_rate": 3e-4}, "learning_rate", "optim.learning_rate"),
        ({"per_device_train_batch_size": 2}, "per_device_train_batch_size", "ipu.micro_batch"),
        ({"replication_factor": 1.5}, "replication_factor", "whole number"),
        ({"optimizer_state_offchip": "yes"}, "optimizer_state_offchip", "true or false"),
        ({"output_mode": "some"}, "output_mode", "final"),
        ({"seed": -1}, "seed", "from 0"),
        ({"training_layers_per_ipu": [8, 5, 4, 4]}, "training_layers_per_ipu", "keep one"),
        ({"layer_per_ipu": [9]}, "layer_per_ipu", "layers_per_ipu"),
        ({"x" * 1000: 1}, "xxx", "remove"),
    ],
)
def test_what_can_not_be_kept_is_refused_by_its_key(wrong, key, fix):
    found = problems({**BASE, **wrong})
    assert len(found) == 1 and found[0].startswith(key) and fix in found[0]


def test_every_problem_is_told_at_once():
    assert len(problems({"layers_per_ipu": 3, "use_popdist": 1, "seed": "x", "nonsense": None})) == 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "null",
        '"a"',
        "{",
        '{"seed": NaN}',
        "[" * 100_000,
        '{"seed": ' + "9" * 10_000 + "}",
        "\ufeff{}",
        "x" * 2_000_000,
    ],
)
def test_a_hostile_file_is_one_clear_error(text, tmp_path, asrctl):
    path = tmp_path / "ipu_config.json"
    path.write_text(text, encoding="utf-8")
    result = asrctl("presets", "import", path, "--json")
    assert result.exit_code == 3
    assert result.error["kind"] == "preset" and len(result.error["message"]) < 500


def test_a_key_that_stands_twice(tmp_path, asrctl):
    path = tmp_path / "ipu_config.json"
    path.write_text('{"gradient_accumulation_steps": 8, "seed": 1, "seed": 2}')
    assert '"seed" stands there twice, with 1 and 2' in asrctl("presets", "import", path, "--json").error["message"]
    path.write_text('{"gradient_accumulation_steps": 8, "seed": 2, "seed": 2}')
    asrctl("presets", "import", path).succeeded()


@pytest.mark.parametrize("wrong", [{"layers_per_ipu": [9, 4]}, {"replication_factor": 10**6}, {"nonsense": 1}])
def test_an_error_names_the_file_that_was_given(wrong, tmp_path, asrctl, monkeypatch):
    path = tmp_path / "pod" / "ipu_config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({**BASE, **wrong}))
    refused = asrctl("presets", "import", path, "--json")
    assert refused.exit_code == 3 and str(path) in refused.error["message"]
    # What the importer lets pass and a preset does not hold, if there is anything.
    monkeypatch.setattr(import_config, "pipeline_minimum", lambda ipus: 1)
    monkeypatch.setattr(import_config, "MAX_BATCH", 10**12)
    path.write_text(json.dumps({**BASE, "gradient_accumulation_steps": 10**6, "replication_factor": 4096}))
    refused = asrctl("presets", "import", path, "--json")
    assert refused.exit_code == 3 and str(path) in refused.error["message"]
    assert "optim.global_batch is 4.096e+09" in refused.error["problems"][0]


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "ipu_config.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PresetError):
        import_config.read(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(MissingArtifact):
        import_config.read(tmp_path / "ipu_config.json")


def test_import_into_the_workspace_and_again(asrctl, in_folder, workspace):
    (in_folder / "pod").mkdir()
    path = in_folder / "pod" / "ipu_config.json"
    path.write_text(json.dumps(BASE))
    result = asrctl("presets", "import", path, "--json").result
    assert (result["name"], result["extends"], result["global_batch"]) == ("pod", "base-4ipu", 32)
    assert "pod" in asrctl("presets", "list").succeeded().stdout
    asrctl("presets", "import", "pod").succeeded()
    path.write_text(json.dumps(dict(BASE, gradient_accumulation_steps=64)))
    assert asrctl("presets", "import", path).exit_code == 2
    asrctl("presets", "import", path, "--force").succeeded()
    assert asrctl("plan", "--preset", "pod", "--json").result["batch"]["combined"] == 64


def test_a_hub_name_without_network_is_one_sentence(asrctl):
    result = asrctl("presets", "import", "Graphcore/there-is-no-such-model", "--json")
    assert result.exit_code == 4
    assert "could not be fetched" in result.error["message"] and "\n" not in result.error["message"]
