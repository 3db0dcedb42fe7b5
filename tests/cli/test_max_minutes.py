"""`asrctl train --max-minutes`: what it says, what it leaves, and how such a run goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, List

import pytest

from asrctl.training import checkpoints, metrics_log

from ..helpers.corpora import corpus, plain_rows
from ..helpers.ipu_tiny import TINY
from ..helpers.program import Result, copy_workspace, run_here, timed_by_processor
from ..helpers.tiny import QUIET
from ..helpers.typing_in import in_backticks, next_lines, type_line

STEPS = 50_000
PRESET: Dict[str, Any] = {
    "model": dict(QUIET, config=TINY, ctc_zero_infinity=True),
    "optim": {"global_batch": 4, "max_steps": STEPS, "warmup_steps": 1000, "learning_rate": 1e-3},
    "run": {"log_every": 1, "keep": 100_000, "save_every": 5, "eval_every": 50},
    "cpu": {"precision": "fp32"},
}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of 50,000 steps that had some seconds. Read only."""
    folder = tmp_path_factory.mktemp("limited")
    path = corpus(folder / "corpus", plain_rows(8) + plain_rows(2, "dev"), seconds=0.4)
    (folder / "long.yaml").write_text(json.dumps(PRESET), encoding="utf-8")
    run_here("prepare", "manifest", path, "-w", folder / "workspace").succeeded()
    words = ("train", "--preset", folder / "long.yaml", "--device", "cpu", "--max-minutes", 0.05)
    with timed_by_processor():
        done = run_here(*words, "-w", folder / "workspace").succeeded()
    (folder / "said").write_text(json.dumps([done.stdout, done.stderr]), encoding="utf-8")
    return folder


@pytest.fixture
def run(limited: Path, workspace: Path) -> Path:
    return copy_workspace(limited / "workspace", workspace) / "runs" / "long"


def said(limited: Path) -> Result:
    return Result(0, *json.loads((limited / "said").read_text(encoding="utf-8")))


def info(run: Path) -> Dict[str, Any]:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def learning_rates(run: Path) -> List[float]:
    return [entry["learning_rate"] for entry in metrics_log.read(run, "train")]


def test_the_learning_rate_comes_to_its_end_and_all_is_told(limited: Path, run: Path) -> None:
    found, rates = info(run), learning_rates(run)
    assert (found["state"], found["reason"], found["recipe_steps"]) == ("complete", "max-minutes", STEPS)
    assert found["steps"] < STEPS / 5
    assert rates[0] == 0 and rates[-1] < 0.5 * max(rates) < 1e-3
    done = said(limited)
    assert "0.05 minutes are enough for about " in done.stderr
    assert f" % of the {STEPS} steps of its recipe" in done.stdout
    if found["steps"] == found["total_steps"]:
        assert "went through its whole schedule" in done.stdout
    else:
        (command,) = in_backticks(done.stdout)
        assert type_line(command, "--device", "cpu", "--json").succeeded().result["steps"] == found["total_steps"]


def test_it_is_finished_and_can_be_extended(run: Path) -> None:
    whole = dict(info(run), steps=info(run)["total_steps"])
    run_here("train", "--resume", "--device", "cpu").succeeded()  # what the clock may have cut off at the very end
    again = run_here("train", "--resume", "--device", "cpu", "--json").succeeded().result
    assert again["nothing_to_do"] and again["steps"] == whole["steps"]
    longer = run_here("train", "--resume", "--device", "cpu", "--max-steps", whole["steps"] + 3, "--json").succeeded()
    assert longer.result["steps"] == whole["steps"] + 3


def test_what_was_killed_goes_on_as_it_was_planned_bit_for_bit(run: Path, tmp_path: Path) -> None:
    steps = checkpoints.steps(run / "checkpoints")
    planned = {step: opened(run, step).state.pace for step in steps}
    cut = [step for step, pace in planned.items() if pace is not None and step < 0.9 * pace.total][-1]
    for step in steps:
        if step > cut:
            shutil.rmtree(str(checkpoints.path_of(run / "checkpoints", step)))
    killed = dict(info(run), state="running", total_steps=STEPS)
    killed.pop("recipe_steps")
    (run / "run.json").write_text(json.dumps(killed), encoding="utf-8")
    twin = copy_workspace(run.parent.parent, tmp_path / "twin")
    status = next_lines(run_here("status"))[0]
    assert "--max-minutes 0.05" in status
    ends = []
    for place in (run.parent.parent, twin):
        done = run_here("train", "--resume", "--device", "cpu", "-w", place, "--json").succeeded().result
        assert (done["steps"], done["reason"]) == (planned[cut].total, "max-minutes")
        ends.append(opened(place / "runs" / "long", done["steps"]))
    assert all((ends[0].model()[name] == ends[1].model()[name]).all() for name in ends[0].model())
    rates = learning_rates(run)
    assert rates == learning_rates(twin / "runs" / "long") and rates[-1] < 0.5 * max(rates)


def opened(run: Path, step: int) -> checkpoints.Checkpoint:
    return checkpoints.open_checkpoint(checkpoints.path_of(run / "checkpoints", step))


def test_enough_time_changes_nothing(limited: Path, workspace: Path) -> None:
    copy_workspace(limited / "workspace", workspace)
    words = ("train", "--preset", limited / "long.yaml", "--device", "cpu", "--max-steps", 12)
    done = run_here(*words, "--max-minutes", 600, "--run", "timed").succeeded()
    run_here(*words, "--run", "plain").succeeded()
    assert "12 steps, finished" in done.stdout and "minutes are enough" not in done.stderr
    timed, plain = (opened(workspace / "runs" / name, 12) for name in ("timed", "plain"))
    assert all((timed.model()[name] == plain.model()[name]).all() for name in plain.model())
    assert learning_rates(workspace / "runs" / "timed") == learning_rates(workspace / "runs" / "plain")
