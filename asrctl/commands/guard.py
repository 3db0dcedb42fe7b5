"""`eval --guard`: what a model has forgotten of a guard set, beside the model that its training started from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Tuple

from asrctl.commands.compare import CompareRequest, compare
from asrctl.commands.decoder_choice import DecoderRequest
from asrctl.commands.evaluate import EvaluateResult, evaluate
from asrctl.commands.evaluate_request import EvaluateRequest
from asrctl.commands.gates import GUARD
from asrctl.commands.select import TrainedModel, find_model, named_data
from asrctl.config.recipe import ModelSection
from asrctl.errors import AsrctlError, UsageError
from asrctl.evaluation.comparison import Difference
from asrctl.evaluation.gates import Verdict
from asrctl.events import Emit, Note, ignore
from asrctl.models import loading, weights
from asrctl.storage import records
from asrctl.storage.workspace import Workspace

_FIX_NO_BASE = "compare it with another run on that data: `asrctl compare OTHER-RUN RUN`"


@dataclass(frozen=True)
class GuardResult:
    """before: of the base model; after: of the trained one, on the same utterances."""

    name: str
    base: str
    before: EvaluateResult
    after: EvaluateResult
    difference: Difference
    verdict: Verdict

    def as_dict(self) -> Dict[str, Any]:
        return {
            "guard": self.name,
            "base": self.base,
            "before": self.before.artifact.id,
            "after": self.after.artifact.id,
            "passed": self.verdict.passed,
            "difference": records.as_dict(self.difference),
        }


def check(workspace: Workspace, request: EvaluateRequest, name: str) -> Tuple[TrainedModel, ModelSection]:
    """(the run's model, what it started from). Raises UsageError where that could have known nothing, MissingArtifact
    where there is no data of that name."""
    named_data(workspace, name)
    if request.model is not None:
        raise UsageError(
            f"--guard {name}: a folder does not say what its training started from",
            fix="name a run with --run, or evaluate both models on that data and compare them: `asrctl compare A B`",
        )
    trained = find_model(workspace, request.run, None)
    section = trained.run.recipe().model if trained.run is not None else None
    if section is None or section.checkpoint is None:
        raise UsageError(
            f"--guard {name} makes no sense for {trained.name}: it was trained from nothing, which knew no word",
            fix=_FIX_NO_BASE,
        )
    return trained, section


def guard(workspace: Workspace, request: EvaluateRequest, name: str, emit: Emit = ignore) -> GuardResult:
    """Both are evaluated greedily on the data of that name; what is there already is taken.

    Raises what evaluate raises, and UsageError where the base model has no head.
    """
    trained, section = check(workspace, request, name)
    base = str(section.checkpoint)
    usual = replace(request, data=name, split=None, decoder=DecoderRequest(), force=False)
    emit(Note(f"guard {name}: the model that training started from, {base}"))
    folder = weights.find_checkpoint(base, section.revision)
    _refuse_headless(folder, name, trained)
    before = evaluate(workspace, replace(usual, run=None, model=str(folder)), emit)
    emit(Note(f"guard {name}: run {trained.name}"))
    after = evaluate(workspace, replace(usual, run=trained.name), emit)
    found = compare(workspace, CompareRequest(before.artifact.id, after.artifact.id)).difference
    if found.smallest and not found.is_significant:
        points = f"{100 * found.smallest:.2f} points of WER"
        emit(Note(f"guard {name} is large enough to show a difference of {points} with a chance of 80 %"))
    return GuardResult(name, base, before, after, found, verdict(name, found))


def _refuse_headless(folder: Path, name: str, trained: TrainedModel) -> None:
    """Raises UsageError."""
    try:
        loading.examine_trained(folder)
    except AsrctlError as error:
        raise UsageError(
            f"--guard {name} makes no sense for {trained.name}: the model that it started from can not transcribe "
            f"({error.message})",
            fix=_FIX_NO_BASE,
        ) from None


def verdict(name: str, found: Difference) -> Verdict:
    """Failed where it is worse beyond chance."""
    rates = f"WER {100 * found.wer_a:.2f} % before and {100 * found.wer_b:.2f} % after training"
    if not found.is_significant or found.interval is None or found.p is None:
        return Verdict(f"{GUARD}{name}", True, f"{rates} on {name}: no difference beyond chance")
    bounds = f"95 %: {100 * found.interval[0]:+.2f} to {100 * found.interval[1]:+.2f}, p = {found.p:.2g}"
    side = "worse" if found.difference > 0 else "better"
    points = f"{side} by {100 * abs(found.difference):.2f} points, beyond chance ({bounds})"
    return Verdict(f"{GUARD}{name}", found.difference <= 0, f"{rates} on {name}: {points}")
