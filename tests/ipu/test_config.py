"""recipe -> optimum-graphcore's settings, and what an IPU can not do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from asrctl.config import presets
from asrctl.config.recipe import SpecAugment
from asrctl.errors import DeviceError, PresetError
from asrctl.ipu import config, hardware

BASE = config.ModelFacts("wav2vec2", 7, 12)
LARGE = config.ModelFacts("wav2vec2", 7, 24)


@pytest.fixture
def base():
    return presets.load("base-4ipu").recipe


def change(recipe, section, **values):
    return dataclasses.replace(recipe, **{section: dataclasses.replace(getattr(recipe, section), **values)})


def test_the_published_base_configuration_in_every_value(base):
    assert config.ipu_config_kwargs(base, cache=Path("cache")) == {
        "layers_per_ipu": [9, 4, 4, 4],
        "ipus_per_replica": 4,
        "matmul_proportion": [0.1, 0.1, 0.1, 0.1],
        "gradient_accumulation_steps": 32,
        "replication_factor": 1,
        "inference_replication_factor": 1,
        "device_iterations": 1,
        "inference_device_iterations": 4,
        "optimizer_state_offchip": False,
        "replicated_tensor_sharding": True,
        "recompute_checkpoint_every_layer": False,
        "enable_half_partials": True,
        "auto_loss_scaling": False,
        "output_mode": "all",
        "executable_cache_dir": "cache",
    }


def test_the_published_large_configuration():
    large = config.ipu_config_kwargs(presets.load("large-8ipu").recipe, cache=Path("cache"))
    assert large["layers_per_ipu"] == [8, 3, 4, 4, 4, 4, 4, 2]
    assert (large["ipus_per_replica"], large["gradient_accumulation_steps"]) == (8, 16)
    assert large["matmul_proportion"] == [0.1] * 8
    assert (large["inference_device_iterations"], large["optimizer_state_offchip"]) == (8, True)


@pytest.mark.parametrize(("pod", "replicas"), [(4, 1), (8, 2), (16, 4), (32, 8), (64, 16)])
def test_a_larger_pod_has_more_replicas_and_the_same_accumulation(pod, replicas):
    found = presets.load("base-4ipu", overrides=[f"ipu.pod={pod}"])
    settings = config.ipu_config_kwargs(found.recipe, cache=Path("cache"))
    assert (settings["replication_factor"], settings["gradient_accumulation_steps"]) == (replicas, 32)
    assert f"a global batch of {32 * replicas}" in found.notes[0]


def test_replication_shares_the_global_batch_out():
    recipe = presets.load("base-4ipu", overrides=["ipu.replication=4"]).recipe
    assert config.gradient_accumulation(recipe) == 8
    with pytest.raises(PresetError) as refused:
        presets.refuse_for_ipu(presets.load("base-4ipu", overrides=["ipu.replication=8"]))
    assert "the smallest legal value is 56" in refused.value.problems[0]


def test_the_published_training_arguments(base):
    arguments = config.training_arguments_kwargs(base, output=Path("out"), calls=100)
    expected = {
        "learning_rate": 3e-4,
        "warmup_steps": 400,
        "adam_beta1": 0.9,
        "adam_beta2": 0.98,
        "adam_epsilon": 1e-4,
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "dataloader_mode": "async_rebatched",
        "dataloader_num_workers": 8,
        "fp32": False,
        "lamb": False,
        "lamb_no_bias_correction": False,
        "loss_scaling": None,
        "max_steps": 100,
        "seed": 42,
    }
    assert {name: arguments[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("workers", "mode", "expected"),
    [
        (0, "async_rebatched", ("sync", 0)),
        (1, "async_rebatched", ("async", 1)),
        (99, "async_rebatched", ("async_rebatched", 32)),
        (4, "sync", ("sync", 4)),
        (4, "async", ("async", 4)),
    ],
)
def test_the_loader_gets_what_the_library_can_take(base, workers, mode, expected):
    recipe = change(base, "ipu", dataloader_workers=workers, dataloader_mode=mode)
    arguments = config.training_arguments_kwargs(recipe, output=Path("out"), calls=1)
    assert (arguments["dataloader_mode"], arguments["dataloader_num_workers"]) == expected


@pytest.mark.parametrize("bias", [True, False])
def test_lamb(base, bias):
    recipe = change(base, "optim", optimizer="lamb", adam_bias_correction=bias, adam_betas=(0.9, 0.999))
    assert config.unsupported(recipe, BASE) == []
    arguments = config.training_arguments_kwargs(recipe, output=Path("out"), calls=1)
    assert (arguments["lamb"], arguments["lamb_no_bias_correction"]) == (bias, not bias)


def test_seeds_that_the_library_would_not_take(base):
    assert config.device_seed(0) == 1
    assert config.device_seed(2**40 + 5) == 5


def test_the_published_presets_are_fine(base):
    assert config.unsupported(base, BASE) == []
    assert config.unsupported(presets.load("large-8ipu").recipe, LARGE) == []


@pytest.mark.parametrize(
    ("section", "values", "facts", "said"),
    [
        ("model", {"spec_augment": SpecAugment(time_prob=0.1)}, BASE, "model.spec_augment.time_prob=0"),
        ("model", {"spec_augment": SpecAugment(feature_prob=0.1)}, BASE, "model.spec_augment is on"),
        ("model", {"freeze_feature_encoder": False}, BASE, "model.freeze_feature_encoder is false"),
        ("model", {}, dataclasses.replace(BASE, gradient_checkpointing=True), "recompute_checkpoint_every_layer=true"),
        ("model", {}, dataclasses.replace(BASE, model_type="wavlm"), "wavlm, which has no pipelined version"),
        ("model", {}, dataclasses.replace(BASE, model_type="data2vec-audio"), "use wav2vec2 or hubert"),
        ("model", {}, LARGE, "places 21 layers, the model has 33 layers (7 convolutions, 1 positional embedding, 24"),
        ("batches", {"shapes": "free"}, BASE, "set batches.shapes=static"),
        ("batches", {"drop_last": False}, BASE, "set batches.drop_last=true"),
        ("optim", {"max_grad_norm": 1.0}, BASE, "set optim.max_grad_norm=null"),
        ("optim", {"optimizer": "lamb"}, BASE, "set optim.adam_betas=[0.9, 0.999]"),
        ("ipu", {"layers_per_ipu": (9, 4, 4, 5)}, BASE, "places 22 layers"),
        ("ipu", {"layers_per_ipu": (9, 4, 9, -1)}, BASE, "places 22 layers"),
        ("ipu", {"layers_per_ipu": (9, 4, 4)}, BASE, "has 3 entries for 4 IPUs"),
        ("ipu", {"layers_per_ipu": (-1, -1)}, BASE, "has 2 entries for 4 IPUs"),
        ("ipu", {"layers_per_ipu": ()}, BASE, "must list the layers of each IPU"),
        ("ipu", {"matmul_proportion": (0.1,)}, BASE, "needs one number for each of the 4 IPUs"),
        ("ipu", {"replication": 3}, BASE, "not a multiple of ipu.micro_batch x ipu.replication = 3"),
        ("optim", {"global_batch": 6}, BASE, "the smallest legal value is 7"),
        ("ipu", {"inference_device_iterations": 3}, BASE, "must be at least 4"),
    ],
)
def test_what_an_ipu_can_not_do_is_said_with_its_fix(base, section, values, facts, said):
    (problem,) = config.unsupported(change(base, section, **values), facts)
    assert said in problem


def test_all_of_it_is_said_at_once(base):
    recipe = change(change(base, "batches", shapes="free"), "model", freeze_feature_encoder=False)
    with pytest.raises(PresetError) as refused:
        config.refuse(recipe, dataclasses.replace(BASE, gradient_checkpointing=True))
    assert len(refused.value.problems) == 3
    assert "--device cpu" in refused.value.fix


@pytest.mark.parametrize("counts", [(9, 4, 4, -1), (9, -1, -1, 4), (-1, -1, -1, -1), (-1,), (21, 0, 0, -1)])
def test_wildcards_take_the_rest(base, counts):
    recipe = change(base, "ipu", layers_per_ipu=counts)
    assert config.unsupported(recipe, BASE) == []
    assert config.ipu_config_kwargs(recipe, cache=Path("cache"))["layers_per_ipu"] == list(counts)


def test_one_ipu_takes_everything_whatever_is_written(base):
    alone = {"ipus_per_replica": 1, "matmul_proportion": (0.1,), "layers_per_ipu": (6,)}
    assert config.unsupported(change(base, "ipu", **alone), BASE) == []


def test_a_preset_without_an_ipu_section():
    with pytest.raises(PresetError, match="has no `ipu` section"):
        config.section(presets.load("tiny-cpu").recipe)


def test_facts_come_from_the_checkpoint_and_the_recipe_over_it(base):
    values = {"model_type": "hubert", "num_hidden_layers": 24, "conv_dim": [512] * 7, "gradient_checkpointing": True}
    assert config.model_facts(base, values) == config.ModelFacts("hubert", 7, 24, gradient_checkpointing=True)
    overridden = change(base, "model", config={"num_hidden_layers": 3, "conv_dim": [8] * 5})
    assert config.model_facts(overridden, {"num_hidden_layers": 24}).layers == 5 + 1 + 3 + 1


def test_poprun_names_hosts_and_replicas(base):
    line = config.poprun_line(change(base, "ipu", hosts=2, replication=8), ["train", "--preset", "base-4ipu"])
    assert line == (
        "poprun --host=HOST0,HOST1 --num-instances=2 --num-replicas=8 --ipus-per-replica=4 --vipu-partition=PARTITION"
        " --executable-cache-path=FOLDER asrctl train --preset base-4ipu"
    )


def test_no_sdk_is_a_device_error_that_names_the_other_ways():
    import importlib.util

    if importlib.util.find_spec("poptorch") is not None:
        pytest.skip("a poptorch is here")
    with pytest.raises(DeviceError) as refused:
        hardware.require("ipu")
    assert refused.value.exit_code == 6
    assert "--device ipu-emulated" in refused.value.fix
    assert "--device cpu" in refused.value.fix
