"""metrics.jsonl of a run, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from asrctl import files


class Journal:
    """Appends one JSON line per entry. Lines after the step that a run resumes from are cut off first."""

    def __init__(self, folder: Path, *, resume_step: int) -> None:
        self._path = folder / "metrics.jsonl"
        self._cut(resume_step)
        self._stream = self._path.open("a", encoding="utf-8")
        self._board = _tensorboard(folder, resume_step)

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """kind: train or eval. Non-finite numbers become null: every line is JSON."""
        plain = {name: _finite(value) for name, value in values.items()}
        self._stream.write(json.dumps(dict(kind=kind, step=step, **plain), ensure_ascii=False) + "\n")
        self._stream.flush()
        if self._board is not None:
            for name, value in plain.items():
                if isinstance(value, (int, float)):
                    self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self._stream.close()
        if self._board is not None:
            self._board.close()

    def _cut(self, resume_step: int) -> None:
        if self._path.exists():
            kept = [line for line in self._path.read_text(encoding="utf-8").splitlines() if _step(line) <= resume_step]
            files.write_text(self._path, "".join(line + "\n" for line in kept) if resume_step else "")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # a line cut short by a crash


def read(folder: Path, kind: Optional[str] = None) -> "list[Dict[str, Any]]":
    """The entries of a run's journal; lines cut short by a crash are left out."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries = [json.loads(line) for line in lines if _step(line) < math.inf]
    return [entry for entry in entries if kind is None or entry.get("kind") == kind]


def _tensorboard(folder: Path, resume_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step)
