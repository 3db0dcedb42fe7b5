"""Recordings whose samples can not be speech as they stand: what `prepare` says, leaves out and keeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

from ..helpers.corpora import corpus, noise, opened, outcomes, plain_rows


def odd_corpus(folder: Path) -> Path:
    """16 honest recordings, 2 whose channels cancel, 1 in another scale, 1 without a sound."""
    path = corpus(folder, plain_rows(20))
    for number, samples in enumerate((noise(1.0), noise(1.0, 1))):
        against = np.stack([samples, -samples], axis=1)
        soundfile.write(str(folder / f"train{number}.wav"), against, 16000)
    soundfile.write(str(folder / "train2.wav"), noise(1.0, 2).astype(np.float32), 16000, subtype="FLOAT")
    soundfile.write(str(folder / "train3.wav"), np.zeros(16000, np.int16), 16000)
    return path


def test_what_is_not_taken_as_it_stands_is_told(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = odd_corpus(tmp_path / "corpus")
    failed = asrctl("prepare", "manifest", path, "--max-rejects", 0, "--json")
    assert failed.exit_code == 5 and failed.error["problems"][0].startswith("1 x silent")

    done = asrctl("prepare", "manifest", path, "--json")  # goes on where the first one stopped
    assert done.result["splits"]["train"]["remarks"] == {"one-channel": 2, "scaled": 1}
    assert done.stderr.count("warning: train: ") == 2
    assert "train: 2 x one-channel, such as" in done.stderr and "(channel 1 of 2)" in done.stderr
    assert "train: 1 x scaled, such as" in done.stderr and "train2.wav (divided by 32768)" in done.stderr
    assert "remarks" not in done.result["splits"]["eval"]

    data = opened(workspace)
    assert {name: why for name, why in outcomes(data).items() if why != "prepared"} == {"train3.wav": "silent"}
    found = {item.id: item.pcm for item in data.split("train")}
    for number in range(3):
        assert np.array_equal(found[f"train{number}.wav"], noise(1.0, number))
    lines = (data.artifact.path / "train" / "remarks.jsonl").read_text(encoding="utf-8").splitlines()
    assert [(json.loads(line)["id"], json.loads(line)["remark"]) for line in lines] == [
        ("train0.wav", "one-channel"),
        ("train1.wav", "one-channel"),
        ("train2.wav", "scaled"),
    ]
    again = asrctl("prepare", "manifest", path, "--json")
    assert not again.result["new"] and "2 x one-channel" in again.stderr


def test_of_honest_recordings_nothing_is_remarked(asrctl, tmp_path: Path, workspace: Path) -> None:
    done = asrctl("prepare", "manifest", corpus(tmp_path / "corpus", plain_rows(20)), "--json")
    assert "remarks" not in done.result["splits"]["train"] and "warning" not in done.stderr
    assert not list(opened(workspace).artifact.path.rglob("remarks.jsonl"))
