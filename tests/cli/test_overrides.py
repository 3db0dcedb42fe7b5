"""`--set` and preset files: what is taken, what is refused, and who is blamed for it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from asrctl.config import presets
from asrctl.config.recipe import Recipe
from asrctl.config.schema import kind_of
from asrctl.errors import PresetError


def problems(*overrides, preset="tiny-cpu"):
    with pytest.raises(PresetError) as refused:
        presets.load(preset, overrides=overrides)
    assert refused.value.exit_code == 3
    return list(refused.value.problems)


# -- who is blamed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed",
    [
        "optim.epochs=-1",
        "optim.epochs=0",
        "optim={epochs: -1}",
        "audio.min_s=30",
        "text.case=title",
        "ipu.pod=7",
        "name=../../x",
        "optim.lerning_rate=1",
        "nonsense",
        "optim.adam_betas=[0.9",
        "batches.augment.speed=2",
        "model.config.num_hidden_layers=1000000000",
    ],
)
def test_what_set_makes_wrong_is_blamed_on_set(asrctl, typed):
    preset = "base-4ipu" if "ipu" in typed else "tiny-cpu"
    refused = asrctl("presets", "show", preset, "--set", "optim.seed=3", "--set", typed)
    assert refused.exit_code == 3
    assert "can not be changed like this" in refused.stderr and "fix: correct what --set says" in refused.stderr
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("  - ")]
    assert "(--set " in line and typed in line and ".yaml" not in line and "seed" not in line


def test_a_file_is_blamed_by_its_line_and_a_parent_by_its_own(asrctl, in_folder):
    (in_folder / "parent.yaml").write_text("extends: tiny-cpu\naudio:\n  min_s: -1\noptim: {epochs: 1}\n")
    (in_folder / "mine.yaml").write_text("extends: parent\noptim:\n  epochs: -1\n")
    refused = asrctl("presets", "check", "mine.yaml", "--json")
    found = sorted(refused.error["problems"])
    assert f"({in_folder / 'parent.yaml'}, line 3)" in found[0] and "audio.min_s" in found[0]
    assert f"({in_folder / 'mine.yaml'}, line 3)" in found[1] and "optim.epochs" in found[1]
    both = asrctl("presets", "show", "./mine.yaml", "--set", "optim.epochs=-2", "--json")
    assert "(--set optim.epochs=-2)" in sorted(both.error["problems"])[1]


def test_the_other_key_of_two_that_do_not_fit_is_named_where_set_changed_it(in_folder):
    (in_folder / "mine.yaml").write_text("extends: tiny-cpu\naudio: {min_s: 3}\n")
    (problem,) = problems("audio.max_s=2", preset="./mine.yaml")
    assert problem.startswith("audio.min_s is 3, not below audio.max_s (2)")
    assert problem.endswith("(--set audio.max_s=2; mine.yaml, line 2)")
    with pytest.raises(PresetError, match="can not be changed like this"):
        presets.load("tiny-cpu", overrides=["optim.warmup_steps=5"])
    presets.load("tiny-cpu", overrides=["optim.warmup_steps=5", "optim.warmup_share=0"])


def test_a_file_that_can_not_be_extended_is_blamed_on_the_line_that_asks_for_it(asrctl, in_folder):
    (in_folder / "mine.yaml").write_text("description: x\nextends: tiny-cpus\n")
    refused = asrctl("presets", "check", "mine.yaml")
    assert refused.exit_code == 3
    assert f"{in_folder / 'mine.yaml'}, line 2: there is no preset called 'tiny-cpus'" in refused.stderr


def test_a_stored_recipe_is_not_refused_for_what_it_was_let_pass_with(tmp_path):
    """Runs of older releases hold keys in model.config that did nothing."""
    old = dataclasses.replace(
        Recipe(), name="my run", model=dataclasses.replace(Recipe().model, config={"vocab_size": 3})
    )
    assert presets.override(old, ["optim.epochs=2"], tmp_path).recipe.optim.epochs == 2
    with pytest.raises(PresetError) as refused:
        presets.override(old, ["model.config.mask_time_prob=0.1"], tmp_path)
    (problem,) = refused.value.problems
    assert "mask_time_prob" in problem


# -- text and what can not be read ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (",.?", ",.?"),
        ('"!?"', "!?"),
        ("'!?'", "!?"),
        ("?!#", "?!#"),
        ("a #b", "a #b"),
        ("[x]", "[x]"),
        ("{", "{"),
        ("&*", "&*"),
        (":", ":"),
        ("%@`", "%@`"),
        ("no", "no"),
        ("010", "010"),
        ("", ""),
        ('", #"', ", #"),
    ],
)
def test_text_is_what_was_typed(asrctl, typed, meant):
    shown = asrctl("presets", "show", "tiny-cpu", "--set", f"text.remove={typed}", "--json")
    assert shown.result["recipe"]["text"]["remove"] == meant


def test_null_is_no_text():
    assert "must have a value" in problems("text.remove=null")[0]
    for typed in ("null", "~", ""):
        assert presets.load("base-4ipu", overrides=[f"model.checkpoint={typed}"]).recipe.model.checkpoint is None


@pytest.mark.parametrize(
    ("typed", "cure"),
    [
        ("text.remove='x", """--set 'text.remove="'"'"'x"'"""),
        ("optim.adam_betas=[0.9", "--set 'optim.adam_betas=[A, B]'"),
        ("model.freeze=[*.feed_forward.*]", """--set 'model.freeze=["*.feed_forward.*"]'"""),
        ("model.config={a", "--set model.config.KEY=VALUE"),
        ("model.config.hidden_act=@x", "--set 'model.config.hidden_act=\"@x\"'"),
    ],
)
def test_what_can_not_be_read_is_told_with_its_cure(typed, cure):
    (problem,) = problems(typed)
    assert "can not be read" in problem and cure in problem


# -- limits -----------------------------------------------------------------------------------------------------------


def numeric(cls=Recipe, prefix=""):
    """(dotted key, its field) of every number of a recipe."""
    for item in dataclasses.fields(cls):
        path = f"{prefix}{item.name}"
        _, kind = kind_of(cls, [item.name])
        if dataclasses.is_dataclass(kind):
            yield from numeric(kind, f"{path}.")
        elif kind in (int, float) or (kind is tuple and "str" not in str(item.type)):
            yield path, item


@pytest.mark.parametrize("item", list(numeric()), ids=lambda item: item[0])
def test_every_number_has_limits_on_both_sides_and_giants_are_refused(item):
    path, definition = item
    limits = definition.metadata
    assert {"low", "above"} & set(limits) and {"high", "below"} & set(limits)
    most = limits.get("high", limits.get("below"))
    preset = "base-4ipu" if path.startswith("ipu.") else "tiny-cpu"
    is_list = kind_of(Recipe, path.split("."))[1] is tuple
    for value in (10**18 if most < 10**18 else 10**19, -(10**18), 10**40):
        assert path in problems(f"{path}={[value] if is_list else value}", preset=preset)[0]


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": "12"},
        {"hidden_size": 64.0},
        {"hidden_size": None},
        {"hidden_size": 0},
        {"intermediate_size": 10**30},
        {"conv_dim": [512] * 10_000},
        {"conv_stride": [40, 4, 2, 0]},
        {"conv_kernel": [10**12, 8, 4, 3]},
        {"conv_dim": [64, 64]},
        {"conv_dim": 64},
        {"num_attention_heads": 5},
        {"num_conv_pos_embedding_groups": 7},
        {
            "hidden_size": 60_000,
            "num_hidden_layers": 1000,
            "num_attention_heads": 4,
            "num_conv_pos_embedding_groups": 8,
        },
    ],
    ids=lambda config: next(iter(config)),
)
def test_a_model_that_can_not_be_is_found_by_check(asrctl, in_folder, config):
    text = json.dumps({"extends": "tiny-cpu", "model": {"config": config}})
    (in_folder / "mine.yaml").write_text(text)
    refused = asrctl("presets", "check", "mine.yaml", "--json")
    assert refused.exit_code == 3
    assert refused.error["problems"][0].startswith("model.config")
    assert all(len(problem) < 400 for problem in refused.error["problems"])


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("name: ../../x", "name"),
        ("name: a/b", "name"),
        ("name: .hidden", "name"),
        ('name: "a b"', "name"),
        ('name: ""', "name"),
        (f"name: {'x' * 300}", "name"),
        ("model: {revision: ../../refs}", "model.revision"),
        ("model: {revision: /etc/passwd}", "model.revision"),
        ('model: {checkpoint: ""}', "model.checkpoint"),
        ("text: {word_delimiter: ab}", "text.word_delimiter"),
        ('text: {unk: ""}', "text.unk"),
    ],
)
def test_a_name_that_can_not_be_one_is_found_by_check(asrctl, in_folder, text, key):
    (in_folder / "mine.yaml").write_text(f"extends: tiny-cpu\n{text}\n")
    refused = asrctl("presets", "check", "mine.yaml", "--json")
    assert refused.exit_code == 3
    (problem,) = refused.error["problems"]
    assert problem.startswith(f"{key} ") and "mine.yaml, line 2)" in problem


def test_a_preset_without_a_name_has_that_of_its_file_as_far_as_it_can(in_folder):
    for name, expected in (("mine", "mine"), ("my preset (2)", "my-preset-2"), ("ürlaub", "ürlaub"), ("...", "custom")):
        (in_folder / f"{name}.yaml").write_text("extends: tiny-cpu\n")
        assert presets.load(f"./{name}.yaml").recipe.name == expected


# -- keys of the model's configuration that decide nothing ------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "decides"),
    [
        ("mask_time_prob", 0.65, "model.spec_augment.time_prob"),
        ("mask_time_length", 5, "model.spec_augment.time_length"),
        ("mask_feature_prob", 0.1, "model.spec_augment.feature_prob"),
        ("mask_feature_length", 5, "model.spec_augment.feature_length"),
        ("apply_spec_augment", True, "model.spec_augment.time_prob"),
        ("mask_time_min_masks", 2, "masks"),
        ("hidden_dropout", 0.3, "model.hidden_dropout"),
        ("attention_dropout", 0.3, "model.attention_dropout"),
        ("activation_dropout", 0.3, "model.activation_dropout"),
        ("feat_proj_dropout", 0.3, "model.feat_proj_dropout"),
        ("final_dropout", 0.3, "model.final_dropout"),
        ("layerdrop", 0.5, "model.layerdrop"),
        ("ctc_loss_reduction", "sum", "model.ctc_loss_reduction"),
        ("ctc_zero_infinity", False, "model.ctc_zero_infinity"),
        ("model_type", "hubert", "model.architecture"),
        ("vocab_size", 99, "the vocabulary decides"),
        ("pad_token_id", 1, "text.pad"),
        ("bos_token_id", 1, "sentence marks"),
        ("eos_token_id", 2, "sentence marks"),
        ("num_codevectors_per_group", 320, "pre-training"),
        ("use_weighted_layer_sum", True, "another kind of head"),
        ("num_adapter_layers", 3, "adapter"),
        ("add_adapter", True, "adapter"),
    ],
)
def test_a_key_that_something_else_decides_is_refused_with_that(key, value, decides):
    (problem,) = problems(f"model.config.{key}={json.dumps(value)}")
    assert problem.startswith(f"model.config.{key} ") and decides in problem


def test_no_key_of_a_configuration_is_left_that_changes_nothing():
    """Whatever transformers' configurations know either shapes a CTC model, or is refused in model.config."""
    from asrctl.config import model_config
    from asrctl.models import architectures, hf_config

    shapes = {
        "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
        "initializer_range", "layer_norm_eps", "feat_extract_norm", "feat_extract_activation", "conv_dim",
        "conv_stride", "conv_kernel", "conv_bias", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups",
        "do_stable_layer_norm", "adapter_attn_dim", "num_buckets", "max_bucket_distance", "feat_proj_layer_norm",
        "conv_pos_batch_norm", "conv_pos_kernel_size", "add_adapter",
    }  # fmt: skip
    known = set().union(*(hf_config.known_keys(kind) for kind in architectures.ARCHITECTURES))
    refused = {key for key in known if model_config.problems({key: "x"}, from_scratch=False)} - set(shapes)
    assert sorted(known - shapes - refused) == []
