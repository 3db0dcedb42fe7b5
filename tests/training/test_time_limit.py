"""A run whose minutes are limited goes through the whole learning-rate schedule in them."""

from __future__ import annotations

from typing import List

import pytest

from asrctl.config.recipe import OptimSection
from asrctl.training import metrics_log
from asrctl.training import trainer as host
from asrctl.training.checkpoints import latest_valid
from asrctl.training.schedule import Schedule, learning_rate
from asrctl.training.time_limit import TimeLimit

from ..helpers import ipu_tiny
from ..helpers.program import timed_by_processor

SCHEDULES = {
    "linear": OptimSection(schedule="linear", warmup_steps=400),
    "share": OptimSection(schedule="linear", warmup_share=0.2),
    "cosine": OptimSection(schedule="cosine", warmup_steps=30),
    "tri-stage": OptimSection(schedule="tri-stage"),
    "constant": OptimSection(schedule="constant", warmup_steps=100),
}


def rates(optim: OptimSection, pace: Schedule) -> List[float]:
    return [pace.rate(optim, step) for step in range(pace.start, pace.total)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_run_that_is_not_cut_short_has_its_recipes_rates_bit_for_bit(name: str) -> None:
    optim = SCHEDULES[name]
    own = [learning_rate(optim, step, 997) for step in range(997)]
    assert rates(optim, Schedule.whole(997)) == own
    # Planned again and again while the time is enough for all of it.
    pace = Schedule.whole(997)
    for step in (3, 250, 996):
        pace = pace.ending(997, step)
        assert rates(optim, pace) == own[step:]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("total", [11, 90, 500])
def test_a_run_that_is_cut_short_has_the_same_rates_in_fewer_steps(name: str, total: int) -> None:
    optim = SCHEDULES[name]
    pace = Schedule.whole(997).ending(total, 10)
    assert pace.rate(optim, 10) == learning_rate(optim, 10, 997), "it goes on unbroken"
    positions = [pace.position(step) for step in range(10, total)]
    assert positions == sorted(positions) and pace.position(total) == 997
    later = pace.ending(total + 40, 10 + (total - 10) // 2)
    assert later.position(later.start) == pytest.approx(pace.position(later.start))
    assert later.position(later.total) == 997
    if total > 11:
        wanted = learning_rate(optim, 996, 997)
        step = abs(learning_rate(optim, 997 - 2 * 997 / total, 997) - wanted)
        assert abs(rates(optim, pace)[-1] - wanted) <= step + 1e-12
        peak = max(learning_rate(optim, step, 997) for step in range(997))
        assert max(rates(optim, pace)) > 0.9 * peak


def planned(seconds: float, step_s: float, check_s: float, every: int, slower: float = 1.0) -> List[int]:
    """Totals that were planned for a run of steps that all take `step_s`, `slower` times as long in its second half."""
    limit, elapsed, totals, step = TimeLimit(seconds), 5.0, [], 0
    while not limit.is_over(elapsed) and (not totals or step < totals[-1]):
        took = step_s * (slower if elapsed > seconds / 2 else 1.0)
        step, elapsed = step + 1, elapsed + took
        limit.stepped(1, took)
        if step % every == 0:
            elapsed += check_s
            limit.checked(check_s, elapsed)
        if limit.is_due(elapsed):
            totals.append(step + limit.steps_left(elapsed, every, check_s))
    totals.append(step)
    assert elapsed + check_s <= seconds + step_s * slower + check_s
    return totals


def test_the_plan_is_there_after_three_steps_and_holds() -> None:
    totals = planned(600, step_s=1.0, check_s=10.0, every=50)
    assert totals[-1] == pytest.approx((600 - 5 - 10) / (1 + 10 / 50), rel=0.03)
    assert totals[0] == pytest.approx(totals[-1], rel=0.05)


def test_a_machine_that_slows_down_changes_the_plan() -> None:
    totals = planned(600, step_s=1.0, check_s=0.0, every=1000, slower=3.0)
    assert totals[0] == pytest.approx(595, rel=0.02)
    assert totals[-1] == totals[-2] == pytest.approx(300 + 300 / 3, rel=0.03)


def test_the_first_step_of_a_process_tells_nothing_about_the_speed() -> None:
    limit = TimeLimit(100)
    limit.stepped(1, 20.0)
    assert not limit.is_due(20)
    limit.stepped(1, 1.0)
    limit.stepped(1, 1.0)
    assert limit.is_due(22) and limit.steps_left(22, 1000, 0.0) == 78


def test_a_time_that_is_over_is_no_division_by_nothing() -> None:
    limit = TimeLimit(0.0)
    assert limit.is_over(0.0)
    for _ in range(3):
        limit.stepped(1, 0.0)
    assert limit.steps_left(5.0, 1, 0.0) == 1


def test_a_checkpoint_keeps_the_plan_and_a_resumed_run_goes_by_it(tmp_path) -> None:
    split = ipu_tiny.write_split(tmp_path / "train", 8)
    wanted = ipu_tiny.recipe(run={"save_every": 1, "keep": 999})
    limited = ipu_tiny.job(wanted, split, tmp_path / "run", steps=100_000, kind="cpu", max_minutes=0.02)
    with timed_by_processor():
        ended = host.train(*limited, lambda event: None)
    assert ended.reason == "max-minutes" and ended.state.step <= ended.total < 100_000
    kept = latest_valid(tmp_path / "run" / "checkpoints").checkpoint
    pace, again = kept.state.pace, kept
    assert pace is not None and pace.recipe == 100_000
    job = ipu_tiny.job(wanted, split, tmp_path / "other", steps=100_000, kind="cpu", resume=again)
    trainer = host.HostTrainer(*job, lambda event: None)
    if kept.step < pace.total:
        assert trainer.loop.total == pace.total
        assert trainer.loop.rate(kept.step) == pace.rate(wanted.optim, kept.step)
    # Another length is another schedule.
    longer = ipu_tiny.job(wanted, split, tmp_path / "longer", steps=200_000, kind="cpu", resume=again)
    assert host.HostTrainer(*longer, lambda event: None).loop.total == 200_000
    last = [entry["learning_rate"] for entry in metrics_log.read(tmp_path / "run", "train")][-1]
    assert last == pytest.approx(pace.rate(wanted.optim, kept.step - 1))
