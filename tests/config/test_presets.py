"""How presets are found, extended, changed and stored; tests/cli/test_presets.py and test_overrides.py type them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest
import yaml

from asrctl.config import presets
from asrctl.errors import PresetError


def write(folder: Path, name: str, values: Dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


# -- finding ----------------------------------------------------------------------------------------------------------


def test_the_nearest_place_that_has_a_name_wins(tmp_path, monkeypatch):
    """The workspace, then $ASRCTL_PRESETS, then the user's own, then what comes with asrctl."""
    monkeypatch.setenv("ASRCTL_PRESETS", str(tmp_path / "environment"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folders = {
        "workspace": tmp_path / "workspace" / "presets",
        "environment": tmp_path / "environment",
        "user": tmp_path / "config" / "asrctl" / "presets",
    }
    builtin = presets.find("tiny-cpu")
    for folder in folders.values():
        write(folder, "tiny-cpu", {"extends": str(builtin)})
    for origin, folder in folders.items():
        assert presets.find("tiny-cpu", tmp_path / "workspace") == folder / "tiny-cpu.yaml"
        found = {info.name: info.origin for info in presets.available(tmp_path / "workspace")}
        assert (found["tiny-cpu"], found["base-4ipu"]) == (origin, "built-in")
        (folder / "tiny-cpu.yaml").unlink()
    assert presets.find("tiny-cpu", tmp_path / "workspace") == builtin


def test_a_name_that_a_file_extends_is_looked_for_beside_it_first(tmp_path):
    write(tmp_path, "tiny-cpu", {"optim": {"seed": 5, "max_steps": 3}})
    mine = write(tmp_path, "mine", {"extends": "tiny-cpu"})
    assert presets.check(mine).recipe.optim.seed == 5


def test_a_file_that_can_not_be_used_is_listed_with_its_problem(tmp_path):
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "broken.yaml").write_text("[", encoding="utf-8")
    (info,) = [info for info in presets.available(tmp_path) if info.name == "broken"]
    assert info.description.startswith("(unusable: ")


# -- extending --------------------------------------------------------------------------------------------------------


def test_a_value_comes_from_the_last_file_that_has_it(tmp_path):
    write(tmp_path, "first", {"optim": {"seed": 1, "epochs": 1, "global_batch": 4}, "run": {"log_every": 3}})
    write(tmp_path, "second", {"extends": "first", "optim": {"seed": 2, "epochs": 2}})
    third = write(tmp_path, "third", {"extends": "second", "optim": {"seed": 3}})
    resolved = presets.check(third)
    optim = resolved.recipe.optim
    assert (optim.seed, optim.epochs, optim.global_batch, resolved.recipe.run.log_every) == (3, 2, 4, 3)
    told = [resolved.sources[f"optim.{key}"] for key in ("seed", "epochs", "global_batch")]
    assert told == ["preset third", "preset second", "preset first"]
    assert "optim.learning_rate" not in resolved.sources


def test_a_section_is_added_to_and_a_list_is_replaced(tmp_path):
    write(tmp_path, "parent", {"model": {"config": {"hidden_size": 48, "conv_dim": [8] * 7}}})
    child = write(tmp_path, "child", {"extends": "parent", "model": {"config": {"conv_dim": [4] * 7}}})
    assert presets.check(child).recipe.model.config == {"hidden_size": 48, "conv_dim": [4] * 7}


def test_null_takes_back_what_the_parent_said(tmp_path):
    child = write(tmp_path, "child", {"extends": "base-4ipu", "ipu": None, "model": {"checkpoint": None}})
    recipe = presets.check(child).recipe
    assert recipe.ipu is None and recipe.model.checkpoint is None


def test_name_and_description_are_those_of_the_file_itself(tmp_path):
    child = write(tmp_path, "my preset", {"extends": "tiny-cpu"})
    recipe = presets.check(child).recipe
    assert (recipe.name, recipe.description) == ("my-preset", "")
    named = write(tmp_path, "b", {"extends": "tiny-cpu", "name": "mine", "description": "ours"})
    assert (presets.check(named).recipe.name, presets.check(named).recipe.description) == ("mine", "ours")


@pytest.mark.parametrize("circle", [("a",), ("a", "b"), ("a", "b", "c")])
def test_presets_that_extend_each_other_in_a_circle_are_refused(tmp_path, circle):
    for name, parent in zip(circle, (*circle[1:], circle[0])):
        write(tmp_path, name, {"extends": parent})
    with pytest.raises(PresetError, match=f"in a circle: {' -> '.join((*circle, circle[0]))}"):
        presets.check(tmp_path / "a.yaml")


# -- overriding -------------------------------------------------------------------------------------------------------


def test_the_last_override_counts_and_is_the_source():
    resolved = presets.load("tiny-cpu", overrides=["optim.seed=1", "optim.seed=2"])
    assert resolved.recipe.optim.seed == 2
    assert resolved.sources["optim.seed"] == presets.SET


@pytest.mark.parametrize(
    ("typed", "section", "key", "value"),
    [
        ("optim.learning_rate=1e-4", "optim", "learning_rate", 1e-4),
        ("optim.max_steps=null", "optim", "max_steps", None),
        ("optim.adam_betas=[0.9, 0.99]", "optim", "adam_betas", (0.9, 0.99)),
        ("text.remove=,.?", "text", "remove", ",.?"),
        ("text.remove='\"'", "text", "remove", '"'),
        ("batches.drop_last=true", "batches", "drop_last", True),
        ("model.config={hidden_size: 48}", "model", "config", {"hidden_size": 48}),
    ],
)
def test_values_are_typed_as_people_type_them(typed, section, key, value):
    recipe = presets.load("tiny-cpu", overrides=[typed]).recipe
    assert getattr(getattr(recipe, section), key) == value


def test_every_problem_is_told_at_once():
    with pytest.raises(PresetError) as refused:
        presets.load("tiny-cpu", overrides=["optim.epochs=-1", "nothing", "model.heads=3", "audio.max_s=x"])
    assert len(refused.value.problems) == 4


def test_a_pod_multiplies_replicas_and_the_global_batch():
    plain, pod = presets.load("base-4ipu").recipe, presets.load("base-4ipu", overrides=["ipu.pod=16"])
    assert pod.recipe.ipu.replication == 4 * plain.ipu.replication
    assert pod.recipe.optim.global_batch == 4 * plain.optim.global_batch
    assert pod.sources["ipu.replication"] == pod.sources["optim.global_batch"] == "ipu.pod"
    (note,) = pod.notes
    assert "16" in note
    with pytest.raises(PresetError, match="can not be changed"):
        presets.load("base-4ipu", overrides=["ipu.pod=7"])


# -- storing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["base-100h", "base-4ipu", "demo", "large-8ipu", "mms-1b-adapter", "tiny-cpu"])
def test_a_stored_recipe_is_read_as_it_was(tmp_path, name):
    recipe = presets.load(name, overrides=["ipu.pod=64"] if name.endswith("ipu") else []).recipe
    (tmp_path / "recipe.yaml").write_text(presets.dumps(recipe), encoding="utf-8")
    assert presets.load_stored(tmp_path / "recipe.yaml") == recipe


def test_an_override_of_a_stored_recipe_changes_that_key_alone(tmp_path):
    recipe = presets.load("tiny-cpu").recipe
    changed = presets.override(recipe, ["optim.seed=77"], tmp_path / "recipe.yaml").recipe
    wanted = recipe.as_dict()
    wanted["optim"]["seed"] = 77
    assert changed.as_dict() == wanted


def test_a_recipe_of_another_version_is_refused():
    with pytest.raises(PresetError, match="not a recipe of this version"):
        presets.from_dict({"name": "x", "optim": {"no_such_key": 1}}, "runs/x/recipe.yaml")
