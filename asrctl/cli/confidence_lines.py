"""What `asrctl eval` shows of the confidences of words."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional

if TYPE_CHECKING:
    from asrctl.commands.calibrate import Calibrated
    from asrctl.evaluation.calibration import ConfidenceScores, Reliability


def confidence_lines(found: "Optional[ConfidenceScores]") -> List[str]:
    """One line, where words have confidences."""
    if found is None:
        return []
    if found.calibrated is None:
        return ["", f"confidence: calibration error {_error(found.raw)}"]
    return ["", f"confidence: calibration error {_error(found.calibrated)}, before calibration {_error(found.raw)}"]


def calibrated_lines(found: "Optional[Calibrated]") -> List[str]:
    """What `--calibrate` has found."""
    if found is None:
        return []
    kept = found.calibration
    return [
        f"calibrated on {kept.words:,} words of the eval split: calibration error {_error(found.before)} before, "
        f"{_error(found.after)} after on these words",
        "it is kept with the run: evaluations of other splits use it",
        "",
    ]


def _error(found: "Reliability") -> str:
    bounds = found.error_interval
    interval = "" if bounds is None else f" ({100 * bounds[0]:.1f} - {100 * bounds[1]:.1f})"
    return f"{100 * found.error:.1f} %{interval}"
