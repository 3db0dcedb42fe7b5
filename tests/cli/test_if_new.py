"""`train --if-new`: a pipeline that is run again does nothing where nothing is new, and goes on where it stopped."""

import json
import shutil

import pytest
import yaml
from safetensors.torch import load_file, save_file

from ..helpers.program import copy_workspace
from ..helpers.tones import PRESET, prepare, train, write_corpus

_SHORT = ("--max-steps", 2, "--set", "run.save_every=1", "--set", "run.keep=2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with tones.yaml and a workspace in which `first` has taken two steps. Read only."""
    folder = tmp_path_factory.mktemp("trained")
    prepare(folder)
    train(folder, "--run", "first", *_SHORT)
    return folder


@pytest.fixture
def ready(trained, workspace):
    return copy_workspace(trained / "workspace", workspace)


@pytest.fixture
def if_new(ready, trained, asrctl):
    """`if_new(OPTIONS)` trains as `first` was trained, with OPTIONS besides."""
    options = ("train", "--preset", trained / "tones.yaml", "--device", "cpu", *_SHORT, "--if-new")
    return lambda *more: asrctl(*options, *more)


@pytest.fixture
def is_new(if_new):
    """Whether there would be something to do, by a dry run."""
    return lambda *more: if_new("--dry-run", "--json", *more).result["new"]


def _seen(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(folder.rglob("*"))}


def _change(path, **values):
    kept = {name: value for name, value in {**json.loads(path.read_text()), **values}.items() if value is not None}
    path.write_text(json.dumps(kept))


def test_a_complete_run_is_left_as_it_is(ready, if_new, is_new):
    before = _seen(ready)
    assert is_new() is False
    done = if_new().succeeded()
    assert done.stdout.startswith("run first was made from the same inputs and is complete: nothing to do\n")
    result = if_new("--json").result
    assert _seen(ready) == before
    assert (result["new"], result["run"], result["state"], result["steps"]) == (False, "first", "complete", 2)
    assert if_new("--json", "--run", "first").result == result


def test_another_recipe_is_another_run_and_the_last_that_was_asked_for_is_the_latest(ready, if_new, asrctl):
    made = if_new("--json", "--max-steps", 1).result
    assert (made["new"], made["run"], made["steps"]) == (True, "tones", 1)
    again = if_new("--json", "--max-steps", 1).result
    assert again["new"] is False
    timing = ("seconds", "audio_s_per_s", "new", "nothing_to_do")
    assert {name: value for name, value in again.items() if name not in timing} == {
        name: value for name, value in made.items() if name not in timing
    }
    assert if_new("--json").result["run"] == "first"
    assert asrctl("eval", "--dry-run", "--json").result["run"] == "first"


@pytest.mark.parametrize(
    "options",
    [
        ("--set", "optim.seed=7"),
        ("--set", "model.hidden_dropout=0.1"),
        ("--set", "run.eval_max_utterances=3"),
        ("--max-minutes", 5),
        ("--run", "another"),
    ],
    ids=lambda options: options[-1],
)
def test_what_decides_the_outcome_is_new(is_new, options):
    assert is_new(*options) is True


@pytest.mark.parametrize(
    "options", [("--set", "cpu.workers=1"), ("--set", "optim.max_steps=2"), ("--set", "optim.epochs=9")], ids=str
)
def test_what_changes_nothing_is_not(is_new, options):
    assert is_new(*options) is False


def test_the_content_of_the_data_counts(ready, is_new, asrctl, tmp_path):
    (meta,) = ready.glob("prepared/*/meta.json")
    told = json.loads(meta.read_text())
    meta.write_text(json.dumps(dict(told, files=dict.fromkeys(told["files"], "0" * 64))))
    assert is_new() is True  # made again by other libraries
    meta.write_text(json.dumps(told))
    assert is_new() is False
    corpus = write_corpus(tmp_path / "other", train=16, held_out=2, seed=5)
    asrctl("prepare", "manifest", corpus, "--name", "other").succeeded()
    assert is_new() is True
    assert is_new("--data", "tones") is False


def test_the_content_of_the_model_that_it_starts_from_counts_and_not_its_path(trained, ready, is_new, if_new, tmp_path):
    # In a preset without `config`: it is the checkpoint's.
    plain = {**PRESET, "model": {name: value for name, value in PRESET["model"].items() if name != "config"}}
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump({**plain, "name": "plain"}))
    base, moved = tmp_path / "base", tmp_path / "moved"
    shutil.copytree(str(ready / "runs" / "first" / "model"), str(base))
    options = ("--preset", tmp_path / "plain.yaml", "--max-steps", 1, "--set")
    assert if_new("--json", *options, f"model.checkpoint={base}").result["new"] is True
    base.rename(moved)
    assert is_new(*options, f"model.checkpoint={moved}") is False
    (moved / "SHA256SUMS").unlink()
    tensors = load_file(str(moved / "model.safetensors"))
    tensors["lm_head.bias"] = tensors["lm_head.bias"] + 1
    save_file(tensors, str(moved / "model.safetensors"), metadata={"format": "pt"})
    moved.rename(base)
    assert is_new(*options, f"model.checkpoint={base}") is True


def test_a_run_that_was_killed_is_gone_on_with(ready, if_new, is_new):
    run = ready / "runs" / "first"
    straight = (run / "checkpoints" / "step-00000002" / "model.safetensors").read_bytes()
    _change(run / "run.json", state="running", steps=0, reason=None)
    damaged = run / "checkpoints" / "step-00000002" / "optimizer.safetensors"
    damaged.unlink()  # a link to the shared one
    damaged.write_bytes(b"half")
    assert is_new() is True
    done = if_new("--json")
    assert (done.result["run"], done.result["new"], done.result["steps"]) == ("first", True, 2)
    assert "run first was started with the same inputs and is not complete" in done.stderr
    assert "optimizer.safetensors is damaged" in done.stderr
    assert "resuming run first after step 1" in done.stderr
    assert (run / "checkpoints" / "step-00000002" / "model.safetensors").read_bytes() == straight
    assert if_new("--json").result["new"] is False


def test_a_run_that_can_not_be_gone_on_with_is_started_anew_by_the_fix(ready, if_new, asrctl):
    run = ready / "runs" / "first"
    _change(run / "run.json", state="running", reason=None)
    for state in run.glob("checkpoints/*/state.json"):
        state.write_text("{}")
    refused = if_new("--json")
    assert refused.exit_code == 4
    assert "--overwrite" in refused.error["fix"] and "--if-new" not in refused.error["fix"]


def test_a_complete_run_gets_its_model_back(ready, if_new):
    shutil.rmtree(str(ready / "runs" / "first" / "model"))
    assert if_new("--json").result["nothing_to_do"] is True
    assert (ready / "runs" / "first" / "model" / "model.safetensors").exists()


def test_a_run_of_an_earlier_version_is_never_the_same(ready, if_new, is_new, asrctl):
    _change(ready / "runs" / "first" / "run.json", inputs=None)
    assert is_new() is True
    refused = if_new("--json", "--run", "first")
    assert refused.exit_code == 2
    assert "does not say what it was made from" in refused.error["message"]
    assert asrctl("train", "--resume", "--run", "first", "--json").result["nothing_to_do"] is True


def test_a_run_that_went_on_otherwise_is_not_the_same_any_more(is_new, asrctl):
    asrctl("train", "--resume", "--run", "first", "--device", "cpu", "--max-steps", 3).succeeded()
    assert is_new() is True
    assert is_new("--max-steps", 3) is True


def test_a_name_that_is_taken_by_a_run_of_other_inputs_is_refused(if_new, ready, asrctl):
    refused = if_new("--json", "--run", "first", "--max-steps", 3, "--set", "optim.seed=7")
    assert refused.exit_code == 2
    assert refused.error["message"] == "run 'first' was made from other inputs"
    assert refused.error["problems"] == ["optim.seed: was 2, is 7", "steps: was 2, is 3"]
    assert "`--overwrite`" in refused.error["fix"]


@pytest.mark.parametrize("option", ["--resume", "--overwrite"])
def test_it_goes_with_no_option_that_says_what_to_do(if_new, option):
    refused = if_new("--json", option)
    assert refused.exit_code == 2
    assert option in refused.error["message"] and "exclude each other" in refused.error["message"]
