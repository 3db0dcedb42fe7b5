"""`asrctl prepare` on corpora as other programs, systems and habits leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import soundfile

from asrctl.prepared import PreparedData
from asrctl.workspace import Workspace


def noise(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3000, 3000, int(seconds * 16000), dtype=np.int16)


def recordings(folder: Path, count: int, suffix: str = ".wav", transcript: str = ".txt") -> List[str]:
    """`count` recordings of noise, each with a transcript beside it; their stems."""
    folder.mkdir(parents=True, exist_ok=True)
    stems = [f"u{number:02d}" for number in range(count)]
    for number, stem in enumerate(stems):
        soundfile.write(str(folder / (stem + suffix)), noise(0.3, number), 16000, format=suffix[1:].upper())
        (folder / (stem + transcript)).write_text(f"word {'abc'[number % 3]}", encoding="utf-8")
    return stems


def ids(workspace: Path) -> Dict[str, List[str]]:
    """{split: ids} of what was prepared last."""
    data = PreparedData(Workspace(workspace).resolve("prepared", None, fix=""))
    return {name: [data.split(name).id(index) for index in range(len(data.split(name)))] for name in data.splits}


def counts(result: Dict[str, Any]) -> Dict[str, int]:
    return {name: split["utterances"] for name, split in result["splits"].items()}


# -- what lies beside recordings --------------------------------------------------------------------------------------


def test_a_recording_kept_twice_is_never_on_both_sides(asrctl, tmp_path: Path, workspace: Path) -> None:
    recordings(tmp_path / "mine", 40)
    recordings(tmp_path / "mine", 40, ".flac")
    done = asrctl("prepare", "folder", tmp_path / "mine", "--json")
    assert counts(done.result) == {"train": 36, "eval": 4}
    assert "warning: 40 recordings are left out, as another of their name has the same transcript" in done.stderr
    prepared = {name: {Path(found).stem for found in found_ids} for name, found_ids in ids(workspace).items()}
    assert not prepared["train"] & prepared["eval"]


@pytest.mark.parametrize("suffix", ["PHN", "txt~", "pkf", "never-heard-of"])
def test_annotations_beside_recordings_are_no_rejects(asrctl, tmp_path: Path, workspace: Path, suffix: str) -> None:
    for stem in recordings(tmp_path / "mine", 12, ".WAV", ".TXT"):
        (tmp_path / "mine" / f"{stem}.{suffix}").write_text("0 3050 h#", encoding="utf-8")
    done = asrctl("prepare", "folder", tmp_path / "mine", "--max-rejects", 0, "--json")
    assert sum(counts(done.result).values()) == 12


def test_what_a_mac_puts_beside_files_is_no_reject(asrctl, tmp_path: Path, workspace: Path) -> None:
    (tmp_path / "mine" / "__MACOSX").mkdir(parents=True)
    for stem in recordings(tmp_path / "mine", 12):
        for name in (f"._{stem}.wav", f"._{stem}.txt", f"__MACOSX/._{stem}.wav"):
            (tmp_path / "mine" / name).write_bytes(b"\0\5\x16\7\xb0\xff")
    (tmp_path / "mine" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    done = asrctl("prepare", "folder", tmp_path / "mine", "--max-rejects", 0, "--json")
    assert sum(counts(done.result).values()) == 12


def test_the_workspace_is_no_part_of_the_corpus(asrctl, in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASRCTL_WORKSPACE")
    recordings(in_folder, 12)
    asrctl("vocab", "folder", ".").succeeded()
    recordings(in_folder / "asr-workspace" / "cache" / "demo" / "train", 5, transcript=".no")
    done = asrctl("prepare", "folder", ".", "--max-rejects", 0, "--json")
    assert sum(counts(done.result).values()) == 12
    assert "asr-workspace is a workspace of asrctl" in done.stderr
