"""The very same recording in two splits is told, whoever has made the splits."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Dict, List

import pytest

from ..helpers.corpora import corpus, plain_rows


def with_copies(folder: Path) -> Path:
    """20 recordings; five of them again in test, two in dev, of which one is in test as well."""
    rows = plain_rows(20)
    corpus(folder, [dict(row) for row in rows])
    for split, numbers in (("test", range(5)), ("dev", range(4, 6))):
        for number in numbers:
            shutil.copy(str(folder / f"train{number}.wav"), str(folder / f"{split}{number}.wav"))
            rows.append({"path": f"{split}{number}.wav", "text": "word a", "split": split})
    return corpus(folder, rows)


def warnings(done: Any) -> List[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("warning: ")]


def test_copies_across_splits_are_told(asrctl, tmp_path: Path) -> None:
    path = with_copies(tmp_path / "corpus")
    for _ in range(2):
        done = asrctl("prepare", "manifest", path, "--json")
        assert done.result["copies"] == {"train test": 5, "train eval": 2, "eval test": 1}
        told = "\n".join(warnings(done))
        assert "5 recordings of test are in train too, such as test0.wav as train0.wav" in told
        assert "2 recordings of eval are in train too" in told and "a recording of test is in eval too" in told


def test_copies_that_a_hold_out_parts_are_told(asrctl, tmp_path: Path) -> None:
    rows = plain_rows(1)
    corpus(tmp_path / "corpus", [dict(row) for row in rows])
    for number in range(1, 20):
        shutil.copy(str(tmp_path / "corpus" / "train0.wav"), str(tmp_path / "corpus" / f"train{number}.wav"))
    done = asrctl("prepare", "manifest", corpus(tmp_path / "corpus", plain_rows(20)), "--json")
    assert done.result["copies"] == {"train eval": 2}


@pytest.mark.parametrize(
    ("train", "test", "copies"),
    [
        ({"start": 0.0, "end": 1.0}, {"start": 1.0, "end": 2.0}, False),
        ({"start": 0.0, "end": 1.1}, {"start": 1.0, "end": 2.0}, False),
        ({"start": 0.0, "end": 1.0}, {"start": 0.1, "end": 0.9}, True),
        ({}, {"start": 1.0, "end": 2.0}, True),
        ({"start": 1.0}, {"start": 0.0, "end": 1.0}, False),
        ({"start": 1.0}, {"start": 1.5}, True),
    ],
)
def test_stretches_are_copies_where_they_share_speech(
    asrctl, tmp_path: Path, train: Dict[str, float], test: Dict[str, float], copies: bool
) -> None:
    rows = [dict(row, split="train") for row in plain_rows(4)]
    rows.append({"path": "long.wav", "id": "a", "text": "word", "split": "train", "seconds": 3.0, **train})
    rows.append({"path": "long.wav", "id": "b", "text": "word", "split": "test", **test})
    done = asrctl("prepare", "manifest", corpus(tmp_path / "corpus", rows), "--max-s", 4, "--json")
    assert done.result["copies"] == ({"train test": 1} if copies else {})
    assert bool(warnings(done)) == copies
