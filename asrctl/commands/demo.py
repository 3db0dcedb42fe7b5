"""The whole way on a corpus that the machine speaks itself: vocab, prepare, train, eval, export, as users call them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Set, Tuple, TypeVar

from asrctl.commands.evaluate import EvaluateResult, evaluate
from asrctl.commands.evaluate_request import EvaluateRequest
from asrctl.commands.evaluation_files import read_hypotheses
from asrctl.commands.export import ExportRequest, ExportResult, export
from asrctl.commands.prepare import prepare
from asrctl.commands.prepare_request import PrepareRequest
from asrctl.commands.rule_flags import RuleFlags
from asrctl.commands.run_training import TrainResult
from asrctl.commands.train import train
from asrctl.commands.train_request import TrainRequest
from asrctl.commands.vocab import VocabRequest, vocab
from asrctl.data.dataset import PreparedData, PreparedSplit
from asrctl.data.manifest import CorpusChoice
from asrctl.evaluation import metrics
from asrctl.events import Emit, Note, ignore
from asrctl.storage.workspace import Workspace
from asrctl.training.runs import Run

NAME = "demo"
PRESET = "demo"
_SHUFFLE_SEED = 0
_SHOWN = 6

T = TypeVar("T")


@dataclass(frozen=True)
class VoiceResult:
    """A voice of the test. new_accent: training heard no voice of this accent."""

    name: str
    utterances: int
    wer: float
    new_accent: bool


@dataclass(frozen=True)
class Transcript:
    """What was said, and what the model wrote."""

    voice: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class DemoResult:
    """wer: on voices that training never heard. shuffled_wer: the same transcripts against other recordings.

    seconds: {stage: duration}.
    """

    wer: float
    shuffled_wer: float
    words: int
    voices: Sequence[VoiceResult]
    transcripts: Sequence[Transcript]
    run: str
    model: Path
    export: Path
    seconds: Dict[str, float]
    next: Sequence[str]

    def as_dict(self) -> Dict[str, Any]:
        return dict(
            self.__dict__,
            voices=[voice.__dict__ for voice in self.voices],
            transcripts=[transcript.__dict__ for transcript in self.transcripts],
            model=str(self.model),
            export=str(self.export),
            next=list(self.next),
        )


def demo(workspace: Workspace, *, force: bool = False, emit: Emit = ignore) -> DemoResult:
    """Run every stage; what is there already is not done again. force: train anew. Raises what the stages raise."""
    clock = _Clock(emit)
    choice, flags = CorpusChoice(NAME, name=NAME), RuleFlags(preset=PRESET)
    clock.run("vocab", lambda: vocab(workspace, VocabRequest(choice, flags), emit))
    again = PrepareRequest(choice, flags, command=workspace.named(("asrctl", "demo")))
    clock.run("prepare", lambda: prepare(workspace, again, emit))
    trained: TrainResult = clock.run("train", lambda: train(workspace, _train_request(workspace, force), emit))
    evaluated: EvaluateResult = clock.run(
        "eval", lambda: evaluate(workspace, EvaluateRequest(run=NAME, split="test", device="cpu"), emit)
    )
    exported: ExportResult = clock.run("export", lambda: export(workspace, ExportRequest(run=NAME, format="hf"), emit))
    data = PreparedData(workspace.resolve("prepared", NAME, fix="run `asrctl demo` again"))
    rows = read_hypotheses(evaluated.hypotheses)
    references, hypotheses = [row["reference"] for row in rows], [row["hypothesis"] for row in rows]
    test = data.split("test")
    voices = [test[index].speaker or "?" for index in range(len(test))]
    return DemoResult(
        wer=evaluated.wer,
        shuffled_wer=metrics.shuffled_wer(references, hypotheses, _SHUFFLE_SEED),
        words=evaluated.metrics.words,
        voices=_by_voice(voices, references, hypotheses, _accents(data.split("train"))),
        transcripts=_one_of_each(voices, references, hypotheses),
        run=trained.run,
        model=trained.model,
        export=exported.folder,
        seconds=clock.seconds,
        next=_next(workspace, exported.folder),
    )


def _train_request(workspace: Workspace, force: bool) -> TrainRequest:
    resume = Run(workspace.run(NAME)).exists() and not force
    return TrainRequest(
        preset=None if resume else PRESET,
        data=NAME,
        run=NAME,
        device="cpu",
        resume=resume,
        overwrite=force,
        command=("asrctl", "demo"),
    )


class _Clock:
    """Runs the stages one after another, says which one it is, and keeps how long each took."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.seconds: Dict[str, float] = {}

    def run(self, stage: str, work: Callable[[], T]) -> T:
        self._emit(Note(f"-- {stage} --"))
        began = time.monotonic()
        result = work()
        self.seconds[stage] = round(time.monotonic() - began, 1)
        return result


def _accents(split: PreparedSplit) -> Set[str]:
    return {_accent(utterance.speaker or "") for utterance in split}


def _accent(voice: str) -> str:
    """ "en-gb-scotland+f4" -> "en-gb-scotland": eSpeak's voice without its variant."""
    return voice.partition("+")[0]


def _by_voice(
    voices: Sequence[str], references: Sequence[str], hypotheses: Sequence[str], heard: Set[str]
) -> List[VoiceResult]:
    found = []
    for name in sorted(set(voices)):
        mine = [index for index, voice in enumerate(voices) if voice == name]
        wer = metrics.word_error_rate([references[i] for i in mine], [hypotheses[i] for i in mine])
        found.append(VoiceResult(name, len(mine), wer, _accent(name) not in heard))
    return found


def _one_of_each(voices: Sequence[str], references: Sequence[str], hypotheses: Sequence[str]) -> List[Transcript]:
    first: Dict[str, Tuple[str, str]] = {}
    for voice, reference, hypothesis in zip(voices, references, hypotheses):
        first.setdefault(voice, (reference, hypothesis))
    return [Transcript(voice, *texts) for voice, texts in sorted(first.items())][:_SHOWN]


def _next(workspace: Workspace, exported: Path) -> List[str]:
    return [
        workspace.command("status"),
        workspace.command("prepare", "folder", "FOLDER"),
        workspace.command("export", "--run", NAME, "--format", "onnx"),
    ]
