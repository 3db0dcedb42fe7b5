"""What went wrong in an evaluation that an earlier version made, which wrote no report.json beside it."""

from __future__ import annotations

from typing import Any, Optional, Tuple

from asrctl.commands import error_analysis
from asrctl.commands.seen import seen_in_training
from asrctl.commands.select import TrainedModel, find_model
from asrctl.data.dataset import PreparedData, PreparedSplit
from asrctl.errors import AsrctlError
from asrctl.evaluation.error_analysis import EvaluationReport, Names
from asrctl.events import Emit, ignore
from asrctl.storage.workspace import Artifact, Workspace


def analyzed(workspace: Workspace, artifact: Artifact, emit: Emit = ignore) -> Tuple[PreparedSplit, EvaluationReport]:
    """Its split and its analysis, from what there is. Raises MissingArtifact where its data is gone, BadData."""
    summary, inputs = artifact.summary, artifact.meta.get("inputs", {})
    data = PreparedData(workspace.resolve("prepared", str(inputs.get("data")), fix="prepare that data again"))
    split = data.split(str(summary.get("split")))
    run = summary.get("run")
    trained = _trained(workspace, run, inputs.get("model"))
    seen = None if trained is None else seen_in_training(workspace, trained, split)
    model, name = str(summary.get("model") or run or "a model"), str(summary.get("data") or data.artifact.id)
    return split, error_analysis.analyze(artifact.path, split, seen, Names(run, model, name), emit)


def _trained(workspace: Workspace, run: Optional[str], digest: Any) -> Optional[TrainedModel]:
    """The model that was evaluated, where it is still there."""
    if run is None:
        return None
    try:
        found = find_model(workspace, run, None)
    except AsrctlError:
        return None
    return found if found.digest == digest else None
