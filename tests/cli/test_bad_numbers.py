"""`asrctl train` when the numbers go bad: noticed, explained, stopped, and nothing bad left behind as the newest."""

import json
import os
import signal

import pytest
from safetensors.torch import load_file

from asrctl.commands.train import TrainRequest, train
from asrctl.errors import Interrupted
from asrctl.events import StepDone
from asrctl.storage.workspace import Workspace
from asrctl.training import checkpoints, divergence, metrics_log
from asrctl.training.trainer_state import TrainerState

TRAIN = ("train", "--device", "cpu", "--json", "--preset")
EVERY_STEP = ("--set", "run.save_every=1", "--set", "run.eval_every=1")


def hopeless(rate, warmup=0):
    changes = (f"learning_rate={rate}", f"warmup_steps={warmup}", "schedule=constant", "max_grad_norm=null")
    return [word for change in changes for word in ("--set", f"optim.{change}")]


@pytest.fixture
def preset(learned_tones):
    return learned_tones.parent / "tones.yaml"


def state(run):
    info = json.loads((run / "run.json").read_text())
    return info["state"], info["steps"], (info["best"] or {}).get("step")


def weights(folder):
    return load_file(str(folder / "model.safetensors"))


def same(left, right):
    return left.keys() == right.keys() and all((left[name] == right[name]).all() for name in left)


@pytest.mark.parametrize(("rate", "said"), [(30, "the loss has exploded"), (1e8, "8 steps in a row")])
def test_a_learning_rate_that_ruins_a_good_model(tones, asrctl, preset, rate, said):
    """The first step has rate 0; the second ruins the weights, which shows only in the loss of the third."""
    words = ("--from-run", "learned", "--run", "ruined", *EVERY_STEP, *hopeless(rate, warmup=3))
    stopped = asrctl(*TRAIN, preset, *words, "--max-steps", 500)
    assert stopped.exit_code == 9
    assert said in stopped.error["message"]
    assert "optim.learning_rate" in stopped.error["fix"]
    assert "the checkpoint of step 1 is kept" in stopped.error["fix"]
    assert any("learning rate that is too high" in problem for problem in stopped.error["problems"])
    run = tones / "runs" / "ruined"
    assert state(run) == ("failed", 1, 1)
    assert checkpoints.steps(run / "checkpoints") == [1]
    learned = weights(tones / "runs" / "learned" / "model")
    assert same(weights(run / "model"), learned)
    lines = metrics_log.read(run)
    assert [entry["step"] for entry in lines if entry["kind"] == "train"][:2] == [1, 10]
    # Step 3 is the first bad one; from the third bad one on nothing is evaluated any more.
    assert [entry["step"] for entry in lines if entry["kind"] == "eval"] == [1, 2, 3, 4]
    assert len((run / "metrics.jsonl").read_text().splitlines()) == len(lines)

    resumed = asrctl("train", "--resume", "--run", "ruined", "--device", "cpu", "--max-steps", 2)
    assert "resuming run ruined after step 1" in resumed.stderr
    assert checkpoints.steps(run / "checkpoints")[0] == 1


def test_a_stop_while_the_loss_explodes_keeps_the_last_good_checkpoint(tones, preset):
    """Step 2 ruins the weights and its checkpoint; the losses tell from step 3 on, and Ctrl-C comes at step 5."""
    changes = [word for word in (*EVERY_STEP, *hopeless(30, warmup=3)) if word != "--set"]
    request = TrainRequest(
        str(preset), run="ruined", device="cpu", from_run="learned", overrides=(*changes, "run.keep=1")
    )

    def interrupt(event):
        if isinstance(event, StepDone) and event.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train(Workspace(tones), request, interrupt)
    run = tones / "runs" / "ruined"
    assert checkpoints.steps(run / "checkpoints") == [1]
    assert state(run) == ("interrupted", 5, 1)
    assert same(weights(run / "model"), weights(tones / "runs" / "learned" / "model"))


def test_a_run_that_explodes_at_once_leaves_no_checkpoint_and_no_model(tones, asrctl, preset):
    stopped = asrctl(*TRAIN, preset, "--run", "ruined", *EVERY_STEP, *hopeless(30), "--max-steps", 500)
    assert stopped.exit_code == 9
    assert "no checkpoint was made before that" in stopped.error["fix"]
    run = tones / "runs" / "ruined"
    assert state(run) == ("failed", 0, None)
    assert checkpoints.steps(run / "checkpoints") == []
    assert not (run / "model").exists()


def test_a_run_that_ends_before_the_bound_is_no_success_either(tones, asrctl, preset):
    stopped = asrctl(*TRAIN, preset, "--run", "ruined", *hopeless(30), "--max-steps", 12)
    assert stopped.exit_code == 9
    assert not (tones / "runs" / "ruined" / "model").exists()


def test_a_model_that_never_writes_a_word(tones, asrctl, preset):
    still = ("--set", "model.blank_bias=50", "--set", "optim.learning_rate=1e-9", "--set", "run.max_silent_steps=6")
    stopped = asrctl(*TRAIN, preset, "--run", "silent", *still, "--set", "run.eval_every=2", "--max-steps", 500)
    assert stopped.exit_code == 9
    assert stopped.error["message"] == "every hypothesis has been empty for 6 steps, since step 2"
    assert "run.max_silent_steps" in stopped.error["fix"]
    run = tones / "runs" / "silent"
    assert [entry["step"] for entry in metrics_log.read(run, "eval")] == [2, 4, 6, 8]
    assert state(run)[:2] == ("failed", 6)
    words = ("train", "--resume", "--device", "cpu", "--max-steps", 12, "--set", "run.max_silent_steps=null")
    asrctl(*words).succeeded()
    assert state(run)[:2] == ("complete", 12)


def watched(*, spoils=False, most=20000, **state):
    return divergence.DivergenceDetector(
        TrainerState(**state), spoils=spoils, vocabulary=30, max_silent_steps=most, advice=""
    )


def follow(found, levels):
    """The step after which the watch gives up, or None."""
    for step, level in enumerate(levels):
        found.state.step = step + 1
        found.after_step(step, level, applied=True)
        if found.check() is not None:
            return step + 1
    return None


def test_losses_of_a_run_that_learns_never_come_near_the_bound():
    falling = [20.0] * 5 + [12.0] * 20 + [3.0] * 5000 + [3.0 * 0.99**step for step in range(1000)]
    noise = [0.001, 0.9, 0.05, 2.9] * 500
    outliers = ([0.01] * 40 + [300.0]) * 20
    assert follow(watched(), falling + noise + outliers) is None


def test_an_explosion_is_given_up_after_its_bound_and_an_outlier_forgotten():
    found = watched()
    assert follow(found, [12.0, 3.0, 1.0, 900.0, 1.0, 1.0] + [100.0] * 100) == 6 + divergence.MAX_EXPLODED_STEPS
    assert (found.doubtful, found.good_step) == (True, 5)
    assert found.state.lowest_level < 11


def test_a_first_loss_of_nothing_that_could_be_aligned_is_no_bar_for_those_to_come():
    assert follow(watched(), [0.0, 0.0] + [12.0] * 100) is None


def test_silence_counts_from_the_first_silent_evaluation_and_sooner_after_words():
    silent, spoken = {"empty": 1.0, "wer": 1.0}, {"empty": 0.2, "wer": 0.5}
    for best_wer, limit in ((None, 20000), (0.97, 20000), (0.3, 2000)):
        found = watched(best_wer=best_wer)
        for values in (silent, spoken):
            found.evaluated(values)
        assert not found.fell_silent
        given_up = None
        for step in range(500, 40000, 500):
            found.state.step = step
            found.evaluated(silent)
            if found.check_silence() is not None:
                given_up = step
                break
        assert given_up == 500 + limit
        assert found.fell_silent == (limit == 2000)
    few = watched(most=10)
    for step in (100, 5000):
        few.state.step = step
        few.evaluated(silent)
    assert few.check_silence() is None


def test_silence_is_right_where_nothing_was_said():
    found = watched(most=1)
    for step in range(1, 9):
        found.state.step = step
        found.evaluated({"empty": 1.0, "wer": 0.0})
    assert found.check_silence() is None
