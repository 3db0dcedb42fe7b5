"""A model -> a folder that other programs load, verified on real utterances, published as exports/ID."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from asrctl.commands.dry_run import DryRun
from asrctl.commands.evaluation_files import read_metrics
from asrctl.commands.select import ChosenData, TrainedModel, find_data, find_model, is_elsewhere, sentence
from asrctl.data.dataset import PreparedData, PreparedSplit
from asrctl.errors import MissingArtifact, UsageError
from asrctl.evaluation.decoding import GREEDY
from asrctl.events import Emit, Note, Progress, ignore
from asrctl.export import card, delivery
from asrctl.messages import suggestions
from asrctl.models import frame_counts, loading, lora_weights, weights
from asrctl.models.frames import Convolutions
from asrctl.models.loading import Recognizer
from asrctl.storage import checksums, files, records
from asrctl.storage.hashing import digest
from asrctl.storage.workspace import Artifact, Key, Workspace

VERSION = 3
FORMATS = ("hf", "onnx")
# Enough to see every length; long ones cost seconds each on a CPU.
_SAMPLES = 6
_LONGEST_S = 30.0
_SPLITS = ("eval", "test", "train")
_OF_RUN = ("preset", "base", "steps", "best", "device", "emulated", "precision", "command", "versions")


@dataclass(frozen=True)
class ExportRequest:
    """output: a folder that gets a copy. data: whose utterances verify it; default is the run's, else the latest.

    merge: of a run of LoRA, one whole model instead of what it adds to its base.
    """

    run: Optional[str] = None
    model: Optional[str] = None
    data: Optional[str] = None
    format: str = "hf"
    output: Optional[Path] = None
    force: bool = False
    merge: bool = False


@dataclass(frozen=True)
class ExportResult:
    """verified: what the check on real utterances found. files: {name: bytes}."""

    artifact: Artifact
    format: str
    run: Optional[str]
    model: Path
    output: Optional[Path]
    verified: Mapping[str, Any]
    files: Mapping[str, int]
    unchanged: bool

    @property
    def folder(self) -> Path:
        """Where the export lies for the user."""
        return self.output or self.artifact.path

    def as_dict(self) -> Dict[str, Any]:
        return {
            "id": self.artifact.id,
            "format": self.format,
            "run": self.run,
            "model": str(self.model),
            "path": str(self.artifact.path),
            "output": str(self.output) if self.output is not None else None,
            "verified": dict(self.verified),
            "files": dict(self.files),
            "unchanged": self.unchanged,
        }


def export(workspace: Workspace, request: ExportRequest, emit: Emit = ignore) -> ExportResult:
    """Write, verify and publish; then copy to `output`. An export that is there already is only copied.

    Raises MissingArtifact (no model or data), MissingDependency (ONNX), BadData (the export does not compute what the
    model computes), UsageError (unknown format, `output` in use).
    """
    target = _check(workspace, request)
    trained = _trained(workspace, request, target)
    chosen = find_data(workspace, trained, request.data)
    emit(Note(f"exporting {sentence(trained, chosen)}"))
    evaluations = _evaluations(workspace, trained)
    key = _key(trained, chosen, request, evaluations)
    _refuse_another(workspace, target, key)
    with workspace.publish(key, replace=request.force) as draft:
        unchanged = draft.published is not None
        if not unchanged:
            verified = _write(trained, chosen, evaluations, _kind(trained, request), draft.path, emit)
            info = trained.info()
            draft.summary.update(
                format=request.format,
                model=trained.name,
                run=trained.name if trained.run is not None else None,
                best=None if info is None else records.plain(info.best),
                data=chosen.name,
                verified=verified,
            )
    if unchanged:
        emit(Note(f"nothing has changed: export {key.id} is there already"))
        if target is None:
            delivery.check(draft.artifact.path)
    if target is not None:
        delivery.deliver(draft.artifact.path, target)
    return _result(draft.artifact, trained, request, unchanged)


def plan(workspace: Workspace, request: ExportRequest, emit: Emit = ignore) -> DryRun:
    """What `export` would do; nothing is written or fetched. Raises what `export` raises before it begins.

    Of the model only its files' heads are read.
    """
    target = _check(workspace, request)
    copy = request.output if target is None or target.refusal is None else None
    output = {"output": copy} if copy is not None else {}
    if request.run is None and is_elsewhere(request.model, emit):
        if target is not None:
            delivery.refuse_another(target, None)
        return _plan_unseen(find_data(workspace, None, request.data), request, output)
    trained = _trained(workspace, request, target)
    chosen = find_data(workspace, trained, request.data)
    emit(Note(f"exporting {sentence(trained, chosen)}"))
    key = _key(trained, chosen, request, _evaluations(workspace, trained))
    _refuse_another(workspace, target, key)
    unchanged = not request.force and workspace.find(key.kind, key.id) is not None
    disk_bytes = None
    if not unchanged:
        found = loading.examine_trained(trained.folder)
        loading.require_rate(found, chosen.data.sample_rate)
        size = loading.num_bytes(found)
        if _kind(trained, request) == "peft":
            size = (trained.folder / lora_weights.WEIGHTS).stat().st_size
        disk_bytes = size * (1 + len(output))
    return DryRun(
        reads={"model": trained.folder, "data": chosen.data.artifact.path},
        writes={"export": workspace.folder(key.kind, key.id), **output},
        unchanged=unchanged,
        facts={
            "run": trained.name if trained.run is not None else None,
            "data": {"name": chosen.name, "id": chosen.data.artifact.id},
            "format": request.format,
            "verified_on": [name for name, _ in _chosen_utterances(trained, chosen)],
            "id": key.id,
            "disk_bytes": disk_bytes,
        },
    )


def _plan_unseen(chosen: ChosenData, request: ExportRequest, writes: Mapping[str, Path]) -> DryRun:
    """What is known without the model."""
    reads = {"model": Path(str(request.model)), "data": chosen.data.artifact.path}
    data = {"name": chosen.name, "id": chosen.data.artifact.id}
    unknown = {"run": None, "id": None, "disk_bytes": None}
    facts: Dict[str, Any] = {"data": data, "format": request.format, "verified_on": [], **unknown}
    return DryRun(reads, writes, unchanged=False, facts=facts)


def _check(workspace: Workspace, request: ExportRequest) -> Optional[delivery.Target]:
    """Where the copy goes, if one was asked for. Raises UsageError, MissingDependency."""
    if request.format not in FORMATS:
        raise UsageError(
            f"there is no export format {request.format!r}", fix=suggestions.one_of(request.format, FORMATS)
        )
    target = None
    if request.output is not None:
        target = delivery.find_target(workspace, request.output, force=request.force)
    if request.format == "onnx":
        from asrctl.export import onnx

        onnx.require()
    return target


def _refuse_another(workspace: Workspace, target: Optional[delivery.Target], key: Key) -> None:
    """Raises UsageError where the copy would go into a folder that holds something else than that export."""
    if target is not None:
        found = workspace.find(key.kind, key.id)
        delivery.refuse_another(target, None if found is None else found.path)


def _trained(workspace: Workspace, request: ExportRequest, target: Optional[delivery.Target]) -> TrainedModel:
    trained = find_model(workspace, request.run, request.model)
    if request.format == "onnx":
        from asrctl.export import onnx

        onnx.require_kind(str(weights.read_config(trained.folder)["model_type"]))
    if target is not None:
        delivery.refuse_source(target, trained.folder)
    if request.merge and not lora_weights.is_in(trained.folder):
        raise UsageError(f"{trained.name} is a whole model, and has nothing to merge", fix="leave out --merge")
    if _kind(trained, request) == "peft":
        from asrctl.export import peft_folder

        peft_folder.require()
    return trained


def _kind(trained: TrainedModel, request: ExportRequest) -> str:
    """hf, onnx or peft: what is written."""
    adds = request.format == "hf" and not request.merge and lora_weights.is_in(trained.folder)
    return "peft" if adds else request.format


def _evaluations(workspace: Workspace, trained: TrainedModel) -> List[Artifact]:
    """Greedy evaluations of this very model, by split and precision; a search brings a language model along."""
    found = [artifact for artifact in workspace.all("evals") if _model_of(artifact) == trained.digest]
    found = [artifact for artifact in found if artifact.meta.get("parameters", {}).get("decoder", GREEDY) == GREEDY]
    return sorted(
        found, key=lambda artifact: (artifact.summary.get("split", ""), str(artifact.summary.get("precision", "")))
    )


def _model_of(artifact: Artifact) -> Any:
    """Digest of the model that an evaluation is of."""
    return artifact.meta.get("inputs", {}).get("model")


def _key(trained: TrainedModel, chosen: ChosenData, request: ExportRequest, evaluations: List[Artifact]) -> Key:
    inputs: Dict[str, Any] = {"model": trained.digest, "data": chosen.data.artifact.id}
    if request.format == "hf":  # what the card tells
        inputs["evaluations"] = [artifact.id for artifact in evaluations]
        inputs["card"] = digest([trained.name, chosen.name, _told(trained)])
    adds = {"merge": False} if _kind(trained, request) == "peft" else {}
    return Key(kind="exports", version=VERSION, parameters={"format": request.format, **adds}, inputs=inputs)


def _told(trained: TrainedModel) -> Dict[str, Any]:
    """What a card tells of a run."""
    info = trained.info()
    told = {} if info is None else records.as_dict(info)
    return {name: told[name] for name in _OF_RUN if name in told}


def _write(
    trained: TrainedModel, chosen: ChosenData, evaluations: List[Artifact], kind: str, folder: Path, emit: Emit
) -> Dict[str, Any]:
    recognizer = trained.recognizer()
    loading.require_rate(recognizer, chosen.data.sample_rate)
    utterances = _chosen_utterances(trained, chosen)
    emit(Progress(f"export {kind}", 0, 2, detail="writing"))
    facts = _facts(trained, chosen, evaluations, recognizer)
    if kind == "hf":
        verified = _write_hf(recognizer, facts, folder, utterances, emit)
    elif kind == "peft":
        verified = _write_peft(trained.folder, recognizer, facts, folder, utterances)
    else:
        verified = _write_onnx(recognizer, folder, utterances, emit)
    checksums.write_sums(folder)
    emit(Progress(f"export {kind}", 2, 2, detail="verified"))
    return verified


def _write_hf(
    recognizer: Recognizer, facts: card.CardFacts, folder: Path, utterances: List[Tuple[str, np.ndarray]], emit: Emit
) -> Dict[str, Any]:
    from asrctl.export import hf

    hf.write(recognizer, folder, card.render(facts))
    emit(Progress("export hf", 1, 2, detail="verifying with plain transformers"))
    return hf.verify(recognizer, folder, utterances)


def _write_peft(
    source: Path,
    recognizer: Recognizer,
    facts: card.CardFacts,
    folder: Path,
    utterances: List[Tuple[str, np.ndarray]],
) -> Dict[str, Any]:
    from asrctl.export import peft_folder

    base = peft_folder.base_of(source).checkpoint
    peft_folder.write(source, folder, card.render(replace(facts, adds_to=base)))
    return peft_folder.verify(recognizer, folder, utterances)


def _write_onnx(
    recognizer: Recognizer, folder: Path, utterances: List[Tuple[str, np.ndarray]], emit: Emit
) -> Dict[str, Any]:
    from asrctl.export import onnx

    onnx.write_graph(recognizer, folder / "model.onnx")
    onnx.write_description(recognizer, folder)
    files.write_text(folder / "README.md", card.render_onnx(recognizer.features, recognizer.vocabulary))
    emit(Progress("export onnx", 1, 2, detail="verifying with onnxruntime"))
    # Each alone, and then the longest half together with the shortest: padding must change nothing.
    groups = [[utterance] for utterance in utterances]
    if len(utterances) > 1:
        groups.append([*utterances[: len(utterances) // 2], utterances[-1]])
    parity = onnx.compare(recognizer, folder / "model.onnx", groups).as_dict()
    files.write_json(folder / "parity.json", parity)
    return parity


def _chosen_utterances(trained: TrainedModel, chosen: ChosenData) -> List[Tuple[str, np.ndarray]]:
    return choose_utterances(chosen.data, frame_counts.of_folder(trained.folder))


def choose_utterances(data: PreparedData, encoder: Convolutions) -> List[Tuple[str, np.ndarray]]:
    """Up to six utterances (id, pcm (time,) int16), from the shortest to the longest of at most 30 s.

    Those of the evaluation split if there is one. encoder: the model's; data that was prepared for another one may hold
    utterances of which this one makes no frame, and those show nothing. Raises MissingArtifact where none is left.
    """
    for name in _SPLITS:
        if name in data.splits:
            split = data.split(name)
            chosen = _spread(split, encoder)
            if chosen:
                return [(split.id(index), np.array(split[index].pcm)) for index in chosen]
    raise MissingArtifact(
        "the prepared data holds no utterance that is long enough to verify the export with",
        fix="prepare more data, and name it with --data",
    )


def _spread(split: PreparedSplit, encoder: Convolutions) -> List[int]:
    order = np.argsort(split.num_samples, kind="stable")
    order = order[encoder.frames(split.num_samples[order]) > 0]
    short_enough = order[split.num_samples[order] <= _LONGEST_S * split.sample_rate]
    order = short_enough if len(short_enough) else order[:1]
    places = np.linspace(0, len(order) - 1, min(_SAMPLES, len(order))).round().astype(int)
    return [int(order[place]) for place in places]


def _facts(
    trained: TrainedModel, chosen: ChosenData, evaluations: List[Artifact], recognizer: Recognizer
) -> card.CardFacts:
    own_data = trained.run is not None and trained.run.info().data.id == chosen.data.artifact.id
    return card.CardFacts(
        name=trained.name,
        model_type=recognizer.model.config.model_type,
        parameters=sum(tensor.numel() for tensor in recognizer.model.parameters()),
        sample_rate=recognizer.features.sample_rate,
        vocabulary=len(recognizer.vocabulary),
        run=trained.info(),
        data_name=chosen.name if own_data else None,
        data=chosen.data.summary if own_data else None,
        language=recognizer.language,
        evaluations=[(item.summary.get("data"), read_metrics(item)) for item in evaluations],
    )


def _result(artifact: Artifact, trained: TrainedModel, request: ExportRequest, unchanged: bool) -> ExportResult:
    paths = sorted(path for path in artifact.path.iterdir() if path.name != "meta.json")
    return ExportResult(
        artifact=artifact,
        format=request.format,
        run=trained.name if trained.run is not None else None,
        model=trained.folder,
        output=request.output,
        verified=_verified(artifact),
        files={path.name: path.stat().st_size for path in paths},
        unchanged=unchanged,
    )


@dataclass(frozen=True)
class _Verified:
    verified: Mapping[str, Any]


def _verified(artifact: Artifact) -> Mapping[str, Any]:
    refusal = f"{artifact.path} does not say how it was verified"
    return records.read(_Verified, artifact.summary, refusal, fix="export again with --force").verified
