"""Which decoder `asrctl eval` uses: greedy, or a beam search with a language model that fits the model's letters."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from asrctl.commands import hotword_trials
from asrctl.commands.hotword_trials import HotwordTrials
from asrctl.commands.language_model import spellable
from asrctl.data.text import Vocabulary
from asrctl.errors import BadData, MissingArtifact, UsageError
from asrctl.evaluation import decoding, hotword_scores, hotwords
from asrctl.evaluation.beam_search import BeamRules, BeamSearch, log_probabilities
from asrctl.evaluation.decoding import GREEDY, Decoder
from asrctl.evaluation.hotwords import Hotword, HotwordStates
from asrctl.events import Emit, Warned
from asrctl.language_models import arpa, kenlm_file, stored
from asrctl.language_models.kenlm_file import KenlmModel
from asrctl.language_models.word_scores import WordModel, WordScores
from asrctl.messages import amounts, suggestions
from asrctl.storage import files, records
from asrctl.storage.hashing import digest, file_sha256
from asrctl.storage.workspace import Workspace

BEAM, TUNED = "beam", "tuned"
DECODERS = (GREEDY, BEAM, TUNED)
_ENDINGS = (".arpa", ".arpa.gz", ".gz", ".lm", ".bin", ".binary", ".mmap", ".klm")
# Of a language model's words at most this share may be beyond the letters of the model.
_MOST_BEYOND = 0.5
_FIX_LM = "make one with `asrctl lm SOURCE`, or give an ARPA file or KenLM's binary one"


@dataclass(frozen=True)
class DecoderRequest:
    """What was asked for. name: one of DECODERS; default: beam where there is a language model or hotwords. lm: its
    name, an ARPA file, or a binary one of KenLM. width, alpha, beta: of the search, default as in BeamRules. hotwords:
    a file of these; hotword_weight: of those without one of their own.
    """

    name: Optional[str] = None
    lm: Optional[str] = None
    width: Optional[int] = None
    alpha: Optional[float] = None
    beta: Optional[float] = None
    hotwords: Optional[str] = None
    hotword_weight: Optional[float] = None


@dataclass(frozen=True)
class ChosenDecoder:
    """rules: None for greedy. lm: digest or ID of the language model, and where it is. hotwords: as in their file."""

    rules: Optional[BeamRules] = None
    lm: Optional[str] = None
    lm_path: Optional[Path] = None
    hotwords: Tuple[Hotword, ...] = ()

    @property
    def name(self) -> str:
        return GREEDY if self.rules is None else BEAM

    @property
    def parameters(self) -> Dict[str, Any]:
        """What becomes part of an evaluation's ID, and of its metrics."""
        if self.rules is None:
            return {"decoder": GREEDY}
        found = {"decoder": BEAM, "beam": asdict(self.rules), **({"lm": self.lm} if self.lm else {})}
        if self.hotwords:
            found["hotwords"] = digest(sorted([each.words, each.weight] for each in self.hotwords))
        return found

    def make(self, vocabulary: Vocabulary, emit: Emit) -> Decoder:
        """Load the language model, and see whether it and the hotwords go with the model's letters. Raises BadData."""
        if self.rules is None:
            return decoding.greedy(vocabulary)
        mine = hotword_trials.fitted(self.hotwords, vocabulary, emit) if self.hotwords else []
        search = self._search(vocabulary, self.word_scores(vocabulary, emit), mine)
        return lambda logits, frames: search.texts(log_probabilities(logits, frames))

    def trials(self, vocabulary: Vocabulary, emit: Emit) -> HotwordTrials:
        """A decoder with the hotwords that counts what other weights would have given. Raises BadData."""
        mine = hotword_trials.fitted(self.hotwords, vocabulary, emit)
        scores = self.word_scores(vocabulary, emit)
        searches = {
            factor: self._search(vocabulary, scores, _weighed(mine, factor)) for factor in hotword_scores.FACTORS
        }
        return HotwordTrials(searches, mine)

    def _search(self, vocabulary: Vocabulary, scores: Optional[WordScores], mine: Sequence[Hotword]) -> BeamSearch:
        states = HotwordStates(mine, vocabulary) if mine else None
        return BeamSearch(vocabulary, self.rules or BeamRules(), scores, states)

    def word_scores(self, vocabulary: Vocabulary, emit: Emit) -> Optional[WordScores]:
        """Those of the language model, where there is one. Raises BadData."""
        if self.lm_path is None:
            return None
        model = _load(self.lm_path)
        _check(model, self.lm_path, vocabulary, emit)
        return WordScores(model)


def _weighed(mine: Sequence[Hotword], factor: float) -> List[Hotword]:
    """None of them for a factor of 0, which is how a search goes without."""
    return [replace(hotword, weight=hotword.weight * factor) for hotword in mine] if factor else []


def choose(workspace: Workspace, request: DecoderRequest, model: Optional[str]) -> ChosenDecoder:
    """model: digest of the one that is heard, where that is known. Raises UsageError, MissingArtifact, BadData."""
    chosen = _choose(workspace, request, model)
    if request.hotwords is None:
        if request.hotword_weight is not None:
            raise UsageError("--hotword-weight weighs hotwords, and there are none", fix="name a file with --hotwords")
        return chosen
    weight = hotwords.WEIGHT if request.hotword_weight is None else request.hotword_weight
    return replace(chosen, hotwords=tuple(hotwords.read(files.expanded(request.hotwords), weight)))


def _choose(workspace: Workspace, request: DecoderRequest, model: Optional[str]) -> ChosenDecoder:
    if request.name == TUNED:
        request = _tuned(workspace, request, model)
    name = request.name or (GREEDY if request.lm is None and request.hotwords is None else BEAM)
    options = {
        "--lm": request.lm,
        "--hotwords": request.hotwords,
        "--beam-width": request.width,
        "--alpha": request.alpha,
        "--beta": request.beta,
    }
    if name == GREEDY:
        given = [option for option, value in options.items() if value is not None]
        if given:
            raise UsageError(
                f"the greedy decoder takes no {given[0]}", fix=f"write `--decoder beam`, or leave out {given[0]}"
            )
        return ChosenDecoder()
    if request.lm is None and (request.alpha is not None or request.beta is not None):
        raise UsageError("--alpha and --beta weigh a language model, and there is none", fix="name one with --lm")
    rules = BeamRules() if request.width is None else BeamRules(width=request.width)
    rules = rules if request.alpha is None else replace(rules, alpha=request.alpha)
    rules = rules if request.beta is None else replace(rules, beta=request.beta)
    if request.lm is None:
        return ChosenDecoder(rules)
    return _with_model(workspace, request.lm, rules)


def _tuned(workspace: Workspace, request: DecoderRequest, model: Optional[str]) -> DecoderRequest:
    """The request with the weights that `eval --tune` has kept. Raises UsageError, MissingArtifact."""
    if request.alpha is not None or request.beta is not None:
        raise UsageError("--decoder tuned has its own --alpha and --beta", fix="leave these out, or use --decoder beam")
    known = [request.lm] if request.lm is not None else list(workspace.names("lm"))
    found = {name: weights for name in known for weights in [_weights(workspace, name, model)] if weights is not None}
    if not found:
        what = f"the language model {request.lm!r}" if request.lm else "no language model"
        raise MissingArtifact(
            f"{what} has {'not ' if request.lm else ''}been tuned for this model",
            fix=f"tune it: `asrctl eval --lm {request.lm or 'NAME'} --tune`",
        )
    if len(found) > 1:
        raise UsageError(
            f"several language models are tuned for this model: {', '.join(found)}", fix="name one of them with --lm"
        )
    ((name, weights),) = found.items()
    return replace(request, name=BEAM, lm=name, alpha=weights.alpha, beta=weights.beta)


@dataclass(frozen=True)
class TunedWeights:
    """What is kept with a language model's name for a model. lm: ID of what the name meant then; data: ID of what the
    weights were tuned on; wer: there, as a fraction."""

    alpha: float
    beta: float
    wer: float
    data: str
    lm: str


def _weights(workspace: Workspace, name: str, model: Optional[str]) -> Optional[TunedWeights]:
    """None where the language model was not tuned for this model, or was made anew since. Raises BadData."""
    if name not in workspace.names("lm"):
        return None
    known = workspace.ref("lm", name)
    kept = known.get("tuned")
    values = kept.get(model) if isinstance(kept, dict) else None
    if values is None:
        return None
    refusal = f"what {name} was tuned to can not be read"
    found = records.read(TunedWeights, values, refusal, fix=f"tune it again: `asrctl eval --lm {name} --tune`")
    return found if found.lm == known["id"] else None


def tunable(workspace: Workspace, request: DecoderRequest) -> str:
    """The name of the language model that is to be tuned. Raises UsageError."""
    if request.name == GREEDY or request.alpha is not None or request.beta is not None:
        raise UsageError(
            "--tune finds --alpha and --beta of a beam search", fix="leave --decoder, --alpha and --beta out"
        )
    if request.hotwords is not None:
        raise UsageError(
            "--tune finds what suits a model and a language model, whatever the hotwords",
            fix="tune without --hotwords first, then use `--decoder tuned --hotwords FILE`",
        )
    if request.lm is None or request.lm not in workspace.names("lm"):
        raise UsageError(
            "--tune keeps what it finds with the name of a language model of this workspace",
            fix="name one with --lm; `asrctl lm SOURCE` makes one",
        )
    return request.lm


def _with_model(workspace: Workspace, word: str, rules: BeamRules) -> ChosenDecoder:
    known = workspace.names("lm")
    path = files.expanded(word)
    if word not in known and path.is_file():
        if kenlm_file.is_binary(path):
            kenlm_file.check(path)
        return ChosenDecoder(rules, file_sha256(path), path)
    if word not in known and word.lower().endswith(_ENDINGS):
        raise MissingArtifact(f"there is no file {word}", fix=suggestions.question(word, list(known), str) or _FIX_LM)
    artifact = workspace.resolve("lm", word, fix=_FIX_LM)
    return ChosenDecoder(rules, artifact.id, artifact.path)


def _load(path: Path) -> WordModel:
    if path.is_dir():
        return stored.load(path)
    return KenlmModel(path) if kenlm_file.is_binary(path) else arpa.read(path)


def _check(model: WordModel, path: Path, vocabulary: Vocabulary, emit: Emit) -> None:
    """Raises BadData where the language model's words are of other letters, or of another case."""
    if vocabulary.delimiter_id is None or vocabulary.subwords is not None or vocabulary.phones:
        raise BadData(
            "this model's labels are not the letters of words with a delimiter between them, which a language model of "
            "words needs",
            fix="leave --lm out",
        )
    words = list(arpa.known_words(model))
    beyond = [word for word in words if not spellable(word, vocabulary)]
    if not words or len(beyond) > _MOST_BEYOND * len(words):
        example = f", such as {beyond[0]!r}" if beyond else ""
        raise BadData(
            f"{len(beyond):,} of the {amounts.count(len(words), 'word')} of the language model {path}{example}, can "
            "not be written with the letters of this model",
            fix=_fix(words, vocabulary),
        )
    if beyond:
        emit(
            Warned(
                f"{amounts.count(len(beyond), 'word')} of the language model, such as {beyond[0]!r}, can not be "
                "written with the letters of this model"
            )
        )


def _fix(words: "list[str]", vocabulary: Vocabulary) -> str:
    for case, changed in (("capitals", str.upper), ("small letters", str.lower)):
        if words and sum(spellable(changed(word), vocabulary) for word in words) > _MOST_BEYOND * len(words):
            return f"this model writes {case}: `asrctl lm TEXT --data DATA` writes texts by the rules of that data"
    return "make a language model of texts in this model's language"
