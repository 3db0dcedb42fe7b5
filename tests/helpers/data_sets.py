"""Data sets as the Hugging Face hub stores them, made of tones."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

RATE = 16000
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def flac(seed: int, seconds: float = 0.3) -> bytes:
    """A recording of its own for each seed."""
    samples = np.sin(np.arange(int(seconds * RATE)) * (0.05 + 0.001 * seed)) * 0.3
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE, format="FLAC")
    return stream.getvalue()


def rows(count: int, first: int = 0, **more: Any) -> List[Dict[str, Any]]:
    """Rows as LibriSpeech has them. more: values that each row has, or a function of its number."""
    found = []
    for number in range(first, first + count):
        name = f"7-1-{number:04d}"
        row = {
            "audio": {"bytes": flac(number), "path": f"{name}.flac"},
            "text": f"word {'abcdefgh'[number % 8]}",
            "speaker_id": 7 + number % 2,
            "id": name,
        }
        row.update({key: value(number) if callable(value) else value for key, value in more.items()})
        found.append({key: value for key, value in row.items() if value is not Ellipsis})
    return found


def table(found: Sequence[Dict[str, Any]], schema: Optional[Dict[str, pa.DataType]] = None) -> pa.Table:
    """schema: types of columns that their values do not tell."""
    types = {"audio": AUDIO, **(schema or {})}
    names = list(found[0])
    arrays = [pa.array([row[name] for row in found], type=types.get(name)) for name in names]
    return pa.table(dict(zip(names, arrays)))


def write(path: Path, found: Sequence[Dict[str, Any]], *, group: int = 3, **schema: pa.DataType) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(found, schema), str(path), row_group_size=group)
    return path


def card(folder: Path, configs: Dict[str, Dict[str, str]], *, more: str = "") -> None:
    """A README.md whose head says {configuration: {split: pattern}}."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, pattern in splits.items():
            lines += [f"  - split: {split}", f"    path: {pattern}"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("\n".join([*lines, more, "---", "# A data set", ""]), encoding="utf-8")


def repository(folder: Path, *, train: int = 8, validation: int = 4) -> Path:
    """Two shards of train, one of validation, in the layout that `push_to_hub` writes."""
    write(folder / "data" / "train-00000-of-00002.parquet", rows(train // 2))
    write(folder / "data" / "train-00001-of-00002.parquet", rows(train - train // 2, train // 2))
    write(folder / "data" / "validation-00000-of-00001.parquet", rows(validation, 100))
    card(folder, {"default": {"train": "data/train-*", "validation": "data/validation-*"}})
    return folder
