"""Corpora for audits: sentences of tones in a room with some noise, each by itself, and what can be planted in them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import soundfile

from .speech import PANGRAM
from .tones import RATE, sound

Row = Dict[str, Any]


def spoken(text: str, generator: np.random.Generator, *, letter_s: float = 0.05) -> np.ndarray:
    """(time,) float32 at the pace of people, over noise of all frequencies."""
    samples = sound(text.lower(), generator, letter_s=letter_s, pause_s=0.03)
    return (samples + generator.normal(0, 0.01, len(samples))).astype(np.float32)


def rows_of(count: int, *, seed: int = 5) -> List[Row]:
    """Rows with path, text, speaker, split and samples: no sentence comes twice, and each speaker is in one split."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        split = "test" if number % 10 == 9 else "dev" if number % 10 == 8 else "train"
        text = " ".join(generator.choice(PANGRAM.lower().split(), 7, replace=False))
        speaker = f"{split}-{number % 7}"
        name = f"u{number:03d}.wav"
        rows.append(
            {"path": name, "text": text, "speaker": speaker, "split": split, "samples": spoken(text, generator)}
        )
    return rows


def of_split(rows: List[Row], split: str) -> List[Row]:
    return [row for row in rows if row["split"] == split]


def write(folder: Path, rows: List[Row]) -> Path:
    """The recordings, and a manifest of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        # Of 16 bits before it is written, so that lossless copies hold the same.
        samples = np.clip(np.round(row["samples"] * 32768), -32768, 32767).astype(np.int16)
        soundfile.write(str(folder / row["path"]), samples, row.get("rate", RATE))
    manifest = folder / "corpus.csv"
    with open(manifest, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "text", "speaker", "split"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return manifest
