"""metrics.jsonl of a run, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

from asrctl.messages import amounts
from asrctl.storage import files, records


@dataclass(frozen=True)
class _Entry:
    """What every line has. The rest depends on the kind: train or eval."""

    kind: str
    step: float


class MetricsLog:
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
            with files.atomic_path(self._path) as temporary, open(temporary, "wb") as stream:
                stream.writelines(line for line, entry in _lines(self._path) if entry["step"] <= resume_step > 0)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(path: Path) -> Iterator[Tuple[bytes, Dict[str, Any]]]:
    """Lines and their entries; what a crash has cut short, or is no entry, is left out. Raises BadData."""
    with files.open_regular(path, fix="delete that file; it is only a record") as stream:
        for line in iter(lambda: stream.readline(files.MAX_LINE_BYTES), b""):
            entry = _entry(line)
            if entry is not None:
                yield line.rstrip(b"\r\n") + b"\n", entry


def _entry(line: bytes) -> Optional[Dict[str, Any]]:
    try:
        entry = files.parse_json(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return None if records.problem(_Entry, entry) else entry


def read(folder: Path, kind: Optional[str] = None) -> "list[Dict[str, Any]]":
    """The entries of a run's metrics.jsonl; lines cut short by a crash are left out. Raises BadData."""
    path = folder / "metrics.jsonl"
    entries = [entry for _, entry in _lines(path)] if path.exists() else []
    return [entry for entry in entries if kind is None or entry["kind"] == kind]


def damage(folder: Path) -> Optional[str]:
    """What a run's metrics.jsonl lacks, in words; None where it has all, but for a last line that a crash cut short."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return "is not there"
    lost = path.read_bytes().count(b"\n") - sum(1 for _ in _lines(path))
    return f"has {amounts.count(lost, 'line')} that can not be read" if lost > 0 else None


def _tensorboard(folder: Path, resume_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step + 1)  # hides that step and all after it
