"""`eval --tune`: the weights of a language model that suit a model best, on the eval split, kept with its name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from asrctl.commands import transcription
from asrctl.commands.decoder_choice import ChosenDecoder, tunable
from asrctl.commands.evaluate_request import EvaluateRequest, resolve
from asrctl.data.dataset import PreparedSplit
from asrctl.data.sampler import generator
from asrctl.errors import UsageError
from asrctl.evaluation.beam_search import BeamRules, BeamSearch, log_probabilities
from asrctl.evaluation.metrics import word_error_rate
from asrctl.events import Emit, Note, Progress, ignore
from asrctl.storage import scratch
from asrctl.storage.workspace import Workspace

# One weight after the other, each at the best of the other; what both end at is rarely bettered by a full grid.
ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0)
BETAS = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
_ROUNDS = 2
# More speech than this is drawn from: it would take long, and two numbers need no more.
_MOST_S = 1800.0
_SAMPLE_STREAM = 9


@dataclass(frozen=True)
class Tuned:
    """The weights with the lowest word error rate, and all that were tried: (alpha, beta, WER)."""

    alpha: float
    beta: float
    wer: float
    utterances: int
    tried: Tuple[Tuple[float, float, float], ...]

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__, tried=[list(row) for row in self.tried])


def tune(workspace: Workspace, request: EvaluateRequest, emit: Emit = ignore) -> Tuned:
    """Try weights, and keep the best with the name of the language model, for `--decoder tuned`.

    Raises UsageError where that is not the eval split or no language model of this workspace, and what evaluate raises.
    """
    if request.split not in (None, "eval"):
        raise UsageError(
            f"weights are tuned on the eval split, never on {request.split}", fix="leave --split out with --tune"
        )
    name = tunable(workspace, request.decoder)
    meant = resolve(workspace, request, emit)
    if meant.split.name != "eval":
        raise UsageError(
            f"{meant.chosen.name} has no eval split to tune on", fix="prepare data with one, and name it with --data"
        )
    recognizer = meant.trained.recognizer()
    split = _sample(meant.split)
    emit(Note(f"tuning on {len(split)} utterances, {split.seconds / 60:.1f} min"))
    logs: List[np.ndarray] = []

    def kept(logits: Any, frames: Any) -> List[str]:
        found = log_probabilities(logits, frames)
        logs.extend(found)
        return [""] * len(found)

    with scratch.folder(workspace) as place:
        heard = transcription.hypotheses(
            meant.how, recognizer, split, cache=workspace.root / "cache" / "ipu", scratch=place, emit=emit, decode=kept
        )
        references = [split.text(index) for index, _ in heard]
    search = _Search(meant.decoder, recognizer.vocabulary, references, logs, emit)
    found = search.best()
    values = {"alpha": found.alpha, "beta": found.beta, "wer": found.wer, "data": meant.chosen.data.artifact.id}
    _keep(workspace, name, meant.trained.digest, values)
    return found


def _sample(split: PreparedSplit) -> PreparedSplit:
    """At most half an hour of a split, drawn once and for all."""
    if split.seconds <= _MOST_S:
        return split
    order = generator(0, _SAMPLE_STREAM).permutation(len(split))
    seconds = np.cumsum(split.num_samples[order].astype(np.float64)) / split.sample_rate
    return split.only(np.sort(order[seconds <= _MOST_S]))


class _Search:
    """Word error rates of weights, over the same log-probabilities."""

    def __init__(
        self, decoder: ChosenDecoder, vocabulary: Any, references: List[str], logs: List[np.ndarray], emit: Emit
    ) -> None:
        self._rules = decoder.rules or BeamRules()
        self._scores = decoder.word_scores(vocabulary, emit)
        self._vocabulary, self._references, self._logs, self._emit = vocabulary, references, logs, emit
        self._tried: Dict[Tuple[float, float], float] = {}

    def best(self) -> Tuned:
        alpha, beta = self._rules.alpha, self._rules.beta
        for _ in range(_ROUNDS):
            alpha = min(ALPHAS, key=lambda value: (self._wer(value, beta), value))
            beta = min(BETAS, key=lambda value: (self._wer(alpha, value), abs(value)))
        tried = tuple((*weights, wer) for weights, wer in self._tried.items())
        return Tuned(alpha, beta, self._tried[alpha, beta], len(self._logs), tried)

    def _wer(self, alpha: float, beta: float) -> float:
        """Word error rate, as a fraction."""
        if (alpha, beta) not in self._tried:
            search = BeamSearch(self._vocabulary, replace(self._rules, alpha=alpha, beta=beta), self._scores)
            self._tried[alpha, beta] = round(word_error_rate(self._references, search.texts(self._logs)), 6)
            self._emit(Progress("tune", len(self._tried), None, "weights"))
        return self._tried[alpha, beta]


def _keep(workspace: Workspace, name: str, model: str, values: Mapping[str, Any]) -> None:
    known = workspace.ref("lm", name)
    identity = known.pop("id")
    known["tuned"] = {**known.get("tuned", {}), model: dict(values, lm=identity)}
    workspace.set_ref("lm", name, identity, latest=False, **known)
