"""The pipeline's timetable and its drawings."""

from __future__ import annotations

import pytest

from asrctl.ipu.plan import drawing
from asrctl.ipu.plan.timetable import CombinedBatch, Timetable


def test_ramps_of_the_published_pipelines():
    base, large = Timetable(4, 32), Timetable(8, 16)
    assert (base.depth, base.cycles, base.ramp_share) == (7, 38, pytest.approx(6 / 38))
    assert (large.depth, large.cycles, large.ramp_share) == (15, 30, pytest.approx(14 / 30))
    assert Timetable(1, 5).ramp_share == 0


@pytest.mark.parametrize(("stages", "accumulation"), [(1, 1), (2, 3), (4, 7), (4, 32)])
def test_every_micro_batch_passes_every_stage_once_each_way_in_order(stages, accumulation):
    table = Timetable(stages, accumulation)
    cells = [[table.at(stage, cycle) for cycle in range(table.cycles)] for stage in range(stages)]
    for stage, row in enumerate(cells):
        assert [there for there, _ in row if there is not None] == list(range(accumulation))
        assert [back for _, back in row if back is not None] == list(range(accumulation))
        waiting = max(
            sum(t is not None for t, _ in row[: c + 1]) - sum(b is not None for _, b in row[:c])
            for c in range(len(row))
        )
        assert waiting == min(table.in_flight(stage), accumulation)
    for before, after in zip(cells, cells[1:]):
        assert [there for there, _ in before[:-1]] == [there for there, _ in after[1:]]
        assert [back for _, back in before[1:]] == [back for _, back in after[:-1]]


def test_even_stages_are_busy_but_for_the_ramps():
    table = Timetable(4, 32)
    assert table.busy([1.0] * 4, [0.0] * 4) == pytest.approx([32 / 35] * 4)
    # With no backward work the last cycles are empty and take no time.
    assert table.duration([1.0] * 4, [0.0] * 4) == 35
    slow = table.busy([1.0, 2.0, 1.0, 1.0], [2.0, 4.0, 2.0, 2.0])
    assert slow[1] > 0.9 and slow[0] == pytest.approx(slow[1] / 2)


def test_combined_batch():
    batch = CombinedBatch(micro_batch=2, replication=4, accumulation=8, device_iterations=3)
    assert (batch.global_batch, batch.size) == (64, 192)


def test_drawn_in_the_terminal():
    assert drawing.text_lines(Timetable(2, 3), 80) == ["▀▀█▄▄", "·███·"]
    assert drawing.text_lines(Timetable(2, 3), 80, drawing.LETTERS) == ["FFXBB", ".XXX."]


@pytest.mark.parametrize("accumulation", [60, 1000, 123456])
def test_a_long_timetable_fills_the_width_exactly(accumulation):
    table = Timetable(4, accumulation)
    lines = drawing.text_lines(table, 72, drawing.LETTERS)
    assert {len(line) for line in lines} == {min(72, table.cycles)}
    for line in lines if table.cycles > 72 else []:
        hidden = int(line.split(" more")[0].split()[-1])
        assert hidden + sum(line.count(symbol) for symbol in drawing.LETTERS) == table.cycles


def test_the_picture_is_a_png(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "timetable.png"
    drawing.png(Timetable(4, 600), [0, 1, 2, 3], "a step", path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n")
