"""Manifests of lhotse from the command line to prepared speech: stretches and channels of a long recording."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Callable

import numpy as np
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
