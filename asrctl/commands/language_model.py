"""Transcripts and texts -> an n-gram language model, published as lm/ID."""

from __future__ import annotations

import io
import itertools
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from asrctl.commands.select import latest_data
from asrctl.data.dataset import PreparedData
from asrctl.data.text import TextRules, Vocabulary
from asrctl.errors import BadData, UsageError
from asrctl.events import Emit, Note, Progress, Warned, ignore
from asrctl.language_models import arpa, counts, kneser_ney, perplexity, stored
from asrctl.language_models.ngram import NgramModel
from asrctl.language_models.vocabulary import SPECIAL
from asrctl.messages import amounts, reasons, suggestions
from asrctl.storage import files, names, output_files, packed, records
from asrctl.storage.hashing import file_sha256
from asrctl.storage.workspace import Artifact, Key, Workspace

VERSION = 1
_FIX_DATA = "run `asrctl prepare CORPUS` first, or name prepared data with --data"
_ORDERS = (1, 6)
_EVERY = 100_000


@dataclass(frozen=True)
class LanguageModelRequest:
    """sources: names of prepared data, whose training transcripts are taken, and text files, a sentence a line.

    data: prepared data by whose rules texts are written, default the first among the sources, or the latest. prune: for
    each order the count up to which n-grams are left out. output: an ARPA file to write as well.
    """

    sources: Tuple[str, ...]
    name: str
    order: int = 3
    prune: Tuple[int, ...] = ()
    data: Optional[str] = None
    output: Optional[Path] = None
    force: bool = False


@dataclass(frozen=True)
class Measured:
    """The model on the eval split of the data. perplexity: without the words that it does not know, `unknown` of
    `words`."""

    words: int
    unknown: int
    perplexity: Optional[float]


@dataclass(frozen=True)
class LanguageModelSummary:
    """ngrams: of each order. words: known ones, without <unk> and the like. tokens, sentences: of the text. text: the
    rules that it was written by. guessed: orders whose discounts the text was too small or too regular for.
    """

    order: int
    prune: Tuple[int, ...]
    ngrams: Tuple[int, ...]
    words: int
    tokens: int
    sentences: int
    text: Dict[str, Any]
    guessed: Tuple[int, ...]
    measured: Optional[Measured]


@dataclass(frozen=True)
class LanguageModelResult:
    """new: False where it was there already."""

    name: str
    id: str
    path: Path
    new: bool
    output: Optional[Path]
    summary: LanguageModelSummary

    def as_dict(self) -> Dict[str, Any]:
        own = {"name": self.name, "id": self.id, "path": str(self.path), "new": self.new}
        return {**own, "output": None if self.output is None else str(self.output), **records.as_dict(self.summary)}


def language_model(workspace: Workspace, request: LanguageModelRequest, emit: Emit = ignore) -> LanguageModelResult:
    """Count, estimate and publish. Raises UsageError, MissingArtifact, BadData (no text), OSError."""
    _check(request)
    output = None
    if request.output is not None:
        output = output_files.meant(workspace, request.output, arpa.is_arpa, what="an ARPA file", replace=request.force)
    sources = [_source(workspace, word) for word in request.sources]
    data = _data(workspace, request, sources, emit)
    rules = TextRules() if data is None else TextRules(**data.summary.text)
    key = Key(
        "lm",
        VERSION,
        parameters={"order": request.order, "prune": list(request.prune), "text": rules.as_dict()},
        inputs={"sources": [source.digest for source in sources], "data": None if data is None else data.artifact.id},
    )
    workspace.create()
    with workspace.publish(key, replace=request.force) as draft:
        is_new = draft.published is None
        if is_new:
            texts = itertools.chain.from_iterable(source.texts(rules) for source in sources)
            with tempfile.TemporaryDirectory(dir=str(draft.path)) as scratch:
                counted = _counted(texts, request.order, Path(scratch), emit)
            estimated = kneser_ney.estimate(counted, request.prune)
            _tell(estimated, data, emit)
            stored.save(estimated.model, draft.path)
            draft.summary = records.as_dict(_summary(request, counted, estimated, rules, data))
    artifact = draft.artifact
    workspace.set_ref("lm", request.name, artifact.id)
    if output is not None:
        with output.written() as temporary:
            arpa.write(stored.load(artifact.path), temporary, as_gzip=output.path.suffix == ".gz")
    written = None if output is None else output.path
    return LanguageModelResult(request.name, artifact.id, artifact.path, is_new, written, summary_of(artifact))


def summary_of(artifact: Artifact) -> LanguageModelSummary:
    """Raises BadData."""
    refusal = f"{artifact.path} does not say what it holds"
    return records.read(LanguageModelSummary, artifact.summary, refusal, fix="make it again with --force")


def default_name(source: str) -> str:
    """What a model is called where nobody says: as its first source, a file without its folders and endings."""
    stem = Path(source).name.partition(".")[0]
    return names.shortened(names.made_of(stem, "-_", is_short=True).strip("-")) or "lm"


def _check(request: LanguageModelRequest) -> None:
    low, high = _ORDERS
    if not low <= request.order <= high:
        raise UsageError(f"--order {request.order} is not from {low} to {high}", fix="3 or 4 suit most texts")
    prune = request.prune
    if prune and (prune[0] != 0 or len(prune) > request.order or list(prune) != sorted(prune)):
        raise UsageError(
            f"--prune {','.join(map(str, prune))} must begin with 0, never fall, and have at most {request.order} "
            "numbers",
            fix="write --prune 0,0,1 to leave out 3-grams that were seen once",
        )


@dataclass(frozen=True)
class _Source:
    """A text: prepared data, or a file. digest: of what it holds."""

    digest: str
    data: Optional[PreparedData] = None
    path: Optional[Path] = None

    def texts(self, rules: TextRules) -> Iterator[str]:
        """Sentences by the rules; those of prepared data follow its own already. Raises BadData."""
        if self.data is not None:
            split = self.data.split("train")
            return (split.text(row) for row in range(len(split)))
        return map(rules.apply, _lines(self.path or Path()))


def _source(workspace: Workspace, word: str) -> _Source:
    path = files.expanded(word)
    known = workspace.names("prepared")
    if word not in known and path.is_file():
        return _Source(file_sha256(path), path=path)
    if word not in known and path.is_dir():
        raise UsageError(f"{path} is a folder", fix="name the text files in it, such as texts/*.txt")
    if word not in known and workspace.find("prepared", word) is None:
        names_known = ", ".join(known) or "none"
        raise UsageError(
            f"there is no file and no prepared data called {word!r} (prepared: {names_known})",
            fix=suggestions.question(word, list(known), str) or "give a text file, or the name of prepared data",
        )
    data = _words_of(PreparedData(workspace.resolve("prepared", word, fix=_FIX_DATA)))
    return _Source(data.content, data=data)


def _words_of(data: PreparedData) -> PreparedData:
    """The data, if it holds words. Raises UsageError."""
    if data.vocabulary().phones:
        raise UsageError(
            f"the texts of {data.summary.name} are phonemes, of which no language model of words is made",
            fix="name data that was prepared without --phonemes",
        )
    return data


def _data(
    workspace: Workspace, request: LanguageModelRequest, sources: Sequence[_Source], emit: Emit
) -> Optional[PreparedData]:
    """The data by whose rules texts are written; None where there is none at all."""
    if request.data is not None:
        return _words_of(PreparedData(workspace.resolve("prepared", request.data, fix=_FIX_DATA)))
    named = [source.data for source in sources if source.data is not None]
    if named:
        return named[0]
    if workspace.latest("prepared") is None:
        emit(Note("there is no prepared data whose rules the text could follow: it is taken in lower case"))
        return None
    name, data = latest_data(workspace)
    emit(Note(f"texts are written by the rules of the data {name}, the latest prepared"))
    return _words_of(data)


def _lines(path: Path) -> Iterator[str]:
    """Of a text in UTF-8, plain or .gz. Raises BadData."""
    fix = "give a text in UTF-8, a sentence a line"
    try:
        with packed.opened(path, fix=fix) as stream:
            yield from io.TextIOWrapper(stream, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"{path} is no text in UTF-8 ({reasons.reason(error)})", fix=fix) from None


def _counted(texts: Iterator[str], order: int, scratch: Path, emit: Emit) -> counts.NgramCounts:
    """Raises BadData for a text without words."""
    marks: "Counter[str]" = Counter()

    def sentences() -> Iterator[List[str]]:
        for number, text in enumerate(texts, 1):
            words = text.split()
            marks.update(word for word in words if word in SPECIAL)
            yield [word for word in words if word not in SPECIAL]
            if number % _EVERY == 0:
                emit(Progress("read text", number, None, "sentences"))

    try:
        found = counts.count(filter(None, sentences()), order, scratch)
    except ValueError:
        raise BadData("the text holds no words", fix="give prepared data or text files that hold some") from None
    if marks:
        told = ", ".join(f"{mark} {amounts.count(count, 'time')}" for mark, count in marks.items())
        emit(Warned(f"the text holds {told}: marks of language models, which are no words, and are left out"))
    return found


def _tell(estimated: kneser_ney.Estimated, data: Optional[PreparedData], emit: Emit) -> None:
    if estimated.guessed:
        orders = " and ".join(f"{order}-grams" for order in estimated.guessed)
        emit(Note(f"the text is too small, or too regular, to tell the discounts of {orders}: usual ones are taken"))
    if data is None:
        return
    words = list(arpa.known_words(estimated.model))
    odd = [word for word in words if not spellable(word, data.vocabulary())]
    if odd:
        emit(
            Warned(
                f"{amounts.count(len(odd), 'word')} of {len(words):,}, such as {odd[0]!r}, can not be written with the "
                f"vocabulary of {data.summary.name}: no model of it will say them"
            )
        )


def spellable(word: str, vocabulary: Vocabulary) -> bool:
    """Whether every character of a word is a label."""
    return set(word) <= vocabulary.letters.keys()


def _summary(
    request: LanguageModelRequest,
    counted: counts.NgramCounts,
    estimated: kneser_ney.Estimated,
    rules: TextRules,
    data: Optional[PreparedData],
) -> LanguageModelSummary:
    model = estimated.model
    return LanguageModelSummary(
        order=request.order,
        prune=request.prune,
        ngrams=tuple(len(table) for table in model.tables),
        words=len(arpa.known_words(model)),
        tokens=counted.tokens,
        sentences=counted.sentences,
        text=rules.as_dict(),
        guessed=estimated.guessed,
        measured=_measured(model, data),
    )


def _measured(model: NgramModel, data: Optional[PreparedData]) -> Optional[Measured]:
    if data is None or "eval" not in data.splits:
        return None
    split = data.split("eval")
    found = perplexity.of_text(model, (split.text(row).split() for row in range(len(split))))
    value = None if found.perplexity is None else round(found.perplexity, 2)
    return Measured(found.words, found.unknown, value)
