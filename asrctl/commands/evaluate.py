"""A model and a split -> hypotheses and error rates, published as evals/ID.

hypotheses.jsonl   {"id", "reference", "hypothesis", "errors", "words", "confidence"} in the order of the split;
                   the last is a list, a number for each word of the hypothesis, and missing where words have none
metrics.json       rates with intervals, edits, the worst utterances, and what they belong to
report.json        what went wrong, and where (evaluation/error_analysis.py); report.html: the same as a page
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from asrctl.commands import error_analysis, transcription
from asrctl.commands.confidences import WatchedDecoder
from asrctl.commands.evaluate_request import EvaluateRequest, ResolvedEvaluation, refuse_misfit, resolve, run_name
from asrctl.commands.evaluation_files import read_metrics, write_hypotheses
from asrctl.commands.seen import seen_in_training
from asrctl.commands.select import ChosenData, TrainedModel
from asrctl.data.dataset import PreparedSplit
from asrctl.evaluation import metrics, other_texts
from asrctl.evaluation.error_analysis import Names
from asrctl.evaluation.metrics import EvaluationMetrics
from asrctl.evaluation.other_texts import OtherTexts
from asrctl.events import Emit, Note, ignore
from asrctl.storage import files, records
from asrctl.storage.workspace import Artifact, Key, Workspace

_NOT_SCORED = "an earlier asrctl made this evaluation; `asrctl eval --force` makes it again"


@dataclass(frozen=True)
class EvaluateResult:
    """metrics: what metrics.json holds. unchanged: it was there already. seconds: of the transcription, if any."""

    artifact: Artifact
    metrics: EvaluationMetrics
    model: Path
    run: Optional[str]
    data: str
    unchanged: bool
    seconds: Optional[float]

    @property
    def wer(self) -> float:
        return float(self.metrics.wer)

    @property
    def hypotheses(self) -> Path:
        return self.artifact.path / "hypotheses.jsonl"

    @property
    def page(self) -> Optional[Path]:
        """None where an earlier version made the evaluation."""
        path = self.artifact.path / error_analysis.PAGE
        return path if path.exists() else None

    def as_dict(self, worst: int = 0) -> Dict[str, Any]:
        """worst: how many of the utterances with most errors it lists; the key is left out for none."""
        values = {**dict.fromkeys(("raw", "raw_missing", "normalized")), **records.as_dict(self.metrics)}
        if self.metrics.phones:
            values.update(per=values["wer"], per_interval=values["wer_interval"])
        listed = values.pop("worst")[:worst]
        if worst:
            values["worst"] = listed
        for found in (values.get("confidence") or {}).values():
            found.pop("bins", None)  # these are in metrics.json and report.json
        values["model"] = {"path": str(self.model), "digest": self.metrics.model}
        values["data"] = {"name": self.data, "id": self.metrics.data}
        return dict(
            values,
            run=self.run,
            id=self.artifact.id,
            path=str(self.artifact.path),
            hypotheses=str(self.hypotheses),
            report=None if self.page is None else str(self.page.with_name(error_analysis.JSON)),
            page=None if self.page is None else str(self.page),
            unchanged=self.unchanged,
            seconds=self.seconds,
        )


def evaluate(workspace: Workspace, request: EvaluateRequest, emit: Emit = ignore) -> EvaluateResult:
    """Transcribe a split and count the errors; a result that is there already is returned as it is.

    Raises MissingArtifact (no model, data or split), BadData (empty split, another alphabet or sample rate),
    DeviceError, UsageError, and on an IPU PresetError where the run's preset can not be carried out there.
    """
    meant = resolve(workspace, request, emit)
    trained, chosen, split, key = meant.trained, meant.chosen, meant.split, meant.key
    with workspace.publish(key, replace=request.force) as draft:
        if draft.published is not None:
            emit(Note(f"nothing has changed: evaluation {key.id} is there already (--force does it again)"))
            return _result(draft.published, trained, chosen, unchanged=True, seconds=None)
        began = time.monotonic()
        tally, others, beside = _transcribe(workspace, meant, draft.path, emit)
        seconds = round(time.monotonic() - began, 3)
        seen = seen_in_training(workspace, trained, split)
        parts = {} if seen is None else {"seen": tally.part(seen), "unseen": tally.part(~seen)}
        found = _metrics(tally.scores(), {**others.scores(), **parts, **beside}, key, split, trained)
        summary = records.as_dict(found)
        files.write_json(draft.path / "metrics.json", summary)
        names = Names(run_name(trained), trained.name, chosen.name)
        error_analysis.write(draft.path, error_analysis.analyze(draft.path, split, seen, names, emit), split)
        kept = ("wer", "wer_interval", "cer", "cer_interval", "utterances", "words", "split", "precision", "device")
        info = trained.info()
        known = {
            "run": run_name(trained),
            "model": trained.name,
            "data": chosen.name,
            "best": None if info is None else records.plain(info.best),
        }
        rate = {"rate": "PER"} if summary.get("phones") else {}
        searched = {} if meant.decoder.rules is None else {"decoder": meant.decoder.name}
        draft.summary.update({name: summary[name] for name in kept}, **known, **rate, **searched)
    emit(Note(f"transcribed {split.seconds:.0f} s of speech in {seconds:.1f} s"))
    return _result(draft.artifact, trained, chosen, unchanged=False, seconds=seconds)


def _metrics(
    scores: metrics.Scores, others: Mapping[str, Any], key: Key, split: PreparedSplit, trained: TrainedModel
) -> EvaluationMetrics:
    info = trained.info()
    return EvaluationMetrics(
        **vars(scores),
        **others,
        **{name: value for name, value in key.parameters.items() if name != "calibration"},
        model=key.inputs["model"],
        data=key.inputs["data"],
        audio_s=round(split.seconds, 3),
        trained_on=None if info is None else info.device,
        emulated=(info is not None and info.emulated) or key.parameters["device"] == "ipu-emulated",
    )


def _result(
    artifact: Artifact, trained: TrainedModel, chosen: ChosenData, *, unchanged: bool, seconds: Optional[float]
) -> EvaluateResult:
    found = read_metrics(artifact)
    if found.normalized is None and found.raw_missing is None:  # an earlier version wrote it
        found = dataclasses.replace(found, raw_missing=_NOT_SCORED)
    return EvaluateResult(artifact, found, trained.folder, run_name(trained), chosen.name, unchanged, seconds)


def _transcribe(
    workspace: Workspace, meant: ResolvedEvaluation, folder: Path, emit: Emit
) -> Tuple[metrics.Tally, OtherTexts, Dict[str, Any]]:
    """Scores of the hypotheses, against other forms of the texts, and what else of EvaluationMetrics came out."""
    recognizer, split = meant.trained.recognizer(), meant.split
    refuse_misfit(recognizer, meant, emit)
    scratch, cache = folder / "scratch", workspace.root / "cache" / "ipu"
    try:
        trials = meant.decoder.trials(recognizer.vocabulary, emit) if meant.decoder.hotwords else None
        decode = trials or meant.decoder.make(recognizer.vocabulary, emit)
        watched = WatchedDecoder(decode, recognizer.vocabulary, meant.calibration) if meant.how.recipe is None else None
        found = transcription.hypotheses(
            meant.how, recognizer, split, cache=cache, scratch=scratch, emit=emit, decode=watched
        )
        heard = found if trials is None else trials.counted(found, split.text)
        more = (lambda scored: {}) if watched is None else watched.of
        scored = write_hypotheses(split, heard, folder, _other_texts(meant), more)
        beside = {
            "confidence": None if watched is None else watched.tally.scores(meant.calibration),
            "hotword_scores": None if trials is None else trials.tally.scores(),
        }
        return (*scored, beside)
    finally:
        files.remove_tree(scratch)


def _other_texts(meant: ResolvedEvaluation) -> OtherTexts:
    """Raises BadData where what is kept of them is damaged."""
    split = meant.split
    if meant.chosen.data.vocabulary().phones:
        return OtherTexts(len(split), None, other_texts.PHONEMES, normalizes=False)
    if meant.chosen.data.summary.splits[split.name].raw_texts is None:
        return OtherTexts(len(split), None, other_texts.NOT_KEPT)
    return OtherTexts(len(split), split.raw_texts(), None)
