"""`asrctl eval --calibrate`, on tones that a model has learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest

from asrctl.evaluation.calibration import Calibration
from tests.helpers.tones import write_corpus

EVAL = ("eval", "--run", "learned", "--data", "more", "--device", "cpu", "--json")


@pytest.fixture
def tones(tones: Path, asrctl: Any, tmp_path: Path) -> Path:
    """With data of which enough words are heard wrong."""
    manifest = write_corpus(tmp_path / "more", train=30, held_out=40, seed=9)
    asrctl("prepare", "manifest", manifest, "--name", "more").succeeded()
    return tones


def rows(result: Dict[str, Any]) -> List[Dict[str, Any]]:
    text = Path(result["hypotheses"]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_confidences_are_calibrated_on_the_eval_split_for_others(tones: Path, asrctl: Any) -> None:
    plain = asrctl(*EVAL).result
    for row in rows(plain):
        assert len(row["confidence"]) == len(row["hypothesis"].split())
        assert all(0 <= value <= 1 for value in row["confidence"])
    scores = json.loads(Path(plain["report"]).read_text(encoding="utf-8"))["metrics"]["confidence"]["raw"]
    assert (
        plain["confidence"]["raw"]["error"] == scores["error"] <= 1
        and sum(one["words"] for one in scores["bins"]) == scores["words"]
    )
    assert "calibrated" not in plain["confidence"] and "Confidence" in Path(plain["page"]).read_text(encoding="utf-8")
    before = asrctl(*EVAL, "--split", "train").result
    learned = asrctl(*EVAL, "--calibrate", "--split", "train").succeeded().result
    kept = learned["calibrated"]
    assert kept["before"]["words"] == kept["calibration"]["words"] == scores["words"]
    assert kept["after"]["error"] <= kept["before"]["error"] + 0.02
    assert learned["id"] != before["id"] and learned["wer"] == before["wer"]
    assert learned["confidence"]["raw"] == before["confidence"]["raw"]
    assert learned["confidence"]["calibrated"]["error"] != learned["confidence"]["raw"]["error"]
    assert rows(learned)[0]["confidence"] != rows(before)[0]["confidence"]
    assert "Calibrated" in Path(learned["page"]).read_text(encoding="utf-8")
    assert asrctl(*EVAL).result["id"] == plain["id"], "it was learned from these words"
    assert asrctl(*EVAL, "--split", "train").result["id"] == learned["id"]
    shown = asrctl(*EVAL[:-1], "--split", "train").succeeded().stdout
    assert "confidence: calibration error" in shown and "before calibration" in shown
    other = asrctl(*EVAL, "--split", "train", "--decoder", "beam", "--beam-width", 4).result
    assert "calibrated" not in other["confidence"], "another decoder, another calibration"


def words_of(done: Any) -> Tuple[bool, List[float]]:
    (found,) = [json.loads(line) for line in done.succeeded().stdout.splitlines()]
    assert all(word["confidence"] > 0 for word in found["words"])
    return found["calibrated"], [word["confidence"] for word in found["words"]]


def test_what_is_kept_calibrates_transcripts_too(tones: Path, asrctl: Any, tmp_path: Path) -> None:
    recording = sorted((tmp_path / "more").rglob("*.wav"))[0]
    command = ("transcribe", recording, "--run", "learned", "--device", "cpu", "--format", "json")
    folder = ("transcribe", recording.parent, "--run", "learned", "--device", "cpu", "--output", f"{tmp_path}/out/")
    before = asrctl(*command)
    assert "the model's own; calibrated ones take: asrctl eval --run learned --calibrate" in before.stderr
    is_calibrated, own = words_of(before)
    assert not is_calibrated
    asrctl(*folder, "--format", "ctm").succeeded()
    kept = asrctl(*EVAL, "--calibrate").succeeded().result["calibrated"]["calibration"]
    after = asrctl(*command)
    assert f"calibrated on {kept['words']} words" in after.stderr
    is_calibrated, found = words_of(after)
    assert is_calibrated and found != own
    wanted = Calibration(**kept).apply(np.array(own))
    assert np.allclose(found, wanted, atol=0.002)
    refused = asrctl(*folder, "--format", "ctm", "--json")
    assert refused.exit_code == 2 and "calibration" in refused.error["message"]


def test_what_can_not_be_calibrated_is_told(tones: Path, asrctl: Any) -> None:
    model = tones / "runs" / "learned" / "model"
    refused = asrctl("eval", "--model", model, "--device", "cpu", "--calibrate", "--json")
    assert refused.exit_code == 2 and "--run" in refused.error["fix"]
    (tones / "runs" / "learned" / "confidence.json").write_text("{", encoding="utf-8")
    refused = asrctl(*EVAL)
    assert refused.exit_code == 5 and "confidence.json" in refused.error["message"]
    assert "--calibrate" in refused.error["fix"]
    assert asrctl(*EVAL, "--calibrate").succeeded().result["calibrated"], "what it says to type mends it"
