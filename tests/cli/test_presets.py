"""asrctl presets list | show | check."""

from pathlib import Path

import pytest


def test_the_built_in_presets_are_listed(asrctl):
    found = {preset["name"]: preset for preset in asrctl("presets", "list", "--json").result["presets"]}
    assert {"base-100h", "base-4ipu", "large-8ipu", "tiny-cpu"} <= set(found)
    assert all(preset["origin"] == "built-in" and preset["description"] for preset in found.values())
    plain = asrctl("presets", "list").succeeded().stdout
    assert all(name in plain for name in found)


def test_a_preset_of_the_workspace_comes_first(asrctl, workspace):
    (workspace / "presets").mkdir(parents=True)
    (workspace / "presets" / "tiny-cpu.yaml").write_text("extends: ./tiny-cpu.yaml\n")
    (workspace / "presets" / "mine.yaml").write_text("extends: tiny-cpu\ndescription: ours\n")
    found = {preset["name"]: preset["origin"] for preset in asrctl("presets", "list", "--json").result["presets"]}
    assert (found["mine"], found["tiny-cpu"], found["base-4ipu"]) == ("workspace", "workspace", "built-in")


def test_a_preset_does_not_inherit_the_description_of_another(asrctl, in_folder, workspace):
    (workspace / "presets").mkdir(parents=True)
    (workspace / "presets" / "mine.yaml").write_text("extends: tiny-cpu\noptim: {epochs: 1}\n")
    found = {preset["name"]: preset["description"] for preset in asrctl("presets", "list", "--json").result["presets"]}
    assert found["mine"] == "extends tiny-cpu"
    assert asrctl("presets", "show", "mine", "--json").result["recipe"]["description"] == ""


def test_show_tells_where_each_value_comes_from(asrctl):
    shown = asrctl("presets", "show", "tiny-cpu", "--set", "optim.seed=7", "--json").result
    assert shown["recipe"]["optim"]["seed"] == 7
    assert shown["sources"]["optim.seed"] == "--set"
    lines = asrctl("presets", "show", "tiny-cpu", "--set", "optim.seed=7", "--sources").succeeded().stdout.splitlines()
    assert [line.split() for line in lines if line.startswith("optim.seed:")] == [["optim.seed:", "7", "#", "--set"]]
    assert any(line.startswith("model.layerdrop:") and line.endswith("# default") for line in lines)


@pytest.mark.parametrize("name", ["base-100h", "base-4ipu", "demo", "large-8ipu", "tiny-cpu"])
def test_what_show_prints_is_a_preset_itself(asrctl, in_folder, name):
    first = asrctl("presets", "show", name).succeeded().stdout
    (in_folder / "copy.yaml").write_text(first)
    assert asrctl("presets", "check", "copy.yaml").exit_code == 0
    assert asrctl("presets", "show", "copy.yaml").succeeded().stdout == first


def test_check_tells_every_problem_at_once_with_its_line(asrctl, in_folder):
    (in_folder / "bad.yaml").write_text(
        "extends: tiny-cpu\noptim:\n  lerning_rate: 1.0\n  epochs: -1\nmodel:\n  head: shoulder\n"
    )
    result = asrctl("presets", "check", "bad.yaml", "--json")
    assert result.exit_code == 3
    problems = sorted(result.error["problems"])
    assert [problem.split()[0] for problem in problems] == ["model.head", "optim.epochs", "optim.lerning_rate"]
    assert all(f"line {number}" in problem for number, problem in zip((6, 4, 3), problems))
    assert "did you mean" in problems[2]
    assert "learning_rate" in problems[2]
    for_people = asrctl("presets", "check", "bad.yaml")
    assert (for_people.exit_code, for_people.stdout) == (3, "")
    assert all(problem in for_people.stderr for problem in problems)


def test_an_unknown_preset_is_answered_with_a_near_one(asrctl):
    result = asrctl("presets", "show", "base-4ipus", "--json")
    assert result.exit_code == 3
    assert "base-4ipu" in result.error["message"]


def test_numbers_are_read_as_people_read_them(asrctl):
    """YAML 1.1 has octal 010 and sexagesimal 1:30."""
    refused = asrctl("presets", "show", "tiny-cpu", "--set", "optim.epochs=1:30", "--json")
    assert (refused.exit_code, refused.error["kind"]) == (3, "preset")
    for text, seed in (("010", 10), ("0123", 123), ("00", 0), ("0", 0), ("7", 7), ("1_000", 1000), ("1e3", 1000)):
        shown = asrctl("presets", "show", "tiny-cpu", "--set", f"optim.seed={text}", "--json").succeeded()
        assert shown.result["recipe"]["optim"]["seed"] == seed


def of_file(asrctl, folder: Path, text: str):
    (folder / "mine.yaml").write_text(f"extends: tiny-cpu\n{text}\n", encoding="utf-8")
    return asrctl("presets", "show", folder / "mine.yaml", "--json")


@pytest.mark.parametrize(
    ("typed", "number"), [("1e-5", 1e-5), ("1E5", 1e5), ("01.5", 1.5), ("0123", 123), ("1_000", 1000), ("+7", 7)]
)
def test_numbers_of_the_model_are_numbers_too(asrctl, tmp_path: Path, typed: str, number: float) -> None:
    """transformers would take the text as it is."""
    shown = of_file(asrctl, tmp_path, f"model: {{config: {{own: {typed}, inner: [{typed}]}}}}")
    config = shown.result["recipe"]["model"]["config"]
    assert (config["own"], config["inner"]) == (number, [number])
    assert type(config["own"]) is type(number)


@pytest.mark.parametrize("text", ["0123", "2026-11-30", "12:30", "1e3", "0o17", "=", "<<", "n"])
def test_what_no_number_is_meant_by_is_text(asrctl, tmp_path: Path, text: str) -> None:
    assert of_file(asrctl, tmp_path, f"text: {{unk: {text}}}").result["recipe"]["text"]["unk"] == text


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("text: {unk: yes}", "text.unk must be text, and YAML reads the words yes, no, on, off, true and false"),
        ("text: {vocab_splits: [off]}", "text.vocab_splits must be text, and YAML reads"),
        ("optim: {seed: on}", "optim.seed must be a number, not true"),
        ("optim: {seed: 2026-11-30}", "optim.seed must be a number, not '2026-11-30'"),
        ("optim: {seed: 0o17}", "optim.seed must be a number, not '0o17'"),
        ("optim: {seed: 12:30}", "optim.seed must be a number, not '12:30'"),
        ("optim: {seed: [1]}", "optim.seed must be a number, not a list"),
        ("text: {unk: {a: 1}}", "text.unk must be text, not a section"),
        ("model: {freeze_feature_encoder: 1}", "model.freeze_feature_encoder must be true or false, not 1"),
        ("model: {config: {hidden_size: 1:30}}", "model.config.hidden_size is '1:30', not a whole number"),
    ],
)
def test_a_value_of_another_kind_is_told_as_it_was_typed(asrctl, tmp_path: Path, line: str, told: str) -> None:
    refused = of_file(asrctl, tmp_path, line)
    assert refused.exit_code == 3 and refused.error["problems"][0].startswith(told)


def test_check_finds_what_train_finds(asrctl, in_folder, workspace):
    """What a file extends: a preset of the workspace, or one beside the link by which the file was named."""
    (workspace / "presets").mkdir(parents=True)
    (workspace / "presets" / "ours.yaml").write_text("extends: tiny-cpu\n")
    (in_folder / "mine.yaml").write_text("extends: ours\noptim: {epochs: 1}\n")
    asrctl("presets", "check", "mine.yaml").succeeded()
    asrctl("presets", "show", "./mine.yaml").succeeded()
    refused = asrctl("presets", "check", "mine.yaml", "--workspace", in_folder / "other")
    assert refused.exit_code == 3 and "no preset called 'ours'" in refused.stderr

    (in_folder / "linked").mkdir()
    (in_folder / "linked" / "mine.yaml").symlink_to(in_folder / "mine.yaml")
    (in_folder / "linked" / "ours.yaml").write_text("model: {layerdrop: 2}\n")
    for command in ("check", "show"):
        refused = asrctl("presets", command, in_folder / "linked" / "mine.yaml")
        assert refused.exit_code == 3 and "model.layerdrop is 2" in refused.stderr


def test_a_dropout_of_all_there_is_is_refused(asrctl):
    """Nothing is left to be scaled up; layers may all be dropped, and what is around them still learns."""
    names = ("hidden", "attention", "activation", "feat_proj", "final")
    words = [word for name in names for word in ("--set", f"model.{name}_dropout=1")]
    refused = asrctl("presets", "show", "tiny-cpu", *words, "--json")
    assert refused.exit_code == 3
    assert len(refused.error["problems"]) == len(names)
    for name, problem in zip(names, refused.error["problems"]):
        assert f"model.{name}_dropout is 1, it must be below 1" in problem
    nearly = ("--set", "model.hidden_dropout=0.99", "--set", "model.layerdrop=1")
    asrctl("presets", "show", "tiny-cpu", *nearly).succeeded()


@pytest.mark.parametrize("name", ["base-4ipu", "tiny-cpu"])
def test_a_copy_is_the_preset_with_its_comments_under_a_name_of_its_own(name, asrctl, in_folder):
    copied = asrctl("presets", "copy", name, "mine.yaml", "--json").result
    assert copied == {"name": "mine", "source": name, "path": "mine.yaml"}
    text = (in_folder / "mine.yaml").read_text(encoding="utf-8")
    assert text.startswith("#") and "\nname: mine\n" in text
    shown, theirs = (asrctl("presets", "show", one, "--json").result["recipe"] for one in ("./mine.yaml", name))
    assert shown == {**theirs, "name": "mine"}
    assert "mine.yaml is there already" in asrctl("presets", "copy", name, "mine.yaml").stderr
    asrctl("presets", "copy", name, "mine.yaml", "--force").succeeded()
    (in_folder / "words.txt").write_text("mine")
    assert asrctl("presets", "copy", name, "words.txt", "--force").exit_code == 2
    assert (in_folder / "words.txt").read_text() == "mine"


def test_a_copy_of_one_that_extends_its_neighbor_stands_by_itself(asrctl, in_folder):
    (in_folder / "own").mkdir()
    (in_folder / "own" / "first.yaml").write_text("name: first\noptim: {epochs: 3}\n")
    (in_folder / "own" / "second.yaml").write_text("extends: ./first.yaml\noptim: {seed: 7}\n")
    asrctl("presets", "copy", "own/second.yaml", "mine.yaml").succeeded()
    recipe = asrctl("presets", "show", "./mine.yaml", "--json").result["recipe"]
    assert (recipe["name"], recipe["optim"]["epochs"], recipe["optim"]["seed"]) == ("mine", 3, 7)
