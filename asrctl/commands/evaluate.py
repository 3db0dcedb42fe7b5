"""A model and a split -> hypotheses and error rates, published as evals/ID.

hypotheses.jsonl   {"id", "reference", "hypothesis", "errors", "words"} in the order of the split
metrics.json       rates with intervals, edits, the worst utterances, and what they belong to
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from asrctl.commands import decoder_choice, transcription
from asrctl.commands.decoder_choice import ChosenDecoder, DecoderRequest
from asrctl.commands.dry_run import DryRun
from asrctl.commands.seen import seen_in_training
from asrctl.commands.select import (
    ChosenData,
    TrainedModel,
    alphabet_gap,
    find_data,
    find_model,
    is_elsewhere,
    sentence,
    warn_of_newer_data,
)
from asrctl.commands.transcription import How
from asrctl.data import glyphs
from asrctl.data.dataset import PreparedSplit
from asrctl.errors import BadData, QualityGate, UsageError
from asrctl.evaluation import metrics, other_texts
from asrctl.evaluation.metrics import EvaluationMetrics
from asrctl.evaluation.other_texts import OtherTexts
from asrctl.events import Emit, Note, Warned, ignore
from asrctl.messages import amounts
from asrctl.models import loading
from asrctl.storage import files, records
from asrctl.storage.workspace import Artifact, Key, Workspace

VERSION = 2
# A limit of 20 is a percentage that somebody meant; nobody gates at ten times more errors than words.
_HIGHEST_LIMIT = 10.0
_FIX_EVALUATION = "evaluate again with --force"
_NOT_SCORED = "an earlier asrctl made this evaluation; `asrctl eval --force` makes it again"


@dataclass(frozen=True)
class EvaluateRequest:
    """run, model: what to evaluate (one of them, or the latest run). data: default is the run's, else the latest.

    split: default is eval, or test where data has no other. precision: default is fp32, or on an IPU the recipe's.
    batch_s: most seconds of padded audio in a batch; default is the recipe's. It changes speed and memory, no result.
    """

    run: Optional[str] = None
    model: Optional[str] = None
    data: Optional[str] = None
    split: Optional[str] = None
    precision: Optional[str] = None
    device: str = "auto"
    batch_s: Optional[float] = None
    force: bool = False
    decoder: DecoderRequest = DecoderRequest()


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

    def as_dict(self, worst: int = 0) -> Dict[str, Any]:
        """worst: how many of the utterances with most errors it lists; the key is left out for none."""
        values = {**dict.fromkeys(("raw", "raw_missing", "normalized")), **records.as_dict(self.metrics)}
        if self.metrics.phones:
            values.update(per=values["wer"], per_interval=values["wer_interval"])
        listed = values.pop("worst")[:worst]
        if worst:
            values["worst"] = listed
        values["model"] = {"path": str(self.model), "digest": self.metrics.model}
        values["data"] = {"name": self.data, "id": self.metrics.data}
        return dict(
            values,
            run=self.run,
            id=self.artifact.id,
            path=str(self.artifact.path),
            hypotheses=str(self.hypotheses),
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
        tally, others = _transcribe(workspace, meant, draft.path, emit)
        seconds = round(time.monotonic() - began, 3)
        seen = seen_in_training(workspace, trained, split)
        parts = {} if seen is None else {"seen": tally.part(seen), "unseen": tally.part(~seen)}
        found = _metrics(tally.scores(), {**others.scores(), **parts}, key, split, trained)
        summary = records.as_dict(found)
        files.write_json(draft.path / "metrics.json", summary)
        kept = ("wer", "wer_interval", "cer", "cer_interval", "utterances", "words", "split", "precision", "device")
        info = trained.info()
        known = {
            "run": _run_name(trained),
            "model": trained.name,
            "data": chosen.name,
            "best": None if info is None else records.plain(info.best),
        }
        rate = {"rate": "PER"} if summary.get("phones") else {}
        searched = {} if meant.decoder.rules is None else {"decoder": meant.decoder.name}
        draft.summary.update({name: summary[name] for name in kept}, **known, **rate, **searched)
    emit(Note(f"transcribed {split.seconds:.0f} s of speech in {seconds:.1f} s"))
    return _result(draft.artifact, trained, chosen, unchanged=False, seconds=seconds)


def plan(workspace: Workspace, request: EvaluateRequest, emit: Emit = ignore) -> DryRun:
    """What `evaluate` would do; nothing is written, transcribed or fetched. Raises what `evaluate` raises.

    Of the model only its files' heads are read.
    """
    if request.run is None and is_elsewhere(request.model, emit):
        return _plan_unseen(workspace, request)
    meant = resolve(workspace, request, emit)
    folder = workspace.folder(meant.key.kind, meant.key.id)
    unchanged = not request.force and workspace.find(meant.key.kind, meant.key.id) is not None
    found = None if unchanged else loading.examine_trained(meant.trained.folder)
    if found is not None:
        _gap(found, meant)
    return DryRun(
        reads={"model": meant.trained.folder, "data": meant.split.folder},
        writes={"evaluation": folder},
        unchanged=unchanged,
        facts={
            "run": _run_name(meant.trained),
            **_facts(meant.chosen, meant.split),
            "device": meant.how.device.kind,
            "precision": meant.how.precision,
            "decoder": meant.decoder.name,
            "id": meant.key.id,
            "time_s": None if unchanged else _most_time_s(meant),
            "memory_bytes": None if found is None else loading.num_bytes(found),
        },
    )


def _most_time_s(meant: ResolvedEvaluation) -> Optional[float]:
    """Seconds that training took for as much speech on such a device, which is more work; None where unknown."""
    from asrctl.commands.forecast import speech_s_per_s

    run = meant.trained.run
    speed = None if run is None else speech_s_per_s(run, meant.how.device.kind)
    return None if speed is None else round(meant.split.seconds / speed, 1)


def _plan_unseen(workspace: Workspace, request: EvaluateRequest) -> DryRun:
    """What is known without the model."""
    from asrctl.runtime import devices

    chosen = find_data(workspace, None, request.data)
    split = chosen.data.split(request.split or chosen.data.usual_split)
    facts = {"device": devices.choose(request.device).kind, "precision": request.precision or "fp32", "id": None}
    facts["decoder"] = decoder_choice.choose(workspace, request.decoder, None).name
    facts.update(time_s=None, memory_bytes=None)
    reads = {"model": Path(str(request.model)), "data": split.folder}
    return DryRun(reads, {}, unchanged=False, facts={"run": None, **_facts(chosen, split), **facts})


def _facts(chosen: ChosenData, split: PreparedSplit) -> Dict[str, Any]:
    return {
        "data": {"name": chosen.name, "id": chosen.data.artifact.id},
        "split": split.name,
        "utterances": len(split),
        "audio_s": round(split.seconds, 3),
    }


@dataclass(frozen=True)
class ResolvedEvaluation:
    """A request, resolved: model, data, split, device and precision, decoder."""

    trained: TrainedModel
    chosen: ChosenData
    split: PreparedSplit
    how: How
    decoder: ChosenDecoder
    key: Key


def resolve(workspace: Workspace, request: EvaluateRequest, emit: Emit) -> ResolvedEvaluation:
    """Raises what `evaluate` raises before it does anything."""
    trained = find_model(workspace, request.run, request.model)
    chosen = find_data(workspace, trained, request.data)
    emit(Note(f"evaluating {sentence(trained, chosen)}"))
    warn_of_newer_data(chosen, emit)
    split = chosen.data.split(request.split or chosen.data.usual_split)
    if not len(split):
        raise BadData(f"split {split.name!r} of {chosen.name} is empty", fix="choose another with --split")
    how = transcription.choose(trained, request.device, request.precision, request.batch_s, emit)
    decoder = decoder_choice.choose(workspace, request.decoder, trained.digest)
    if decoder.name != decoder_choice.GREEDY and how.recipe is not None:
        raise UsageError(
            f"on {how.device.kind} hypotheses are found greedily",
            fix="leave --decoder and --lm out, or use `--device cpu`",
        )
    return ResolvedEvaluation(trained, chosen, split, how, decoder, _key(trained, chosen, split, how, decoder))


def check_limit(limit: Optional[float]) -> None:
    """Raises UsageError where `limit` can not be a word error rate."""
    if limit is not None and not 0 <= limit <= _HIGHEST_LIMIT:
        raise UsageError(f"a word error rate of {limit:g} is no sensible limit", fix="give a fraction: 0.2 means 20 %")


def check_gate(result: EvaluateResult, limit: Optional[float]) -> None:
    """Raises QualityGate where the WER is above `limit` (a fraction)."""
    unit = "phone" if result.metrics.phones else "word"
    if limit is not None and result.wer > limit:
        raise QualityGate(
            f"the {unit} error rate is {100 * result.wer:.2f} %, above the limit of {100 * limit:.2f} %",
            fix=f"train longer or on more data, or look at {result.hypotheses}",
        )


def shuffled_wer(references: Sequence[str], hypotheses: Sequence[str], seed: int) -> float:
    """The control: each hypothesis against the reference of another utterance. Raises ValueError for fewer than two."""
    places = metrics.derangement(len(references), seed)
    return metrics.word_error_rate([references[place] for place in places], hypotheses)


def _key(trained: TrainedModel, chosen: ChosenData, split: PreparedSplit, how: How, decoder: ChosenDecoder) -> Key:
    return Key(
        kind="evals",
        version=VERSION,
        parameters={
            "split": split.name,
            "precision": how.precision,
            "device": how.device.kind,
            **decoder.parameters,
        },
        inputs={"model": trained.digest, "data": chosen.data.artifact.id, "content": chosen.data.content},
    )


def _metrics(
    scores: metrics.Scores, others: Mapping[str, Any], key: Key, split: PreparedSplit, trained: TrainedModel
) -> EvaluationMetrics:
    info = trained.info()
    return EvaluationMetrics(
        **vars(scores),
        **others,
        **key.parameters,
        model=key.inputs["model"],
        data=key.inputs["data"],
        audio_s=round(split.seconds, 3),
        trained_on=None if info is None else info.device,
        emulated=(info is not None and info.emulated) or key.parameters["device"] == "ipu-emulated",
    )


def read_metrics(artifact: Artifact) -> EvaluationMetrics:
    """The metrics.json of an evaluation. Raises BadData."""
    path = artifact.path / "metrics.json"
    return records.read(
        EvaluationMetrics, files.read_json(path, fix=_FIX_EVALUATION), f"{path} is damaged", fix=_FIX_EVALUATION
    )


def _run_name(trained: TrainedModel) -> Optional[str]:
    return trained.name if trained.run is not None else None


def _result(
    artifact: Artifact, trained: TrainedModel, chosen: ChosenData, *, unchanged: bool, seconds: Optional[float]
) -> EvaluateResult:
    found = read_metrics(artifact)
    if found.normalized is None and found.raw_missing is None:  # an earlier version wrote it
        found = dataclasses.replace(found, raw_missing=_NOT_SCORED)
    return EvaluateResult(artifact, found, trained.folder, _run_name(trained), chosen.name, unchanged, seconds)


def _transcribe(
    workspace: Workspace, meant: ResolvedEvaluation, folder: Path, emit: Emit
) -> Tuple[metrics.Tally, OtherTexts]:
    recognizer, split = meant.trained.recognizer(), meant.split
    gap = _gap(recognizer, meant)
    if gap:
        shown = " ".join(map(glyphs.shown, gap[:20])) + (" ..." if len(gap) > 20 else "")
        emit(
            Warned(
                f"the model can not write {amounts.count(len(gap), 'character')} of this data; words with "
                f"{amounts.noun(len(gap), 'it', 'them')} are wrong: {shown}"
            )
        )
    scratch, cache = folder / "scratch", workspace.root / "cache" / "ipu"
    try:
        decode = meant.decoder.make(recognizer.vocabulary, emit)
        found = transcription.hypotheses(
            meant.how, recognizer, split, cache=cache, scratch=scratch, emit=emit, decode=decode
        )
        return _score(split, found, folder, _other_texts(meant))
    finally:
        files.remove_tree(scratch)


def _gap(recognizer: loading.Recognizer, meant: ResolvedEvaluation) -> List[str]:
    """Characters that the model can not write. Raises PresetError, BadData where it is not for this data at all."""
    loading.require_rate(recognizer, meant.split.sample_rate)
    return alphabet_gap(recognizer.vocabulary, meant.chosen.data.vocabulary())


def _other_texts(meant: ResolvedEvaluation) -> OtherTexts:
    """Raises BadData where what is kept of them is damaged."""
    split = meant.split
    if meant.chosen.data.vocabulary().phones:
        return OtherTexts(len(split), None, other_texts.PHONEMES, normalizes=False)
    if meant.chosen.data.summary.splits[split.name].raw_texts is None:
        return OtherTexts(len(split), None, other_texts.NOT_KEPT)
    return OtherTexts(len(split), split.raw_texts(), None)


def _score(
    split: PreparedSplit, hypotheses: Iterable[Tuple[int, str]], folder: Path, others: OtherTexts
) -> Tuple[metrics.Tally, OtherTexts]:
    """Score hypotheses as they come (any order) and write hypotheses.jsonl in the split's order, in flat memory."""
    tally = metrics.Tally(len(split))
    starts = np.full(len(split), -1, dtype=np.int64)
    spool = folder / "hypotheses.part"
    with open(spool, "wb") as stream:
        for index, hypothesis in hypotheses:
            # A stranger's vocabulary can hold half a character, which no file can.
            hypothesis = hypothesis.encode("utf-8", "replace").decode("utf-8")
            scored = tally.add(index, split.id(index), split.text(index), hypothesis)
            others.add(index, scored.reference, hypothesis)
            starts[index] = stream.tell()
            stream.write(json.dumps(records.as_dict(scored), ensure_ascii=False).encode("utf-8") + b"\n")
    with open(spool, "rb") as source, open(folder / "hypotheses.jsonl", "wb") as target:
        for start in starts:
            source.seek(int(start))
            target.write(source.readline())
    spool.unlink()
    return tally, others


@dataclass(frozen=True)
class _Transcribed:
    """What each line of hypotheses.jsonl has at least."""

    id: str
    reference: str
    hypothesis: str


def read_hypotheses(path: Path) -> List[Dict[str, Any]]:
    """The rows of a hypotheses.jsonl. Raises BadData."""
    rows = []
    for number, row in files.read_json_lines(path, fix=_FIX_EVALUATION):
        records.read(_Transcribed, row, f"{path}, line {number} is damaged", fix=_FIX_EVALUATION)
        rows.append(row)
    return rows
