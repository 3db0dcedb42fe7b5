"""A workspace that asrctl 1cb52f0 made is used as it is: tones, a small run, its evaluation, its export.

It was made from six recordings of sines by `prepare manifest`, `train --max-steps 4`, `eval` and `export --format hf`;
what may be deleted at any time (cache, locks, curves) was left out.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from asrctl.commands.evaluation_files import read_metrics
from asrctl.data.summary import PreparedSummary
from asrctl.storage import records
from asrctl.storage.workspace import Artifact
from asrctl.training.checkpoints import open_checkpoint
from asrctl.training.runs import Run

from ..helpers.program import run_here

EARLIER = Path(__file__).resolve().parent / "workspace"


@pytest.fixture
def earlier(workspace: Path) -> Path:
    shutil.copytree(str(EARLIER), str(workspace))
    return workspace


def written(values: Any) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False)


def the_one(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_status_tells_what_is_there(earlier: Path) -> None:
    found = run_here("status", "--json").result
    told = {item["stage"]: (item["name"], item["state"], item["details"]) for item in found["items"]}
    name, state, details = told["prepare"]
    assert (name, state, details["id"]) == ("tones", "stale", the_one(EARLIER / "prepared").name)
    assert details["splits"]["train"]["reasons"] == {"no-audio": 1}
    best = {"step": 4, "wer": 1.5}
    assert told["train"] == (
        "first", "complete", {"steps": 4, "total_steps": 4, "best": best, "device": "cpu", "preset": "tones"},
    )  # fmt: skip
    assert told["eval"][:2] == told["export"][:2] == ("first", "done")


def test_what_was_evaluated_is_not_evaluated_again(earlier: Path) -> None:
    done = run_here("eval", "--device", "cpu", "--worst", "2", "--json").result
    stored = json.loads((the_one(EARLIER / "evals") / "metrics.json").read_text())
    assert done["unchanged"] and done["id"] == the_one(EARLIER / "evals").name
    assert (done["model"]["digest"], done["data"]["id"]) == (stored.pop("model"), stored.pop("data"))
    assert {key: done[key] for key in stored} == stored
    assert (done["raw"], done["normalized"]) == (None, None) and "eval --force" in done["raw_missing"]


def test_the_run_goes_on_and_is_evaluated_and_exported(earlier: Path, tmp_path: Path) -> None:
    done = run_here("train", "--resume", "--device", "cpu", "--max-steps", "6", "--json").result
    assert (done["steps"], done["new"]) == (6, True)
    info = json.loads((earlier / "runs" / "first" / "run.json").read_text())
    before = json.loads((EARLIER / "runs" / "first" / "run.json").read_text())
    assert info["command"] == before["command"] and info["seconds"] >= before["seconds"]
    made = run_here("eval", "--device", "cpu", "--force", "--json").result
    assert made["utterances"] == 2 and not made["unchanged"]
    assert made["raw"] is None and "does not hold the texts" in made["raw_missing"]
    assert made["normalized"]["words"] == made["words"]
    exported = run_here("export", "--format", "hf", "--output", tmp_path / "out", "--json").result
    assert exported["verified"]["transcripts_equal"] == 2 and (tmp_path / "out" / "model.safetensors").exists()
    states = {item["stage"]: item["state"] for item in run_here("status", "--json").result["items"]}
    assert states["train"] == "complete"


def test_records_are_written_as_they_were_read(earlier: Path) -> None:
    """Byte for byte, so that what asrctl rewrites keeps what an earlier one wrote."""
    meta = json.loads((the_one(EARLIER / "prepared") / "meta.json").read_text())
    summary = records.read(PreparedSummary, meta["summary"], "", fix="")
    assert written(dict(meta, summary=records.as_dict(summary))) == written(meta)
    state = json.loads((the_one(EARLIER / "runs" / "first" / "checkpoints") / "state.json").read_text())
    kept = open_checkpoint(the_one(earlier / "runs" / "first" / "checkpoints"))
    assert kept.state.pace is None  # which 1cb52f0 left out
    known = {key: value for key, value in records.as_dict(kept.state).items() if key != "pace"}
    assert written(dict(known, files=kept.files, digest=state["digest"])) == written(state)
    evaluated = the_one(EARLIER / "evals") / "metrics.json"
    found = read_metrics(Artifact("evals", "", evaluated.parent, {}))
    assert written(records.as_dict(found)) + "\n" == evaluated.read_text(encoding="utf-8")
    run = Run(earlier / "runs" / "first")
    run.write(run.info())
    assert (run.folder / "run.json").read_bytes() == (EARLIER / "runs" / "first" / "run.json").read_bytes()
