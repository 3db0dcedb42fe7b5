"""LJ Speech, Multilingual LibriSpeech and AN4 from the command line to prepared speech."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
import soundfile

Run = Callable[..., Any]


def tone(path: Path, number: int, **form: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), 0.3 * np.sin(np.arange(16000) * (0.05 + 0.01 * number)), 16000, **form)


def ljspeech(folder: Path) -> Path:
    for number in range(12):
        tone(folder / "wavs" / f"LJ001-{number:04d}.wav", number)
    lines = "".join(f"LJ001-{number:04d}|{number}|word\n" for number in range(12))
    (folder / "metadata.csv").write_text(lines)
    return folder


def mls(folder: Path) -> Path:
    for split, names in {"train": ["1_2_0", "1_2_1"], "dev": ["3_4_0"], "test": ["5_6_0"]}.items():
        for number, name in enumerate(names):
            speaker, book, _ = name.split("_")
            tone(folder / split / "audio" / speaker / book / f"{name}.opus", number, format="OGG", subtype="OPUS")
        (folder / split / "transcripts.txt").write_text("".join(f"{name}\tword\n" for name in names))
    return folder


def an4(folder: Path) -> Path:
    (folder / "etc").mkdir(parents=True)
    for split, count in (("train", 12), ("test", 1)):
        names = [f"an{number}-s{number}-b" for number in range(count)]
        for number, name in enumerate(names):
            tone(folder / "wav" / split / f"s{number}" / f"{name}.sph", number + 20 * (split == "test"), format="NIST")
        lines = "".join(f"<s> WORD </s> ({name}{split[1]})\n" for name in names)
        for number, name in enumerate(names):
            path = folder / "wav" / split / f"s{number}" / f"{name}.sph"
            path.rename(path.with_name(f"{name}{split[1]}.sph"))
        (folder / "etc" / f"an4_{split}.transcription").write_text(lines)
    return folder


@pytest.mark.parametrize(
    "write, splits",
    [
        (ljspeech, {"train": 11, "eval": 1}),
        (mls, {"train": 2, "eval": 1, "test": 1}),
        (an4, {"train": 11, "eval": 1, "test": 1}),
    ],
)
def test_it_is_recognized_and_prepared(asrctl: Run, tmp_path: Path, workspace: Path, write: Any, splits: Any) -> None:
    folder = write(tmp_path / "corpus")
    planned = asrctl("prepare", folder, "--dry-run", "--json")
    assert f"is read as a corpus of kind {write.__name__}" in planned.stderr and not workspace.exists()
    assert {name: split["utterances"] for name, split in planned.result["splits"].items()} == splits
    done = asrctl("prepare", write.__name__, folder, "--json").result
    assert {name: split["utterances"] for name, split in done["splits"].items()} == splits
    assert all(not split["rejected"] for split in done["splits"].values())
    asrctl("vocab", write.__name__, folder).succeeded()
