"""`asrctl prepare nemo`, from manifests to prepared data."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import soundfile

from .test_prepare import noise, opened


def written(path: Path, rows: List[Dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def dataset(folder: Path) -> Dict[str, np.ndarray]:
    """A tarred one of two shards with stretches of long recordings; {id: samples}."""
    heard, rows = {}, []
    folder.mkdir(parents=True)
    for shard in range(2):
        with tarfile.open(str(folder / f"audio_{shard}.tar"), "w") as archive:
            for number in range(5):
                samples, data = noise(4.0, 10 * shard + number), io.BytesIO()
                soundfile.write(data, samples, 16000, format="FLAC")
                info = tarfile.TarInfo(f"{shard}_{number}.flac")
                info.size = len(data.getvalue())
                archive.addfile(info, io.BytesIO(data.getvalue()))
                for part, first_s in enumerate((0.5, 2.0)):
                    name = f"{shard}_{number}{f'-sub{part}' if part else ''}.flac"
                    rows.append({"audio_filepath": name, "text": "word a", "shard_id": shard})
                    rows[-1].update(offset=first_s, duration=1.0)
                    heard[f"{shard}/{name}"] = samples[int(16000 * first_s) :][:16000]
    written(folder / "tarred_audio_manifest.json", rows)
    return heard


def test_a_tarred_dataset_is_prepared(asrctl, tmp_path: Path, workspace: Path) -> None:
    heard = dataset(tmp_path / "tarred")
    planned = asrctl("prepare", tmp_path / "tarred", "--dry-run", "--json")
    assert sum(split["utterances"] for split in planned.result["splits"].values()) == 20 and not workspace.exists()
    asrctl("prepare", tmp_path / "tarred", "--json").succeeded()
    data = opened(workspace)
    found = {item.id: item.pcm for role in data.splits for item in data.split(role)}
    assert found.keys() == heard.keys() and all(np.array_equal(found[name], heard[name]) for name in heard)


def test_manifests_of_another_machine_are_prepared_split_by_split(asrctl, tmp_path: Path) -> None:
    manifests = {}
    for split, count in (("train", 6), ("dev", 2)):
        for number in range(count):
            (tmp_path / "audio").mkdir(exist_ok=True)
            soundfile.write(str(tmp_path / "audio" / f"{split}{number}.wav"), noise(1.0, number), 16000)
        rows = [
            {"audio_filepath": f"/data/audio/{split}{number}.wav", "text": "word", "duration": 1.0}
            for number in range(count)
        ]
        manifests[split] = written(tmp_path / "lists" / f"{split}_manifest.json", rows)
    words = ("prepare", "nemo", "--train", manifests["train"], "--eval", manifests["dev"], "--json")
    failed = asrctl(*words)
    assert failed.exit_code == 5 and "--map /data/audio=" in failed.error["fix"]
    done = asrctl(*words, "--map", f"/data={tmp_path}")
    assert {role: split["utterances"] for role, split in done.result["splits"].items()} == {"train": 6, "eval": 2}
    # How the path was typed does not count.
    typed = (os.path.relpath(str(manifests[split]), str(Path.cwd())) for split in ("train", "dev"))
    words = ("prepare", "nemo", "--train", next(typed), "--eval", next(typed), "--map", f"/data={tmp_path}", "--json")
    again = asrctl(*words)
    assert again.result["id"] == done.result["id"] and not again.result["new"]
    same = asrctl("prepare", "nemo", tmp_path / "lists", "--map", f"/data={tmp_path}", "--json")
    assert {role: split["utterances"] for role, split in same.result["splits"].items()} == {"train": 6, "eval": 2}
