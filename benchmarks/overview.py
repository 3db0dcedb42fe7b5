"""What every machine reached, side by side: the table of docs/performance.md, from benchmarks/results/.

    python -m benchmarks.overview

Whoever measures anew puts what it prints into the docs; a test compares the two.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List, Optional

RESULTS = Path(__file__).resolve().parent / "results"
# Results files in the order of their columns, and what the table calls them.
MACHINES = {
    "base-cpu": "CPU with AMX, fast day",
    "base-cpu-slow-day": "the same, slow day",
    "base-cpu-epyc": "CPU with bf16, no AMX",
    "base-cpu-fp32": "CPU without bf16",
    "base-cuda": "H200, base",
    "large-cuda": "H200, large",
}
# Names of rows, and what the table calls them, in its order.
ROWS = {
    "training, features cached": "training, features cached",
    "training without the cache": "training without the cache",
    "epochs, cache built": "whole run of three epochs",
    "epochs, stock in fp32": "the same, stock in fp32 and random order",
    "evaluation": "evaluation",
    "prepare, 1 worker": "prepare, 1 worker",
    "prepare, 2 workers": "prepare, 2 workers",
    "disk": "disk",
}


def table(folder: Path = RESULTS) -> str:
    """Ratios of asrctl over stock in Markdown; marked where what was to be reached is missed."""
    columns = [_by_name(folder / f"{stem}.json") for stem in MACHINES]
    lines = ["| " + " | ".join(["times stock", *MACHINES.values(), "at least"]) + " |"]
    lines.append("| " + " | ".join("---" for _ in range(len(MACHINES) + 2)) + " |")
    for name, label in ROWS.items():
        rows = [column.get(name) for column in columns]
        target = max(row["target"] for row in rows if row)
        lines.append("| " + " | ".join([label, *(_cell(row) for row in rows), f"{target:g}"]) + " |")
    return "\n".join(lines)


def _by_name(path: Path) -> Dict[str, Dict[str, Any]]:
    """The rows of a results file; the name of how many epochs without their number."""
    rows: List[Dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return {re.sub(r"^\d+ |, random order$", "", row["name"]): row for row in rows}


def _cell(row: Optional[Dict[str, Any]]) -> str:
    if row is None:
        return ""
    ratio, target = row["ratio"], row["target"]
    rounded = f"{ratio:.2f}"
    if ratio < target <= float(rounded):
        rounded = f"{ratio:.4f}"
    epochs = re.match(r"\d+ epochs", row["name"])
    remarks = ["missed"] if ratio < target else []
    remarks += [epochs.group()] if epochs and epochs.group() != "3 epochs" else []
    return f"{rounded} ({', '.join(remarks)})" if remarks else rounded


if __name__ == "__main__":
    print(table())
