"""`asrctl train` as people and CI use it: on spoken digits, with a model of a few thousand weights."""

import json
import shutil
import signal

import pytest
import yaml
from safetensors.torch import load_file

from asrctl.training import checkpoints

from ..helpers.program import copy_workspace, run_here
from ..helpers.speech import write_digits
from ..helpers.stops import HANGS_S, signalled, stopped
from ..helpers.typing_in import in_backticks, type_line

PRESET = {
    "name": "small",
    "model": {
        "freeze_feature_encoder": False,
        "ctc_zero_infinity": True,
        "layerdrop": 0.1,
        "spec_augment": {"time_prob": 0.2, "time_length": 2},
        "config": {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "conv_dim": [8] * 7,
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
        },
    },
    "optim": {"global_batch": 8, "learning_rate": 1.0e-3, "epochs": 2},
    "batches": {"augment": {"speed": 0.1, "gain_db": 6, "eq_db": 3, "noise_snr_db": 20, "join": 2}},
    "run": {"log_every": 1},
    "cpu": {"precision": "fp32", "micro_batch_s": 1.5},
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A workspace with 40 digits for training, 8 for evaluation, 10 for test, and the preset `small`."""
    folder = tmp_path_factory.mktemp("digits")
    corpus = write_digits(folder / "corpus", train=40, held_out=8, test=10)
    workspace = folder / "workspace"
    run_here("prepare", "manifest", corpus, "--workspace", workspace).succeeded()
    (workspace / "presets").mkdir()
    (workspace / "presets" / "small.yaml").write_text(yaml.safe_dump(PRESET))
    return workspace


@pytest.fixture
def ready(digits, workspace):
    return copy_workspace(digits, workspace)


def metrics(run, kind):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [{k: v for k, v in entry.items() if k != "audio_s_per_s"} for entry in entries if entry["kind"] == kind]


def weights(run):
    last = checkpoints.steps(run / "checkpoints")[-1]
    return load_file(str(checkpoints.path_of(run / "checkpoints", last) / "model.safetensors"))


def same(left, right):
    return left.keys() == right.keys() and all((left[name] == right[name]).all() for name in left)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")  # transformers 4.29 on current torch
def test_a_run_leaves_model_metrics_and_the_next_command(ready, asrctl):
    done = asrctl("train", "--preset", "small", "--device", "cpu").succeeded()
    run = ready / "runs" / "small"
    info = json.loads((run / "run.json").read_text())
    assert info["state"] == "complete"
    assert info["steps"] == info["total_steps"] == 10
    assert info["best"]["wer"] == min(entry["wer"] for entry in metrics(run, "eval"))
    assert [entry["step"] for entry in metrics(run, "train")] == list(range(1, 11))
    assert f"next: asrctl eval --run small --workspace {ready}\n" in done.stdout
    assert "device: cpu" in done.stderr
    from transformers import AutoModelForCTC

    AutoModelForCTC.from_pretrained(str(run / "model"))
    assert not [path for path in run.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]


def test_a_stopped_and_resumed_run_is_bit_for_bit_the_straight_one(ready, asrctl):
    asrctl("train", "--preset", "small", "--device", "cpu", "--run", "straight", "--max-steps", 7).succeeded()
    options = ("--preset", "small", "--device", "cpu", "--run", "parts", "--set", "run.save_every=1")
    # The total decides the schedule, so the run is cut short by its clock, in the middle of an epoch.
    asrctl("train", *options, "--max-steps", 7, "--max-minutes", 0).succeeded()
    assert json.loads((ready / "runs" / "parts" / "run.json").read_text())["steps"] == 1
    asrctl("train", "--resume", "--run", "parts", "--device", "cpu", "--max-steps", 7, "--max-minutes", 0).succeeded()
    asrctl("train", "--resume", "--run", "parts", "--device", "cpu").succeeded()  # it remembers its total
    straight, parts = ready / "runs" / "straight", ready / "runs" / "parts"
    assert same(weights(straight), weights(parts))
    assert metrics(straight, "train") == metrics(parts, "train")
    last = checkpoints.path_of(straight / "checkpoints", 7), checkpoints.path_of(parts / "checkpoints", 7)
    assert (
        last[0].joinpath("optimizer.safetensors").read_bytes() == last[1].joinpath("optimizer.safetensors").read_bytes()
    )


def _made_again_by_other_libraries(workspace):
    """What `prepare --force` leaves where a resampler rounds otherwise today: the same ID, other samples."""
    (meta,) = workspace.glob("prepared/*/meta.json")
    told = json.loads(meta.read_text())
    told["files"] = dict.fromkeys(told["files"], "0" * 64)
    meta.write_text(json.dumps(told))


def test_a_frozen_encoder_is_cached_and_a_run_that_loses_the_cache_is_the_straight_one(ready, asrctl):
    options = ["--preset", "small", "--device", "cpu", "--max-steps", 12, "--set", "model.freeze_feature_encoder=true"]
    options += ["--set", "batches.augment={}", "--set", "run.save_every=1"]
    told = asrctl("train", *options, "--run", "straight").succeeded().stderr
    assert "engine: packed, fp32" in told
    assert "the frozen encoder's output is kept in" in told
    straight, parts = ready / "runs" / "straight", ready / "runs" / "parts"
    assert json.loads((straight / "run.json").read_text())["engine"] == "packed"
    (cache,) = (ready / "cache" / "features").iterdir()
    told = asrctl("train", *options, "--run", "parts", "--max-minutes", 0).succeeded().stderr
    assert "100 % of the utterances there already" in told
    assert asrctl("status", "--json").succeeded().json["result"]["disk"]["cache"] > 1000
    asrctl("clean", "cache", "--yes").succeeded()
    assert not cache.exists()
    asrctl("train", "--resume", "--run", "parts", "--device", "cpu", "--max-steps", 12).succeeded()
    assert same(weights(straight), weights(parts))


def test_data_that_was_made_again_with_other_samples_is_other_data(ready, asrctl):
    """Its cached features are not used, its evaluations not found, and no run goes on with it."""
    options = ["--preset", "small", "--device", "cpu", "--max-steps", 12, "--set", "model.freeze_feature_encoder=true"]
    options += ["--set", "batches.augment={}", "--max-minutes", 0]
    asrctl("train", *options, "--run", "before").succeeded()
    first = asrctl("eval", "--device", "cpu", "--json").succeeded().result
    assert asrctl("eval", "--device", "cpu", "--json").result["unchanged"]
    _made_again_by_other_libraries(ready)
    again = asrctl("eval", "--device", "cpu", "--json").succeeded().result
    assert not again["unchanged"] and again["id"] != first["id"] and again["data"] == first["data"]
    refused = asrctl("train", "--resume", "--run", "before", "--device", "cpu", "--json")
    assert refused.exit_code == 3 and "was made again" in refused.error["problems"][0]
    told = asrctl("train", *options, "--run", "after").succeeded().stderr
    assert "the frozen encoder's output is kept in" in told
    assert "there already" not in told


def test_what_the_last_evaluation_found_is_kept_when_the_clock_ends_a_run(ready, asrctl):
    """It comes after the step's checkpoint; resuming must not forget which model was the best."""
    options = ("--set", "run.save_every=1", "--set", "run.eval_every=300", "--max-minutes", 0, "--max-steps", 12)
    short = asrctl("train", "--preset", "small", "--device", "cpu", *options, "--json").succeeded()
    run = ready / "runs" / "small"
    kept = checkpoints.latest_valid(run / "checkpoints").checkpoint
    assert (kept.state.best_step, kept.state.best_wer) == (1, short.result["best_wer"])


def test_features_that_can_not_be_kept_are_no_reason_to_stop(ready, asrctl):
    (ready / "cache" / "features").parent.mkdir(exist_ok=True)
    (ready / "cache" / "features").write_text("a file in the folder's place")
    options = ["--preset", "small", "--device", "cpu", "--max-steps", 12, "--set", "model.freeze_feature_encoder=true"]
    told = asrctl("train", *options, "--set", "batches.augment={}").succeeded().stderr
    assert "encoder features are not kept" in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_and_the_command_that_resumes(ready, asrctl, number):
    options = ["--preset", "small", "--device", "cpu", "--set", "optim.epochs=2000", "--set", "run.save_every=1"]
    words = ["train", *options, "--max-minutes", "600", "--json", "--workspace", ready]
    process = signalled(stopped(words, ready, "/.step-00000003"), number)
    stdout, stderr = process.communicate(timeout=HANGS_S)
    assert process.returncode == 130, stderr
    error = json.loads(stdout)["error"]
    assert error["kind"] == "interrupted"
    (command,) = in_backticks(error["fix"])
    assert command.startswith("asrctl train --resume --run small") and "--max-minutes 600" in command
    info = json.loads((ready / "runs" / "small" / "run.json").read_text())
    assert info["state"] == "interrupted"
    assert checkpoints.latest_valid(ready / "runs" / "small" / "checkpoints").checkpoint.step == info["steps"] > 0
    more = info["steps"] + 1
    type_line(command, "--max-steps", more).succeeded()


def test_resuming_with_another_recipe_is_refused_and_lists_what_changed(ready, asrctl):
    asrctl("train", "--preset", "small", "--device", "cpu", "--max-steps", 2).succeeded()
    refused = asrctl("train", "--resume", "--set", "optim.learning_rate=1", "--set", "model.layerdrop=0", "--json")
    assert refused.exit_code == 3
    assert refused.error["problems"] == [
        "model.layerdrop: was 0.1, is 0.0",
        "optim.learning_rate: was 0.001, is 1.0",
    ]


def test_a_finished_run_is_left_alone_or_extended(ready, asrctl):
    asrctl("train", "--preset", "small", "--device", "cpu", "--max-steps", 2).succeeded()
    again = asrctl("train", "--resume", "--device", "cpu", "--max-steps", 2, "--json").succeeded()
    assert again.result["nothing_to_do"]
    longer = asrctl("train", "--resume", "--device", "cpu", "--max-steps", 4, "--json").succeeded()
    assert longer.result["steps"] == 4


def test_a_damaged_checkpoint_gives_way_to_the_one_before(ready, asrctl):
    options = ("--preset", "small", "--device", "cpu", "--set", "run.save_every=1", "--set", "run.keep=3")
    asrctl("train", *options, "--max-steps", 3).succeeded()
    damaged = checkpoints.path_of(ready / "runs" / "small" / "checkpoints", 3) / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    resumed = asrctl("train", "--resume", "--device", "cpu", "--max-steps", 3).succeeded()
    assert "an earlier checkpoint is used" in resumed.stderr
    assert "resuming run small after step 2" in resumed.stderr
    assert checkpoints.latest_valid(ready / "runs" / "small" / "checkpoints").checkpoint.step == 3


def test_an_existing_name_is_refused_unless_replaced_and_the_default_counts_up(ready, asrctl):
    options = ("--preset", "small", "--device", "cpu", "--max-steps", 1)
    asrctl("train", *options).succeeded()
    assert asrctl("train", *options, "--json").succeeded().result["run"] == "small-2"
    refused = asrctl("train", *options, "--run", "small", "--json")
    assert refused.exit_code == 2
    assert "--overwrite" in refused.error["fix"]
    asrctl("train", *options, "--run", "small", "--overwrite").succeeded()
    assert not (ready / "runs" / ".small.old").exists()


def test_a_replaced_run_comes_back_when_the_new_one_fails(ready, asrctl):
    options = ("--preset", "small", "--device", "cpu", "--max-steps", 1, "--run", "small")
    asrctl("train", *options).succeeded()
    before = weights(ready / "runs" / "small")
    failed = asrctl("train", *options, "--overwrite", "--set", "model.checkpoint=./nowhere")
    assert failed.exit_code == 4
    assert same(before, weights(ready / "runs" / "small"))


def test_from_run_starts_from_its_best_model(ready, asrctl):
    asrctl("train", "--preset", "small", "--device", "cpu", "--max-steps", 2).succeeded()
    options = ("--preset", "small", "--device", "cpu", "--max-steps", 1, "--from-run", "small", "--run", "second")
    asrctl("train", *options, "--set", "optim.warmup_steps=5").succeeded()
    # The first step of a warm-up has learning rate 0: the weights are still those of the first run.
    first = load_file(str(ready / "runs" / "small" / "model" / "model.safetensors"))
    assert same(first, load_file(str(ready / "runs" / "second" / "model" / "model.safetensors")))
    assert json.loads((ready / "runs" / "second" / "run.json").read_text())["base"] == "run small"


def test_a_recipe_that_conflicts_with_the_data_is_refused_with_every_conflict(ready, asrctl):
    overrides = ("text.case=upper", "audio.sample_rate=8000", "audio.max_s=0.2")
    refused = asrctl("train", "--preset", "small", *(part for key in overrides for part in ("--set", key)), "--json")
    assert refused.exit_code == 3
    assert len(refused.error["problems"]) >= 3
    assert "text.case is 'upper', the data was made with 'lower'" in refused.error["problems"]


def test_without_a_preset_the_presets_are_listed(ready, asrctl):
    refused = asrctl("train", "--json")
    assert refused.exit_code == 2
    assert "base-4ipu" in refused.error["message"]
    assert "small" in refused.error["message"]


def test_nothing_prepared(workspace, asrctl):
    refused = asrctl("train", "--preset", "tiny-cpu", "--json")
    assert refused.exit_code == 4
    assert "asrctl prepare" in refused.error["fix"]


@pytest.mark.parametrize("options", [("base-4ip",), ("tiny-cpu", "--set", "optim.learning_rat=1")])
def test_a_typo_in_the_recipe_is_told_before_data_that_is_missing(workspace, asrctl, options):
    refused = asrctl("train", "--preset", *options, "--json")
    assert refused.exit_code == 3
    assert "did you mean" in refused.stdout


def test_dry_run_tells_each_value_and_where_it_came_from(ready, asrctl):
    options = ("--preset", "small", "--device", "cpu", "--set", "optim.epochs=3", "--dry-run", "--verbose")
    shown = asrctl("train", *options).succeeded()
    assert "optim.epochs = 3.0   (--set)" in shown.stdout
    assert "optim.global_batch = 8   (preset small)" in shown.stdout
    assert "optim.seed = 42   (default)" in shown.stdout
    assert not (ready / "runs").exists()


def test_a_device_that_is_not_here(ready, asrctl):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    refused = asrctl("train", "--preset", "small", "--device", "cuda", "--json")
    assert refused.exit_code == 6
    assert asrctl("train", "--preset", "small", "--device", "gpu", "--json").exit_code == 2


def test_hopeless_numbers_stop_the_run_and_keep_what_was_good(ready, asrctl):
    options = ("--preset", "small", "--device", "cpu", "--set", "run.save_every=1", "--set", "optim.max_grad_norm=null")
    asrctl("train", *options, "--max-steps", 2).succeeded()
    run = ready / "runs" / "small"
    # Weights that are not numbers: what a diverged optimizer leaves behind.
    state = checkpoints.open_checkpoint(checkpoints.path_of(run / "checkpoints", 2)).state
    poisoned = {name: tensor * float("nan") for name, tensor in weights(run).items()}
    moments = load_file(str(checkpoints.path_of(run / "checkpoints", 2) / "optimizer.safetensors"))
    good = (run / "model" / "model.safetensors").read_bytes()
    checkpoints.save(run / "checkpoints", 3, model=poisoned, optimizer=moments, state=state)
    stopped = asrctl("train", "--resume", "--device", "cpu", "--max-steps", 40, "--json")
    assert stopped.exit_code == 9
    assert "not finite" in stopped.error["message"]
    assert (run / "model" / "model.safetensors").read_bytes() == good
    assert json.loads((run / "run.json").read_text())["state"] == "failed"


@pytest.mark.parametrize("engine", ["packed", "plain"])
def test_recordings_shorter_than_a_mask_have_none(ready, asrctl, engine):
    """A mask of 100 frames lasts two seconds, longer than any digit; the library refuses such batches."""
    masks = ["--set", "model.spec_augment.time_prob=0.5", "--set", "model.spec_augment.time_length=100"]
    command = ["train", "--preset", "small", "--device", "cpu", "--max-steps", "3", "--set", f"cpu.engine={engine}"]
    asrctl(*command, *masks).succeeded()
    assert len(metrics(ready / "runs" / "small", "train")) == 3


def test_two_trainings_of_one_run_exclude_each_other(ready, asrctl):
    from asrctl.storage.workspace import Workspace

    with Workspace(ready).lock("run-small"):
        refused = asrctl("train", "--preset", "small", "--device", "cpu", "--max-steps", 1, "--json")
    assert refused.exit_code == 7


def test_early_stopping(ready, asrctl):
    options = ("--preset", "small", "--device", "cpu", "--set", "run.eval_every=1", "--set", "run.early_stopping=2")
    done = asrctl("train", *options, "--set", "optim.learning_rate=1e-9", "--json").succeeded()
    assert done.result["reason"] == "early-stopping"
    assert done.result["steps"] == 3


def test_base_4ipu_trains_on_the_cpu_from_a_local_checkpoint(ready, asrctl, tmp_path):
    """Geometry is made small here; the nox session `long` does it at full size."""
    from asrctl.config.recipe import ModelSection
    from asrctl.data.text import TextRules, build_vocabulary
    from asrctl.models import loading

    upper = build_vocabulary(dict.fromkeys("ABC", 1), TextRules(case="upper"))
    config = dict(PRESET["model"]["config"], feat_extract_norm="group", layer_norm_eps=1e-4)
    loading.save_recognizer(
        loading.build(ModelSection(config=config), upper, seed=0, sample_rate=16000).recognizer, tmp_path / "base"
    )
    options = (
        "--preset",
        "base-4ipu",
        "--device",
        "cpu",
        "--max-steps",
        2,
        "--set",
        f"model.checkpoint={tmp_path}/base",
    )
    done = asrctl("train", *options, "--set", "audio.max_s=2").succeeded()
    assert "a new head of" in done.stderr
    assert "the same global batch of 32" in done.stderr


def test_a_run_that_was_stopped_early_stays_so_until_it_is_given_more_patience(ready, asrctl):
    options = ("--preset", "small", "--device", "cpu", "--set", "run.eval_every=1", "--set", "run.early_stopping=2")
    asrctl("train", *options, "--set", "optim.learning_rate=1e-9", "--json").succeeded()
    run = ready / "runs" / "small"
    evaluated = [entry["step"] for entry in metrics(run, "eval")]
    assert evaluated == [1, 2, 3]  # the last one, which ended the run, only once
    again = asrctl("train", "--resume", "--device", "cpu", "--json").succeeded()
    assert (again.result["nothing_to_do"], again.result["reason"], again.result["steps"]) == (True, "early-stopping", 3)
    more = asrctl("train", "--resume", "--device", "cpu", "--set", "run.early_stopping=4", "--json").succeeded()
    assert more.result["steps"] == 5
    (command,) = in_backticks(asrctl("train", "--resume", "--device", "cpu").succeeded().stdout)
    assert type_line(command, "--device", "cpu", "--max-steps", 6, "--json").succeeded().result["steps"] == 6


def test_a_resumed_run_goes_by_its_own_encoders_features(ready, asrctl, asrctl_process):
    """Resumed in a process of their own, two runs of other weights must not meet each other's cache."""
    common = ("--preset", "small", "--device", "cpu", "--set", "model.freeze_feature_encoder=true")
    common += ("--set", "batches.augment={}", "--max-steps", 6)
    for seed in (1, 2):
        options = (*common, "--set", f"optim.seed={seed}")
        asrctl("train", *options, "--run", f"straight{seed}").succeeded()
    caches = {path.name for path in (ready / "cache" / "features").iterdir()}
    assert len(caches) == 2
    for seed in (1, 2):
        options = (*common, "--set", f"optim.seed={seed}")
        asrctl("train", *options, "--run", f"parts{seed}", "--max-minutes", 0).succeeded()
        resumed = asrctl_process("train", "--resume", "--run", f"parts{seed}", "--device", "cpu").succeeded()
        assert "100 % of the utterances there already" in resumed.stderr
        straight, parts = ready / "runs" / f"straight{seed}", ready / "runs" / f"parts{seed}"
        assert same(weights(straight), weights(parts))
    assert {path.name for path in (ready / "cache" / "features").iterdir()} == caches


def test_a_damaged_newest_checkpoint_does_not_count_as_newer_than_those_made_after_it(ready, asrctl):
    options = ("--preset", "small", "--device", "cpu", "--set", "run.save_every=1", "--set", "run.keep=3")
    options += ("--set", "run.eval_every=2", "--set", "optim.learning_rate=1e-9")
    asrctl("train", *options, "--max-steps", 8).succeeded()
    folder = ready / "runs" / "small" / "checkpoints"
    assert checkpoints.steps(folder) == [2, 6, 7, 8]  # nothing is learned: the first evaluation stays the best
    for step in (7, 8):
        damaged = checkpoints.path_of(folder, step) / "model.safetensors"
        damaged.write_bytes(damaged.read_bytes()[:-1])
    few = ("train", "--resume", "--device", "cpu", "--max-minutes", 0, "--set", "run.keep=1")
    asrctl(*few, "--max-steps", 9).succeeded()  # goes on from 6, makes 7 anew and stops
    assert checkpoints.latest_valid(folder).checkpoint.step == 7
    asrctl(*few, "--max-steps", 9).succeeded()
    assert checkpoints.latest_valid(folder).checkpoint.step == 8


@pytest.mark.parametrize("other", [("--overwrite",), ("--from-run", "small")])
def test_resuming_and_starting_exclude_each_other(ready, asrctl, other):
    asrctl("train", "--preset", "small", "--device", "cpu", "--max-steps", 1).succeeded()
    refused = asrctl("train", "--resume", "--run", "small", "--device", "cpu", "--max-steps", 2, *other, "--json")
    assert (refused.exit_code, other[0] in refused.error["message"]) == (2, True)
    assert checkpoints.steps(ready / "runs" / "small" / "checkpoints") == [1]


def test_overwrite_without_a_name_replaces_the_run_named_after_the_preset(ready, asrctl):
    for _ in range(2):
        asrctl("train", "--preset", "small", "--device", "cpu", "--max-steps", 1, "--overwrite").succeeded()
    assert [path.name for path in (ready / "runs").iterdir() if not path.name.startswith(".")] == ["small"]


@pytest.mark.parametrize("length", ["optim.max_steps=4", "optim.epochs=0.8"])
def test_a_resumed_run_takes_the_length_that_its_recipe_is_given(ready, asrctl, length):
    asrctl("train", "--preset", "small", "--device", "cpu", "--max-steps", 2).succeeded()
    longer = asrctl("train", "--resume", "--device", "cpu", "--set", length, "--json").succeeded()
    assert longer.result["steps"] == 4
    assert asrctl("train", "--resume", "--device", "cpu", "--json").succeeded().result["nothing_to_do"]


def test_an_optimizer_that_the_host_has_not_is_refused(ready, asrctl):
    options = ("--set", "optim.optimizer=lamb", "--set", "optim.adam_betas=[0.9, 0.999]", "--device", "cpu", "--json")
    refused = asrctl("train", "--preset", "base-4ipu", *options)
    assert (refused.exit_code, refused.error["kind"]) == (3, "preset")
    assert "lamb" in refused.error["message"]


def test_joined_utterances_count_once_in_a_loss_that_is_a_sum(ready, asrctl):
    """Two utterances as one item lose about what they lose as two."""
    first = []
    for join in (1, 4):
        options = ("--set", "model.ctc_loss_reduction=sum", "--set", f"batches.augment={{join: {join}}}")
        name = f"join{join}"
        asrctl("train", "--preset", "small", "--device", "cpu", "--max-steps", 1, "--run", name, *options).succeeded()
        first.append(metrics(ready / "runs" / name, "train")[0]["loss"])
    assert first[1] < 1.5 * first[0]


def short_run(asrctl, *options):
    return asrctl("train", "--preset", "small", "--device", "cpu", "--max-steps", 2, *options).succeeded()


def test_a_run_whose_checkpoints_are_gone_keeps_its_model(ready, asrctl):
    short_run(asrctl)
    run = ready / "runs" / "small"
    before = (run / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(run / "checkpoints")
    refused = asrctl("train", "--resume", "--run", "small", "--device", "cpu", "--json")
    assert (refused.exit_code, refused.error["kind"]) == (4, "missing")
    assert "--from-run small" in refused.error["fix"]
    assert (run / "model" / "model.safetensors").read_bytes() == before


def test_a_finished_run_whose_model_is_gone_gets_it_back_from_its_checkpoint(ready, asrctl):
    short_run(asrctl)
    model = ready / "runs" / "small" / "model"
    before = load_file(str(model / "model.safetensors"))
    shutil.rmtree(model)
    assert "train --resume" in asrctl("eval", "--run", "small", "--device", "cpu", "--json").error["fix"]
    again = asrctl("train", "--resume", "--run", "small", "--device", "cpu").succeeded()
    assert "made again from the checkpoint of step 2" in again.stderr
    assert same(load_file(str(model / "model.safetensors")), before)
    asrctl("eval", "--device", "cpu").succeeded()


def test_a_damaged_run_is_told_and_keeps_no_other_from_being_trained(ready, asrctl):
    short_run(asrctl, "--run", "broken")
    (ready / "runs" / "broken" / "run.json").write_text("")
    shown = asrctl("status", "--json").succeeded()
    (line,) = [item for item in shown.result["items"] if item["stage"] == "train"]
    assert (line["name"], line["state"]) == ("broken", "damaged")
    short_run(asrctl, "--run", "other")
    assert asrctl("eval", "--device", "cpu", "--json").exit_code == 5  # which run is the latest can not be told
    asrctl("eval", "--run", "other", "--device", "cpu").succeeded()
    short_run(asrctl, "--run", "broken", "--overwrite")


def test_equal_word_error_rates_are_told_apart_by_characters(ready, asrctl):
    asrctl("train", "--preset", "small", "--device", "cpu", "--set", "run.eval_every=2", "--max-steps", 10).succeeded()
    run = ready / "runs" / "small"
    found = metrics(run, "eval")
    assert {entry["wer"] for entry in found} == {1.0}  # so little training teaches no word
    best = min(found, key=lambda entry: (entry["wer"], entry["cer"], entry["step"]))
    assert json.loads((run / "run.json").read_text())["best"]["step"] == best["step"] > 2


def test_data_that_was_prepared_again_is_told_where_a_run_is_evaluated(ready, asrctl, tmp_path):
    short_run(asrctl)
    quiet = asrctl("eval", "--device", "cpu").succeeded()
    assert "prepared again" not in quiet.stderr
    (name,) = [item["name"] for item in asrctl("status", "--json").result["items"] if item["stage"] == "prepare"]
    fewer = write_digits(tmp_path / "fewer", train=40, held_out=8, test=5)
    asrctl("prepare", "manifest", fewer, "--name", name).succeeded()
    told = asrctl("eval", "--device", "cpu").succeeded()
    assert "was prepared again since" in told.stderr and f"--data {name} takes the new one" in told.stderr


def test_a_dry_run_refuses_what_a_run_would(ready, asrctl):
    options = ("train", "--preset", "small", "--device", "cpu", "--set", "audio.sample_rate=8000", "--json")
    assert asrctl(*options).exit_code == asrctl(*options, "--dry-run").exit_code == 3


def test_a_key_that_only_prepare_goes_by_is_told_to_change_nothing(ready, asrctl):
    told = short_run(asrctl, "--set", "audio.min_s=0.2")
    assert "--set audio.min_s changes nothing here" in told.stderr


def test_a_run_can_not_replace_the_one_it_starts_from(ready, asrctl):
    short_run(asrctl)
    refused = asrctl("train", "--preset", "small", "--overwrite", "--from-run", "small", "--device", "cpu", "--json")
    assert refused.exit_code == 2
    assert (ready / "runs" / "small" / "model").is_dir()


def test_a_secret_that_is_a_common_word_leaves_the_state_of_a_run_alone(ready, asrctl, monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "complete")
    short_run(asrctl, "--run", "complete-anew")
    info = json.loads((ready / "runs" / "complete-anew" / "run.json").read_text())
    assert info["state"] == "complete"
    assert "complete-anew" not in info["command"]
