"""The timetable as text and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple

from asrctl.errors import MissingDependency
from asrctl.ipu.plan.timetable import Timetable
from asrctl.messages.command_lines import pip_install

# idle, forward only, back only, both; for terminals with and without block characters.
BLOCKS = "·▀▄█"
LETTERS = ".FBX"
_COLORS = {"forward": "#4C78A8", "backward": "#F58518"}
_MOST_CYCLES = 400
_DRAWN_BY, _HEAD_BYTES = "asrctl", 1024  # a text chunk at the beginning of the file
_LABELED_CYCLES = 60


def text_lines(table: Timetable, columns: int, symbols: str = BLOCKS) -> List[str]:
    """One line for each stage, a character for each cycle; what does not fit `columns` is left out in the middle."""
    first, mark, last = _shown(table, columns)
    lines = []
    for stage in range(table.stages):
        symbols_of = [[_symbol(table, stage, cycle, symbols) for cycle in part] for part in (first, last)]
        lines.append("".join(symbols_of[0]) + mark + "".join(symbols_of[1]))
    return lines


def _shown(table: Timetable, columns: int) -> Tuple[range, str, range]:
    """The cycles before and after what is left out, and the mark that stands for it."""
    if table.cycles <= columns:
        return range(table.cycles), "", range(0)
    kept = max(columns - len(f" {table.cycles} more "), 2)
    half = (kept + 1) // 2
    mark = f" {table.cycles - kept} more ".ljust(columns - kept)
    return range(half), mark, range(table.cycles - (kept - half), table.cycles)


def _symbol(table: Timetable, stage: int, cycle: int, symbols: str) -> str:
    there, back = table.at(stage, cycle)
    return symbols[(there is not None) + 2 * (back is not None)]


def png(table: Timetable, ipus: List[int], title: str, path: Path) -> None:
    """Write the timetable as a PNG. ipus: the IPU of each stage. Raises MissingDependency, OSError."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependency("drawing a PNG needs matplotlib", fix=pip_install("asrctl[plot]")) from None
    cycles = min(table.cycles, _MOST_CYCLES)
    figure = Figure(figsize=(min(24.0, 3.0 + 0.28 * cycles), 1.7 + 0.55 * table.stages), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for stage in range(table.stages):
        for cycle in range(cycles):
            _cells(axes, table, stage, cycle, labeled=cycles <= _LABELED_CYCLES)
    _frame(axes, table, ipus, cycles)
    axes.set_title(title, loc="left", fontsize=11)
    figure.savefig(str(path), format="png", metadata={"Software": _DRAWN_BY})


def is_drawing(path: Path) -> bool:
    """Whether a file is a picture that `png` wrote."""
    with open(path, "rb") as stream:
        return f"Software\0{_DRAWN_BY}".encode() in stream.read(_HEAD_BYTES)


def _cells(axes: Any, table: Timetable, stage: int, cycle: int, *, labeled: bool) -> None:
    for color, micro_batch, top in zip(_COLORS.values(), table.at(stage, cycle), (0.0, 0.4)):
        if micro_batch is None:
            continue
        axes.broken_barh([(cycle, 0.96)], (stage - 0.4 + top, 0.38), facecolors=color)
        if labeled:
            middle = stage - 0.4 + top + 0.2
            axes.text(cycle + 0.48, middle, str(micro_batch), ha="center", va="center", fontsize=6.5, color="white")


def _frame(axes: Any, table: Timetable, ipus: List[int], cycles: int) -> None:
    from matplotlib.patches import Patch

    ramp = table.depth - 1
    for start, stop in ((0, ramp / 2), (table.cycles - ramp / 2, table.cycles)):
        if ramp and start < cycles:
            axes.axvspan(start, min(stop, cycles), color="0.93", zorder=0)
    axes.set_xlim(0, cycles)
    axes.set_ylim(table.stages - 0.5, -0.5)
    axes.set_yticks(range(table.stages), [f"IPU {place}" for place in ipus])
    axes.tick_params(axis="y", length=0)
    more = "" if cycles == table.cycles else f" (the first {cycles} of {table.cycles})"
    axes.set_xlabel(f"cycle{more}; the numbers are micro-batches; gray: {ramp} cycles of filling and draining")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    handles = [Patch(color=color, label=kind) for kind, color in _COLORS.items()]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncol=2, frameon=False, fontsize=9)
