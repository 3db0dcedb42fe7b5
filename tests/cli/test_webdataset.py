"""WebDataset from the command line to prepared speech, with a shard that was cut in half."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np
import pytest
import soundfile

Run = Callable[..., Any]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards to train on and one for evaluation, of four recordings each."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for at, name in enumerate(("train-000000", "train-000001", "dev-000000")):
        with tarfile.open(str(folder / f"{name}.tar"), "w") as tar:
            for number in range(4):
                sound = io.BytesIO()
                tone = 0.3 * np.sin(np.arange(16000) * (0.05 + 0.01 * number + 0.001 * at))
                soundfile.write(sound, tone, 16000, format="FLAC")
                text = json.dumps({"text": "a word"}).encode()
                for ending, data in (("flac", sound.getvalue()), ("json", text)):
                    info = tarfile.TarInfo(f"{number:03d}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return folder


def counts(result: Dict[str, Any]) -> Dict[str, int]:
    return {name: split["utterances"] for name, split in result["splits"].items()}


def test_a_folder_of_shards_is_recognized_and_prepared(asrctl: Run, shards: Path, workspace: Path) -> None:
    planned = asrctl("prepare", shards, "--dry-run", "--json")
    assert "is read as a corpus of kind webdataset" in planned.stderr and not workspace.exists()
    assert counts(planned.result) == {"train": 8, "eval": 4}
    assert counts(asrctl("prepare", shards, "--json").result) == {"train": 8, "eval": 4}
    pattern = f"{shards}/train-{{000000..000001}}.tar"
    assert counts(asrctl("prepare", "webdataset", pattern, "--name", "p", "--json").result) == {"train": 7, "eval": 1}
    items = asrctl("status", "--json").result["items"]
    assert {item["state"] for item in items if item["stage"] == "prepare"} <= {"done", "ok", "current"}


def test_a_shard_cut_in_half_is_told_and_the_rest_goes_on(asrctl: Run, shards: Path) -> None:
    whole = (shards / "train-000001.tar").read_bytes()
    (shards / "train-000001.tar").write_bytes(whole[: len(whole) // 3])
    refused = asrctl("prepare", "webdataset", shards, "--json")
    assert refused.exit_code == 5 and "fetch the shard again" in refused.error["fix"]
    done = asrctl("prepare", "webdataset", shards, "--max-rejects", 0.2, "--json")
    assert counts(done.result)["eval"] == 4 and 4 <= counts(done.result)["train"] < 8
    assert "shard is damaged" in done.stderr and sum(s["rejected"] for s in done.result["splits"].values()) == 1
