"""`eval --calibrate`: what a word's confidence means, learned on the eval split and kept with the run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict

from asrctl.commands import confidences
from asrctl.commands.evaluate import evaluate
from asrctl.commands.evaluate_request import EvaluateRequest, resolve
from asrctl.commands.evaluation_files import read_hypotheses
from asrctl.commands.select import find_model
from asrctl.errors import BadData, UsageError
from asrctl.evaluation.calibration import LEAST_WORDS, Calibration, Reliability
from asrctl.events import Emit, ignore
from asrctl.storage import records
from asrctl.storage.workspace import Workspace


@dataclass(frozen=True)
class Calibrated:
    """before, after: of the eval split itself, so `after` is better than what other words will have."""

    calibration: Calibration
    before: Reliability
    after: Reliability

    def as_dict(self) -> Dict[str, Any]:
        values = records.as_dict(self)
        for found in (values["before"], values["after"]):
            del found["bins"]
        return values


def calibrate(workspace: Workspace, request: EvaluateRequest, emit: Emit = ignore) -> Calibrated:
    """Evaluate the eval split, learn from its words, and keep that for this model and decoder.

    Raises UsageError for what is no run, BadData where there are too few words, and what evaluate raises.
    """
    if request.model is not None:
        raise UsageError("--calibrate keeps what it finds with a run", fix="name one with --run")
    request = replace(request, split="eval")
    trained = find_model(workspace, request.run, None)
    if trained.run is not None:
        confidences.forget_damaged(trained.run)
    meant = resolve(workspace, request, emit)
    if meant.trained.run is None or meant.how.recipe is not None:
        raise UsageError(f"there are no confidences on {meant.how.device.kind}", fix="use `--device cpu`")
    result = evaluate(workspace, request, emit)
    tally = confidences.tally_of(read_hypotheses(result.hypotheses))
    if result.unchanged and not len(tally):  # an earlier version made it
        result = evaluate(workspace, replace(request, force=True), emit)
        tally = confidences.tally_of(read_hypotheses(result.hypotheses))
    data = meant.chosen.data.artifact.id
    found = tally.calibration(data)
    if found is None:
        raise BadData(
            f"{len(tally)} words of the eval split tell no calibration",
            fix=f"use data whose eval split has {LEAST_WORDS} words or more, some of them heard wrong",
        )
    confidences.keep(meant.trained, meant.decoder, meant.trained.run, found)
    scores = tally.scores(found)
    if scores is None or scores.calibrated is None:
        raise RuntimeError("words are gone that were just there")
    return Calibrated(found, scores.raw, scores.calibrated)
