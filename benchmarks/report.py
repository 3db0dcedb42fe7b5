"""Rows -> a table to read, JSON to keep, a plot to look at."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List

# Cores busy with something else in a turn from which on its numbers are worth little.
DISTURBED = 0.1
_DETAILS = ("wer", "against_fp32", "padding", "formats", "peak_mb", "device_mb", "start_s", "start_audio_s", "tflops")
HEADER = ("what", "unit", "stock", "asrctl", "ratio", "range over rounds", "at least")


def table(rows: List[Dict[str, Any]]) -> str:
    """A table in Markdown; ratios above 1 are in favor of asrctl."""
    lines = ["| " + " | ".join(HEADER) + " |", "| " + " | ".join("---" for _ in HEADER) + " |"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join(lines)


def _cells(row: Dict[str, Any]) -> List[str]:
    spread = f"{row['low']:.2f} - {row['high']:.2f} ({row['rounds']})" if row["rounds"] > 1 else "one run"
    wanted = f"{row['target']:g}" if row["target"] else ""
    if "limit" in row:
        wanted = f"under {row['limit']:g} {row['unit']}"
    numbers = [f"{row[side]:.4g}" for side in ("stock", "asrctl")]
    return [row["name"], row["unit"], *numbers, f"{row['ratio']:.2f}", spread, wanted]


def notes(rows: List[Dict[str, Any]]) -> List[str]:
    """What the table has no column for."""
    lines = []
    for row in rows:
        for key in _DETAILS:
            if row.get(key):
                told = ", ".join(f"{name} {_number(value)}" for name, value in row[key].items())
                lines.append(f"{row['name']}: {key}: {told}")
        if row.get("others", 0.0) > DISTURBED:
            lines.append(f"{row['name']}: DISTURBED: up to {row['others']:.2f} cores were busy with something else")
    return lines


def _number(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_number(one)}" for name, one in value.items()) + ")"
    return f"{value:.4g}"


def file_of(folder: Path, stem: str, machine: Dict[str, Any]) -> Path:
    """The file with this machine's rows, or a new one beside those of other machines."""
    plain = folder / f"{stem}.json"
    for path in (plain, *sorted(folder.glob(f"{stem}-*.json"))):
        if path.exists() and not _differences(path, machine):
            return path
    about = f"{machine.get('gpu', machine.get('processor'))} {machine.get('cores')} cores"
    return folder / f"{stem}-{re.sub('[^a-z0-9]+', '-', about.lower())}.json" if plain.exists() else plain


def refuse_another_machine(path: Path, machine: Dict[str, Any]) -> None:
    """Rows of two machines do not belong into one table. Raises SystemExit where the file holds another one's."""
    differs = _differences(path, machine) if path.exists() else []
    if differs:
        told = ", ".join(differs)
        raise SystemExit(f"{path} holds the results of another machine ({told}). Give another file by --results.")


def _differences(path: Path, machine: Dict[str, Any]) -> List[str]:
    before = json.loads(path.read_text(encoding="utf-8"))["machine"]
    names = [name for name in ("processor", "cores", "gpu") if before.get(name) != machine.get(name)]
    return [f"{name} {before.get(name)}, here {machine.get(name)}" for name in names]


def store(path: Path, machine: Dict[str, Any], how: Dict[str, Any], rows: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Put the rows into the JSON file, in place of older ones of the same names; all rows that it then holds."""
    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    new = [dict(row, how=how) for row in rows]
    names = {row["name"]: row for row in new}
    merged = [names.pop(row["name"], row) for row in before] + [row for row in new if row["name"] in names]
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine, "rows": merged}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return merged


def plot(path: Path, machine: Dict[str, Any], rows: List[Dict[str, Any]]) -> bool:
    """A bar for each ratio with its range, a mark for what it has to reach. False where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in rows if row["target"]][::-1]
    if not shown:
        return False
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.5 * len(shown)))
    places = range(len(shown))
    axes.barh(places, [row["ratio"] for row in shown], color="#4878a8", label="asrctl over stock")
    for place, row in zip(places, shown):
        axes.plot([row["low"], row["high"]], [place, place], color="black", linewidth=1.5)
        axes.plot([row["target"]] * 2, [place - 0.4, place + 0.4], color="#c44e52", linewidth=2)
    right = 1.1 * max(max(row["high"], row["target"]) for row in shown)  # room for figures and for misses
    for place, row in zip(places, shown):
        near = row["high"] < row["target"] < row["high"] + 0.1 * right  # the mark would run through the figure
        axes.text((row["target"] if near else row["high"]) + 0.05, place, f"{row['ratio']:.2f}", va="center")
    axes.set_xlim(right=right)
    axes.axvline(1.0, color="gray", linewidth=0.8)
    axes.set_yticks(list(places))
    axes.set_yticklabels([row["name"] for row in shown])
    axes.set_xlabel("times as good as the stock recipe (red: what was to be reached; black: range over rounds)")
    gpu = f"{machine['gpu']}, " if "gpu" in machine else ""
    axes.set_title(f"{gpu}{machine['cores']} cores, {machine['processor']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
    return True
