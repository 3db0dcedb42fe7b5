"""Which model, data, split, device and decoder an evaluation is of, and its ID."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from asrctl.commands import confidences, decoder_choice, transcription
from asrctl.commands.decoder_choice import ChosenDecoder, DecoderRequest
from asrctl.commands.select import (
    ChosenData,
    TrainedModel,
    alphabet_gap,
    find_data,
    find_model,
    sentence,
    warn_of_newer_data,
)
from asrctl.commands.transcription import How
from asrctl.data import glyphs
from asrctl.data.dataset import PreparedSplit
from asrctl.errors import BadData, UsageError
from asrctl.evaluation.calibration import Calibration
from asrctl.evaluation.decoding import GREEDY
from asrctl.events import Emit, Note, Warned
from asrctl.messages import amounts
from asrctl.models import loading
from asrctl.storage import records
from asrctl.storage.workspace import Key, Workspace

VERSION = 2


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
class ResolvedEvaluation:
    """A request, resolved: model, data, split, device and precision, decoder. calibration: of confidences."""

    trained: TrainedModel
    chosen: ChosenData
    split: PreparedSplit
    how: How
    decoder: ChosenDecoder
    key: Key
    calibration: Optional[Calibration]


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
    if decoder.name != GREEDY and how.recipe is not None:
        raise UsageError(
            f"on {how.device.kind} hypotheses are found greedily",
            fix="leave --decoder, --lm and --hotwords out, or use `--device cpu`",
        )
    calibration = confidences.known(trained, decoder)
    if calibration is not None and split.name == "eval" and calibration.data == chosen.data.artifact.id:
        calibration = None  # it was made from these words
    key = _key(trained, chosen, split, how, decoder, calibration)
    return ResolvedEvaluation(trained, chosen, split, how, decoder, key, calibration)


def _key(
    trained: TrainedModel,
    chosen: ChosenData,
    split: PreparedSplit,
    how: How,
    decoder: ChosenDecoder,
    calibration: Optional[Calibration],
) -> Key:
    return Key(
        kind="evals",
        version=VERSION,
        parameters={
            "split": split.name,
            "precision": how.precision,
            "device": how.device.kind,
            **decoder.parameters,
            **({} if calibration is None else {"calibration": records.plain(calibration)}),
        },
        inputs={"model": trained.digest, "data": chosen.data.artifact.id, "content": chosen.data.content},
    )


def refuse_misfit(recognizer: loading.Recognizer, meant: ResolvedEvaluation, emit: Emit) -> None:
    """Raises PresetError, BadData where the model is not for this data at all; characters that it can not write are
    told."""
    loading.require_rate(recognizer, meant.split.sample_rate)
    missing = alphabet_gap(recognizer.vocabulary, meant.chosen.data.vocabulary())
    if missing:
        shown = " ".join(map(glyphs.shown, missing[:20])) + (" ..." if len(missing) > 20 else "")
        emit(
            Warned(
                f"the model can not write {amounts.count(len(missing), 'character')} of this data; words with "
                f"{amounts.noun(len(missing), 'it', 'them')} are wrong: {shown}"
            )
        )


def run_name(trained: TrainedModel) -> Optional[str]:
    return trained.name if trained.run is not None else None
