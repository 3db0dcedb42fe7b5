"""Manifests of lhotse from the command line to prepared speech: stretches and channels of a long recording."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
import soundfile

Run = Callable[..., Any]


def test_recordings_with_supervisions_are_recognized_and_prepared(asrctl: Run, tmp_path: Path, workspace: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    time = np.arange(16000 * 20)
    soundfile.write(str(folder / "long.wav"), 0.3 * np.stack([np.sin(time * 0.1), np.sin(time * 0.2)], 1), 16000)
    source = {"type": "file", "channels": [0, 1], "source": "long.wav"}
    recording = {"id": "long", "sources": [source], "sampling_rate": 16000, "num_samples": len(time), "duration": 20.0}
    for split, count in (("train", 8), ("dev", 2)):
        supervisions = [
            {
                "id": f"{split}-{number}",
                "recording_id": "long",
                "start": number * 2.0 + (split == "dev"),
                "duration": 1.0,
                "channel": number % 2,
                "text": "a word",
                "speaker": f"s{number % 2}",
            }
            for number in range(count)
        ]
        for kind, values in (("recordings", [recording]), ("supervisions", supervisions)):
            with gzip.open(str(folder / f"calls_{kind}_{split}.jsonl.gz"), "wt") as stream:
                stream.writelines(json.dumps(one) + "\n" for one in values)
    planned = asrctl("prepare", folder, "--dry-run", "--json")
    assert "is read as a corpus of kind lhotse" in planned.stderr and not workspace.exists()
    done = asrctl("prepare", "lhotse", folder, "--json").result
    found = {name: (split["utterances"], split["seconds"]) for name, split in done["splits"].items()}
    assert found == {"train": (8, 8.0), "eval": (2, 2.0)}


def _yes_and_no(folder: Path) -> None:
    """As the corpus yesno: 60 files called after what is said."""
    folder.mkdir()
    for number in range(60):
        said = "_".join(f"{number:08b}")
        soundfile.write(str(folder / f"{said}.wav"), 0.3 * np.sin(np.arange(8000) * (0.1 + number / 200)), 8000)


def test_a_corpus_is_read_by_a_recipe_of_lhotse(asrctl: Run, tmp_path: Path) -> None:
    pytest.importorskip("lhotse", reason="needs lhotse (pip install 'asrctl[lhotse]')")
    _yes_and_no(tmp_path / "yesno")
    done = asrctl("prepare", "lhotse:yesno", tmp_path / "yesno", "--eval", "test", "--json")
    found = done.result
    assert {split: one["utterances"] for split, one in found["splits"].items()} == {"train": 30, "eval": 30}
    assert (
        asrctl("prepare", "lhotse", tmp_path / "yesno", "--recipe", "yesno", "--eval", "test", "--json").result["id"]
        == found["id"]
    ), "the same by the option"

    wrong = asrctl("prepare", "lhotse:yesn", tmp_path / "yesno", "--json").error
    assert "did you mean yesno?" in wrong["fix"]
    (tmp_path / "yesno" / "0_0_0_0_0_0_0_0.wav").unlink()
    wrong = asrctl("prepare", "lhotse:yesno", tmp_path / "yesno", "--name", "other", "--json").error
    assert "lhotse's recipe yesno can not read" in wrong["message"] and "AssertionError" in wrong["message"]
    wrong = asrctl("prepare", "lhotse:broadcast_news", tmp_path, "--json").error
    assert wrong["fix"] == "add --recipe-option transcripts_dir=..."
    wrong = asrctl("prepare", "lhotse:yesno", tmp_path, "--recipe", "timit", "--json").error
    assert "contradict each other" in wrong["message"]


def test_without_lhotse_its_package_is_named(asrctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lhotse", None)
    wrong = asrctl("prepare", "lhotse:yesno", tmp_path, "--json").error
    assert "recipes need lhotse" in wrong["message"] and "asrctl[lhotse]" in wrong["fix"]
