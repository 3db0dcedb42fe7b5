"""Common Voice from the command line: MP3 clips to prepared speech, whose speakers lead nowhere."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
import soundfile

Run = Callable[..., Any]
CLIENT = "c0ffee" * 20


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release of one language: three clips to train on, of which one is missing, and one each for dev and test."""
    folder = tmp_path / "cv-corpus-17.0-2024-03-15" / "cy"
    (folder / "clips").mkdir(parents=True)
    number = 0
    for split, count in (("train", 3), ("dev", 1), ("test", 1)):
        lines = ["client_id\tpath\tsentence_id\tsentence\tlocale\tsegment"]
        for _ in range(count):
            number += 1
            name = f"common_voice_cy_{number}.mp3"
            time = np.arange(48000) / 48000
            if number != 3:
                sound = 0.3 * np.sin(2 * np.pi * (300 + 50 * number) * time)
                soundfile.write(str(folder / "clips" / name), sound, 48000, format="MP3")
            lines.append(f'{CLIENT}{split}\t{name}\tid{number}\tmae "hi\tcy\t')
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder.parent


def test_a_release_and_its_archive_are_prepared(asrctl: Run, release: Path, workspace: Path) -> None:
    planned = asrctl("prepare", "commonvoice", release, "--dry-run", "--json").result
    assert {name: split["utterances"] for name, split in planned["splits"].items()} == {
        "train": 3,
        "eval": 1,
        "test": 1,
    }
    assert not workspace.exists()
    refused = asrctl("prepare", "commonvoice", release, "--json")
    assert refused.exit_code == 5 and "lacks clips that its tables name" in refused.error["fix"]
    options = ("--remove", '"', "--max-rejects", 0.3, "--json")
    folder = asrctl("prepare", "commonvoice", release, *options).result
    assert {name: split["utterances"] for name, split in folder["splits"].items()} == {"train": 2, "eval": 1, "test": 1}
    archive = release.with_name(f"{release.name}-cy.tar.gz")
    with tarfile.open(str(archive), "w:gz") as tar:
        tar.add(str(release), release.name)
    packed = asrctl("prepare", archive, *options, "--name", "packed").result
    assert packed["splits"] == folder["splits"]
    for path in workspace.rglob("*"):
        assert not path.is_file() or CLIENT.encode() not in path.read_bytes()


def test_labels_last_as_long_as_the_workspace(asrctl: Run, release: Path, workspace: Path, tmp_path: Path) -> None:
    command = ("prepare", "commonvoice", release, "--max-rejects", 0.3, "--json")
    first = asrctl(*command).result["id"]
    asrctl("clean", "--yes").succeeded()
    assert asrctl(*command).result["id"] == first
    other = asrctl(*command, "--workspace", tmp_path / "other").result["id"]
    assert other != first
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "salt.json").write_bytes((workspace / "salt.json").read_bytes())
    assert asrctl(*command, "--workspace", tmp_path / "third").result["id"] == first
    (workspace / "salt.json").write_text(json.dumps({"salt": "00"}))
    damaged = asrctl(*command)
    assert damaged.exit_code == 5 and "salt.json is damaged" in damaged.error["message"]


def test_a_clip_as_they_are_published_is_decoded(asrctl: Run, speech: Path, tmp_path: Path) -> None:
    clip = speech / "formats" / "common_voice_en_651325.mp3"
    if not clip.is_file():
        pytest.skip("no clip of Common Voice here")
    folder = tmp_path / "en"
    (folder / "clips").mkdir(parents=True)
    (folder / "clips" / clip.name).write_bytes(clip.read_bytes())
    (folder / "test.tsv").write_text(f"client_id\tpath\tsentence\n{CLIENT}\t{clip.name}\tsome words\n")
    done = asrctl("prepare", "commonvoice", folder, "--test", "test", "--json").result
    assert done["splits"]["test"]["utterances"] == 1 and done["splits"]["test"]["seconds"] > 1
