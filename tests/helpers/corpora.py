"""Corpora of noise as people have them, lists and folders, and what `prepare` made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import soundfile

from asrctl.data import rejects
from asrctl.data.dataset import PreparedData
from asrctl.storage.workspace import Workspace


def noise(seconds: float, seed: int = 0, rate: int = 16000) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3000, 3000, int(seconds * rate), dtype=np.int16)


def corpus(folder: Path, rows: List[Dict[str, Any]], seconds: float = 1.0) -> Path:
    """A manifest of `rows`; audio that does not exist yet is noise."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        if not (folder / row["path"]).exists() and not row.pop("missing", False):
            soundfile.write(str(folder / row["path"]), noise(row.pop("seconds", seconds), number), 16000)
    path = folder / "utterances.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def plain_rows(count: int, split: str = "train", **more: Any) -> List[Dict[str, Any]]:
    return [
        {"path": f"{split}{number}.wav", "text": f"word {'abc'[number % 3]}", "split": split, **more}
        for number in range(count)
    ]


def opened(workspace: Path) -> PreparedData:
    """What was prepared last."""
    return PreparedData(Workspace(workspace).resolve("prepared", None, fix=""))


def outcomes(data: PreparedData) -> Dict[str, str]:
    """{id: "prepared" or the reason}."""
    found: Dict[str, str] = {}
    for name in data.splits:
        split = data.split(name)
        found.update({split.id(index): "prepared" for index in range(len(split))})
        found.update({reject.id: reject.reason for reject in rejects.read(split.folder / rejects.FILE)})
    return found
