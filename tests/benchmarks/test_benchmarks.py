"""The benchmarks run, on a tiny model and few utterances, so that they do not rot."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from asrctl.runtime import devices
from benchmarks import machine, material, overview, profile_step, report, rows, run, stock
from benchmarks.stock import parse

from ..helpers.tones import write_corpus


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    manifest = write_corpus(folder / "corpus", train=16, held_out=3)
    return folder / "work", manifest


def call(tones, *options):
    pytest.importorskip("accelerate", reason="the stock recipe's Trainer needs accelerate (the extra `bench`)")
    work, manifest = tones
    results = work.with_name("results.json")
    small = ("--geometry", "tiny", "--device", "cpu", "--rounds", "2", "--steps", "1", "--epochs", "2")
    where = ("--work", str(work), "--results", str(results))
    run.main(["manifest", str(manifest), *where, *small, *options])
    return {found["name"]: found for found in json.loads(results.read_text())["rows"]}


@pytest.mark.slow
def test_training_in_turns_gives_a_row_with_every_round(tones, capsys):
    found = call(tones, "--only", "train", "--batch", "2", "--loaders", "1")["training without the cache"]
    assert len(found["stock_rounds"]) == len(found["asrctl_rounds"]) == 2
    assert found["low"] <= found["high"]
    assert found["ratio"] == pytest.approx(found["asrctl"] / found["stock"])
    assert found["padding"]["stock"] >= 1.0
    assert (found["how"]["batch"], found["how"]["loaders"]) == (2, 1)
    assert found["how"]["precision"] == ("bf16" if devices.cpu_has_bf16() else "fp32")
    assert "| training without the cache | audio-s/s |" in capsys.readouterr().out


@pytest.mark.slow
def test_the_stock_recipe_draws_from_a_corpus_of_the_usual_length(tones):
    call(tones, "--only", "help")
    data = stock.load_data(tones[0] / "stock-arrow")
    pool = stock.load_data(tones[0] / "stock-arrow", 1.1)
    assert sum(pool["input_length"]) >= 1.1 * 3600 * stock.SAMPLE_RATE > sum(data["input_length"])
    assert pool["id"][: len(data)] == pool["id"][len(data) : 2 * len(data)]


def test_hypotheses_of_a_text_that_was_said_in_two_ways_are_not_compared():
    exact = {"pairs": [["one", "one"], ["one", "one"], ["two", "two"], ["two", "too"]]}
    other = {"pairs": [["one", "on"], ["one", "on"], ["two", "too"], ["two", "two"]]}
    assert rows.disagreement(exact, other) == {"cer": pytest.approx(1 / 3), "wer": 1.0}


@pytest.mark.slow
def test_every_measurement_runs(tones):
    found = call(tones, "--only", "epochs,eval,prepare,help", "--prepare-hours", "0.02", "--hours", "0.02")
    assert {"training, features cached", "2 epochs, cache built", "evaluation", "prepare, 2 workers", "disk"} <= set(
        found
    )
    assert found["disk"]["ratio"] > 1.8
    assert all(min(one["stock_rounds"] + one["asrctl_rounds"]) > 0 for one in found.values())


def test_a_profile_says_where_a_step_goes(tones, capsys, workspace):
    work, manifest = tones
    corpus = material.Corpus("manifest", manifest, ())
    material.asrctl("prepare", corpus.kind, corpus.source, "--name", material.DATA, "--workspace", workspace)
    model = material.ensure_model(workspace, workspace.parent, "tiny")
    found = profile_step.record(workspace, model, (), warm=1, steps=1)
    assert {"transformer", "loss", "backward", "optimizer"} <= set(found["parts"])
    assert found["kinds"]["products"] > 0
    assert found["audio_s_per_s"] > 0
    profile_step.show(dict(found, rates_tflops=machine.matrix_rates(rows=8, seconds=0.0)), 1)
    assert "backward: " in capsys.readouterr().out


def test_rows_of_an_earlier_call_stay_in_the_table(tmp_path):
    path = tmp_path / "results" / "base.json"
    first = rows.row("training", "audio-s/s", [10.0, 12.0, 11.0], [20.0, 36.0, 22.0], 2.0)
    second = rows.inverse("prepare", "s", [9.0], [3.0], 3.0)
    report.store(path, {"cores": 2}, {"rounds": 3}, [first])
    report.store(path, {"cores": 2}, {"rounds": 1}, [second])
    merged = report.store(path, {"cores": 2}, {"rounds": 3}, [dict(first, ratio=2.5)])
    assert [(one["name"], one["ratio"]) for one in merged] == [("training", 2.5), ("prepare", 3.0)]
    assert report.table(merged).splitlines()[2:] == [
        "| training | audio-s/s | 11 | 22 | 2.50 | 2.00 - 3.00 (3) | 2 |",
        "| prepare | s | 9 | 3 | 3.00 | one run | 3 |",
    ]


def test_a_table_holds_one_machine(tmp_path):
    path = tmp_path / "base.json"
    mine, other = {"processor": "A", "cores": 2}, {"processor": "B", "cores": 2}
    report.refuse_another_machine(path, mine)
    report.store(path, mine, {}, [rows.row("training", "audio-s/s", [10.0], [20.0], 2.0)])
    report.refuse_another_machine(path, mine)
    with pytest.raises(SystemExit, match=r"another machine \(processor A, here B\).*--results"):
        report.refuse_another_machine(path, other)


def test_each_machine_has_a_file_of_its_own(tmp_path):
    one, two, third = ({"processor": name, "cores": 2} for name in ("A", "B (R) 2", "C"))
    first = report.file_of(tmp_path, "base-cpu", one)
    assert first == tmp_path / "base-cpu.json"
    report.store(first, one, {}, [])
    second = report.file_of(tmp_path, "base-cpu", two)
    assert second == tmp_path / "base-cpu-b-r-2-2-cores.json"
    report.store(second, two, {}, [])
    named = tmp_path / "base-cpu-by-hand.json"
    report.store(named, third, {}, [])
    assert [report.file_of(tmp_path, "base-cpu", machine) for machine in (one, two, third)] == [first, second, named]
    on_gpu = report.file_of(tmp_path, "base-cpu", dict(one, gpu="NVIDIA X"))
    assert on_gpu == tmp_path / "base-cpu-nvidia-x-2-cores.json"


def test_turns_cover_an_epoch():
    assert rows.cut(25, 8) == [8, 8, 9]
    assert rows.cut(2, 8) == [2]
    assert sum(rows.cut(24, 9)) == 24


def test_operators_are_told_apart_by_what_called_them():
    def event(name, parent=None):
        return SimpleNamespace(name=name, cpu_parent=parent)

    forward = event("part::forward")
    backward = event("autograd::engine::evaluate_function: MmBackward0", forward)
    assert profile_step.part_of(event("aten::mm", event("aten::linear", forward))) == "forward"
    assert profile_step.part_of(event("aten::mm", backward)) == "backward"
    assert profile_step.part_of(event("aten::_fused_adamw_", event("Optimizer.step#AdamW.step"))) == "optimizer"
    assert profile_step.part_of(event("aten::zeros")) == "rest"
    assert profile_step.kind_of("aten::addmm") == "products"
    assert profile_step.kind_of("aten::convolution_backward") == "convolution"


def test_the_floor_is_that_of_the_faster_precision():
    def rates(precision, tflops):
        return {f"{precision}_{kind}": tflops for kind in ("forward", "input_gradient", "weight_gradient")}

    fp32, slow, fast = rates("fp32", 0.2), rates("bf16", 0.1), rates("bf16", 2.0)
    without, with_bf16 = (profile_step.floor("base", {**fp32, **bf16}) for bf16 in (slow, fast))
    assert without["training, features cached"] == pytest.approx(200 / (3 * machine.FORWARD_GFLOP["base"]))
    assert with_bf16["evaluation"] == pytest.approx(10 * without["evaluation"])


def test_the_stock_recipe_is_as_documented_unless_asked():
    options = parse(["train", "--data", "arrow", "--model", "model"])
    assert (options.batch, options.eval_batch, options.dropout) == (4, 8, 0.0)
    assert not (options.bf16 or options.grouped or options.unfrozen)


def test_the_time_of_epochs_is_that_of_their_audio_and_not_of_as_many_steps():
    first = {"seconds": 10.0, "audio_s": 20.0}
    steps = [{"seconds": 4.0, "audio_s": 40.0}, {"seconds": 2.0, "audio_s": 20.0}]
    assert rows.whole_s(first, steps, audio_s=80.0) == pytest.approx(16.0), "the steps are the epochs"
    assert rows.whole_s(first, steps, audio_s=60.0) == pytest.approx(14.0), "the steps hold more"
    assert rows.whole_s(first, steps[:1], audio_s=80.0) == pytest.approx(16.0), "the steps are a part"


def test_the_docs_show_the_ratios_that_the_results_hold():
    told = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert overview.table() in told, "python -m benchmarks.overview makes the table anew"


def test_a_ratio_just_below_what_was_to_be_reached_is_not_rounded_up_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(overview, "MACHINES", {"one": "one machine"})
    monkeypatch.setattr(overview, "ROWS", {"disk": "disk", "epochs, cache built": "epochs"})
    epochs = {"name": "2 epochs, cache built", "ratio": 1.9, "target": 1.7}
    found = [{"name": "disk", "ratio": 1.9988, "target": 2.0}, epochs]
    (tmp_path / "one.json").write_text(json.dumps({"rows": found}))
    assert overview.table(tmp_path).splitlines()[2:] == [
        "| disk | 1.9988 (missed) | 2 |",
        "| epochs | 1.90 (2 epochs) | 1.7 |",
    ]
