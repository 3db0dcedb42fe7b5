"""`eval --guard` and `train --guard`: what training makes a model forget, beyond chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator, List

import pytest
from safetensors.numpy import load_file, save_file

from ..helpers.program import copy_workspace, run_here
from ..helpers.tones import PRESET

GUARD = ("--guard", "tones")


def words(place: Path, base: Path, run: str, *more: object) -> List[object]:
    start = ("--set", f"model.checkpoint={base}", "--set", "run.eval_every=2", "--run", run)
    return ["train", "--preset", place.parent / "tones.yaml", "--device", "cpu", "--workspace", place, *start, *more]


@pytest.fixture(scope="module")
def place(learned_tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with `learned` and two runs that began as it: one has lost nearly all, one has learned nothing."""
    import yaml

    folder = tmp_path_factory.mktemp("guarded")
    (folder / "tones.yaml").write_text(yaml.safe_dump(PRESET), encoding="utf-8")
    place = copy_workspace(learned_tones, folder / "workspace")
    base = place / "runs" / "learned" / "model"
    hard = ("--set", "optim.learning_rate=0.1", "--set", "optim.warmup_steps=0", "--max-steps", 6)
    done = run_here(*words(place, base, "forgets", *hard, *GUARD, "--json")).succeeded()
    assert (done.result["reason"], done.result["steps"]) == ("guard", 2) and "worse beyond chance" in done.stderr
    soft = ("--set", "optim.learning_rate=1e-9", "--max-steps", 2)
    kept = run_here(*words(place, base, "keeps", *soft, *GUARD, "--json")).succeeded()
    assert (kept.result["reason"], kept.result["steps"]) == ("finished", 2)
    yield place


def test_forgetting_is_found_and_its_figures_told(place: Path, asrctl: Any) -> None:
    failed = asrctl("eval", "--run", "forgets", "--device", "cpu", *GUARD, "--json", "--workspace", place)
    assert failed.exit_code == 8 and "beyond chance" in failed.error["message"]
    (found,) = failed.json["result"]["guard"]
    learned = asrctl("eval", "--run", "learned", "--device", "cpu", "--json", "--workspace", place).succeeded().result
    # The base model's score is an evaluation like any other.
    assert found["before"] == learned["id"] and learned["unchanged"] and not found["passed"]
    difference = found["difference"]
    assert difference["wer_a"] == learned["wer"] and difference["wer_b"] > 0.7 and difference["p"] < 0.05
    passed = asrctl("eval", "--run", "keeps", "--device", "cpu", *GUARD, "--json", "--workspace", place).succeeded()
    assert passed.result["guard"][0]["passed"] and passed.result["gates"][0]["gate"] == "guard:tones"


def test_a_stopped_run_stays_stopped_and_goes_on_without_its_guard(place: Path, asrctl: Any, workspace: Path) -> None:
    copy_workspace(place, workspace)
    again = ("train", "--resume", "--device", "cpu", "--run")
    stays = asrctl(*again, "forgets").succeeded().stdout
    assert "guard set had become worse" in stays and "run.guard=null" in stays
    on = asrctl(*again, "forgets", "--set", "run.guard=null", "--max-steps", 4, "--json").succeeded().result
    assert on["steps"] == 4
    # What was heard before training is what a resumed run goes by.
    before = json.loads((workspace / "runs" / "keeps" / "guard.json").read_text(encoding="utf-8"))
    more = asrctl(*again, "keeps", "--max-steps", 4, "--json").succeeded()
    assert more.result["steps"] == 4 and "step 4: guard tones" in more.stderr
    assert json.loads((workspace / "runs" / "keeps" / "guard.json").read_text(encoding="utf-8")) == before
    log = [json.loads(line) for line in (workspace / "runs/keeps/metrics.jsonl").read_text("utf-8").splitlines()]
    heard = [entry for entry in log if entry["kind"] == "guard"]
    rate = sum(before["errors"]) / sum(before["words"])
    assert [entry["step"] for entry in heard] == [2, 4] and {entry["wer_before"] for entry in heard} == {rate}
    (workspace / "runs" / "keeps" / "guard.json").write_text("{}", encoding="utf-8")
    damaged = asrctl(*again, "keeps", "--max-steps", 6, "--json")
    assert damaged.exit_code == 5 and "run.guard=null" in damaged.error["fix"]


def test_where_a_guard_makes_no_sense_that_is_said(place: Path, asrctl: Any, workspace: Path, tmp_path: Path) -> None:
    copy_workspace(place, workspace)
    model = workspace / "runs" / "learned" / "model"
    nothing = asrctl("eval", "--run", "learned", *GUARD, "--json")
    assert nothing.exit_code == 2 and "from nothing" in nothing.error["message"]
    folder = asrctl("eval", "--model", model, *GUARD, "--json")
    assert folder.exit_code == 2 and "--run" in folder.error["fix"]
    missing = asrctl("eval", "--run", "keeps", "--guard", "tone", "--json")
    assert missing.exit_code == 4 and "tones" in missing.error["fix"]
    scratch = asrctl("train", "--preset", place.parent / "tones.yaml", "--device", "cpu", *GUARD, "--json")
    assert scratch.exit_code == 3 and "nothing to forget" in scratch.error["message"]
    # A base without a head could write nothing.
    headless = tmp_path / "headless"
    headless.mkdir()
    for path in model.iterdir():
        (headless / path.name).write_bytes(path.read_bytes())
    (headless / "SHA256SUMS").unlink()
    weights = load_file(str(headless / "model.safetensors"))
    kept = {name: value for name, value in weights.items() if not name.startswith("lm_head")}
    save_file(kept, str(headless / "model.safetensors"), metadata={"format": "pt"})
    anew = words(place, headless, "anew", "--set", "model.head=reinit", "--max-steps", 1)[:-1]
    anew = [workspace if word == place else word for word in anew]
    refused = asrctl(*anew, 1, *GUARD, "--json")
    assert refused.exit_code == 3 and "new head" in refused.error["message"]
    assert not (workspace / "runs" / "anew" / "model").exists()
    asrctl(*anew, 1).succeeded()
    headed = asrctl("eval", "--run", "anew", "--device", "cpu", *GUARD, "--json")
    assert headed.exit_code == 2 and "no CTC head" in headed.error["message"]
