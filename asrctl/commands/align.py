"""A model, a recording of any length and its text -> which utterance of the text is said when, and how surely."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from asrctl.alignment import document, files, heard, result, sentences, viterbi
from asrctl.alignment.files import FORMATS, Named
from asrctl.alignment.heard import Heard
from asrctl.alignment.result import Alignment, Times
from asrctl.alignment.sentences import Sentence
from asrctl.alignment.spelling import Speller, Word
from asrctl.commands import transcription
from asrctl.commands.select import TrainedModel, find_model
from asrctl.commands.transcription import How
from asrctl.data import audio, data_rules, glyphs, recordings
from asrctl.data.audio import Rejected
from asrctl.data.reading import encodings
from asrctl.errors import BadData, Interrupted, MissingArtifact, UsageError
from asrctl.evaluation.hearing import Hearing
from asrctl.evaluation.word_times import Clock
from asrctl.events import Emit, Note, Progress, Warned, ignore
from asrctl.messages import amounts
from asrctl.models import frame_counts
from asrctl.models.loading import Recognizer
from asrctl.runtime import memory
from asrctl.storage import output_files, output_paths, packed
from asrctl.storage.files import expanded, is_folder
from asrctl.storage.output_files import OutputFile
from asrctl.storage.workspace import Workspace

STDIN = "-"
# Of a text's letters and digits, more than this share that the model has not is another alphabet.
_MOST_UNKNOWN = 0.5
# What training takes by default is no longer.
_LONG_S = 20.0
_FIX_TEXT = "give a plain text in UTF-8"


@dataclass(frozen=True)
class AlignRequest:
    """recording, text: as they were typed; text may be `-`. by: one of sentences.BY. form: one of FORMATS, None for
    what the output's name says. output: None for stdout. min_score: utterances below are left out.
    """

    recording: str
    text: str
    run: Optional[str] = None
    model: Optional[str] = None
    precision: Optional[str] = None
    device: str = "auto"
    by: str = "auto"
    form: Optional[str] = None
    output: Optional[Path] = None
    min_score: Optional[float] = None
    force: bool = False


@dataclass(frozen=True)
class AlignResult:
    """seconds: that it took. lines: of the format that was asked for, where they go to stdout."""

    recording: str
    model: str
    digest: str
    by: str
    form: str
    found: Alignment
    seconds: float
    output: Optional[Path]
    lines: Tuple[str, ...]

    @property
    def counts(self) -> Dict[str, int]:
        found = self.found
        named = {"utterances": found.utterances, "not_said": found.not_said, "low": found.low}
        return {name: len(value) for name, value in {**named, "unwritten": found.unwritten}.items()}

    def as_dict(self) -> Dict[str, Any]:
        return {
            "recording": self.recording,
            "model": {"name": self.model, "digest": self.digest},
            "by": self.by,
            "counts": self.counts,
            "seconds": round(self.seconds, 3),
            "output": None if self.output is None else str(self.output),
            **self.found.as_dict(),
        }


def align(workspace: Workspace, request: AlignRequest, emit: Emit = ignore) -> AlignResult:
    """Raises UsageError, MissingArtifact, BadData (text and recording that do not go together, among others),
    DeviceError, OSError."""
    began = time.monotonic()
    recording = _recording(request.recording)
    texts, by = _texts(request, emit)
    form = request.form or ("text" if request.output is None else files.of_suffix(request.output))
    output = None if request.output is None else _output(workspace, request.output, form, request.force)
    trained = find_model(workspace, request.run, request.model)
    emit(Note(f"aligning {recording.name} by {transcription.model_words(trained)}"))
    how = transcription.choose(trained, request.device, request.precision, None, emit)
    if how.recipe is not None:
        raise UsageError(f"{how.device.kind} takes utterances of one length only", fix="use `--device cpu`")
    recognizer = trained.recognizer()
    spelled = _spelled(texts, recognizer, trained, emit)
    window_s, margin_s = transcription.training_utterances(workspace, trained)
    fix = "close other programs" if how.device.kind == "cpu" else "use `--device cpu`"
    with memory.explained(
        f"pieces of {window_s:g} s do not fit into the memory of the {how.device.kind} device", fix=fix
    ), _begun_anew():
        rule = frame_counts.of_folder(trained.folder)
        ear = Hearing.of(recognizer, rule, window_s=window_s, margin_s=margin_s, **_options(how))
        found = _aligned(recording, texts, spelled, ear, request.min_score, emit)
    memory.give_back()
    _tell(found, emit)
    named = Named("_".join(recording.stem.split()) or "recording", _path_for_others(recording, output), found)
    lines = tuple(FORMATS[form].lines(named))
    if output is not None:
        with output.written() as path:
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return AlignResult(
        recording=str(recording),
        model=trained.name,
        digest=trained.digest,
        by=by,
        form=form,
        found=found,
        seconds=time.monotonic() - began,
        output=None if output is None else output.path,
        lines=lines if output is None else (),
    )


# -- what is given ----------------------------------------------------------------------------------------------------


def _recording(typed: str) -> Path:
    """Raises UsageError, MissingArtifact."""
    path = expanded(typed)
    if is_folder(path):
        raise UsageError(f"{path} is a folder", fix="name one recording, and the text of it")
    if not path.exists():
        raise MissingArtifact(f"there is no {path}", fix="check the path; the recording comes first, then its text")
    return path


def _texts(request: AlignRequest, emit: Emit) -> Tuple[List[Sentence], str]:
    """The utterances of the text, and whether they are its lines or its sentences. Raises BadData, UsageError."""
    typed = request.text
    path = expanded(typed)
    if typed == STDIN:
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("nothing is piped in", fix="pipe a text in: `cat TEXT | asrctl align RECORDING -`")
        data = sys.stdin.buffer.read()
    elif is_folder(path):
        raise UsageError(f"{path} is a folder", fix="name one text file")
    elif not path.exists():
        raise MissingArtifact(f"there is no {path}", fix="check the path; the recording comes first, then its text")
    else:
        with packed.opened(path, fix=_FIX_TEXT) as stream:
            data = stream.read()
    name = "the text" if typed == STDIN else str(path)
    try:
        text = encodings.decode(data)
    except encodings.OtherEncoding as strange:
        fix = _FIX_TEXT if typed == STDIN else strange.copied(path)
        raise BadData(f"{name} is not UTF-8 ({strange.likely})", fix=fix) from None
    if "\0" in text:
        raise BadData(f"{name} is no plain text", fix=_FIX_TEXT)
    found, by = sentences.split(text, request.by)
    if not found:
        raise BadData(f"{name} holds no words", fix=_FIX_TEXT)
    other = "sentences" if by == "lines" else "lines"
    if request.by == "auto":
        told = f"the text is taken by {by}: {amounts.count(len(found), 'utterance')}"
        emit(Note(f"{told} (--by {other} takes it otherwise)"))
    return found, by


def _spelled(texts: Sequence[Sentence], recognizer: Recognizer, trained: TrainedModel, emit: Emit) -> List[List[Word]]:
    """Raises BadData where the model can not write the text."""
    vocabulary = recognizer.vocabulary
    rules = None if trained.run is None else data_rules.text_rules(trained.run.recipe())
    if vocabulary.phones and (rules is None or rules.phonemes is None):
        raise BadData("the model writes phonemes, and the text has letters", fix="choose a model that writes letters")
    speller = Speller(vocabulary, rules)
    found = [speller(sentence.text) for sentence in texts]
    if not any(word.labels for words in found for word in words) or _share(speller) > _MOST_UNKNOWN:
        shown = " ".join(glyphs.shown(one) for one, _ in speller.unknown.most_common(8))
        raise BadData(
            "the text is of another alphabet than the model's"
            + (f", which has not: {shown}" if shown else ": it holds nothing that the model could say"),
            fix="choose a model of the text's language with --run or --model",
        )
    if speller.unknown:
        told = ", ".join(f"{glyphs.shown(one)} x{count}" for one, count in speller.unknown.most_common(8))
        more = " ..." if len(speller.unknown) > 8 else ""
        digits = any(glyphs.kind(one) == "digit" for one in speller.unknown)
        cure = "; write numbers as they are said" if digits else ""
        count = sum(speller.unknown.values())
        emit(Warned(f"the model has no label for {amounts.count(count, 'character')} of the text: {told}{more}{cure}"))
    return found


def _share(speller: Speller) -> float:
    return sum(speller.unknown.values()) / max(1, speller.letters)


def _output(workspace: Workspace, typed: Path, form: str, force: bool) -> OutputFile:
    """Raises UsageError, OSError."""
    what = "an alignment of that format"
    return output_files.meant(workspace, typed, lambda path: files.is_alike(path, form), what=what, replace=force)


def _path_for_others(recording: Path, output: Optional[OutputFile]) -> str:
    """As a manifest names it: from its own folder where the recording lies there, else as it is on this machine."""
    path = output_paths.resolve(recording)
    beyond = None if output is None else output_paths.below(path, output.path.parent)
    return str(path) if beyond is None else str(Path(*beyond).as_posix())


# -- aligning ---------------------------------------------------------------------------------------------------------


def _aligned(
    recording: Path,
    texts: Sequence[Sentence],
    spelled: Sequence[Sequence[Word]],
    ear: Hearing,
    min_score: Optional[float],
    emit: Emit,
) -> Alignment:
    vocabulary, grid = ear.recognizer.vocabulary, ear.listening.grid
    blank, delimiter = vocabulary.blank_id, vocabulary.delimiter_id
    reading = _Reading(recording, ear.sample_rate, emit)
    parts = ((part.log_probs, part.db) for part in ear.listening.parts(reading.blocks()))
    with heard.kept(parts, document.asked_for(spelled, blank, delimiter)) as sound:
        if not np.any(sound.best != blank):
            raise BadData(f"the model hears nothing in {recording}", fix="check that it is a recording of speech")
        _check_room(sound, spelled, recording, emit)

        def tell(frames: int) -> None:
            emit(Progress("align", frames, len(sound), "frames"))

        found = document.align(sound, spelled, blank, delimiter, on_block=tell)
        clock = Clock(grid.step_s, (grid.reach - 1) / 2 / grid.sample_rate)
        times = Times(clock, grid.hop / grid.sample_rate, reading.samples / grid.sample_rate, vocabulary)
        return result.timed(found, texts, spelled, sound, times, min_score)


@contextmanager
def _begun_anew() -> Iterator[None]:
    """Nothing of what is interrupted is kept, and the message does not promise it."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted", fix="run the same command again; it begins anew") from None


def _options(how: How) -> Dict[str, Any]:
    return {"device": how.device.torch_device, "precision": how.precision, "engine": how.engine}


class _Reading:
    """The samples of a recording as they are read. samples: so many until now."""

    def __init__(self, path: Path, sample_rate: int, emit: Emit) -> None:
        self._path, self._rate, self._emit = path, sample_rate, emit
        self.samples = 0

    def blocks(self) -> Iterator[np.ndarray]:
        """(time,) int16 each. Raises BadData where the recording can not be read, MissingDependency."""
        length_s = recordings.length_s(self._path)
        told_s = 0.0
        try:
            with recordings.opened(self._path, self._rate) as recording:
                for block in recording.blocks():
                    self.samples += len(block)
                    done_s = self.samples / self._rate
                    if done_s - told_s >= 1.0:
                        told_s = done_s
                        total_s = None if length_s is None else max(done_s, round(length_s, 1))
                        self._emit(Progress("listen", round(done_s, 1), total_s, "s of audio"))
                    yield block
                for remark in recording.remarks:
                    self._emit(Warned(f"{self._path.name}: {remark}"))
        except Rejected as lost:
            told = audio.REASONS[lost.reason]
            more = f" ({lost.detail})" if lost.detail and lost.detail not in told else ""
            raise BadData(
                f"{self._path} can not be read: {told}{more}", fix="give a recording that libsndfile or ffmpeg reads"
            ) from None


def _check_room(sound: Heard, spelled: Sequence[Sequence[Word]], recording: Path, emit: Emit) -> None:
    """Raises BadData where not even the shortest utterance fits into the recording; warns where not all of them do."""
    needed = [viterbi.least_frames([label for word in words for label in word.labels]) for words in spelled]
    some = [count for count in needed if count]
    if min(some) > len(sound):
        raise BadData(
            f"{recording} is shorter than the text: no utterance of it fits",
            fix="check that the text is that of this recording",
        )
    if sum(some) > len(sound):
        emit(Warned("the recording is shorter than the text: what is not said is left out"))


def _tell(found: Alignment, emit: Emit) -> None:
    """Raises BadData where nothing was found."""
    if not found.utterances and not found.low:
        raise BadData(
            "no utterance of the text was found in the recording",
            fix="check that text and recording belong together, and that the model transcribes such speech at all "
            "(`asrctl transcribe RECORDING`)",
        )
    long = [one for one in found.utterances if one.end_s - one.start_s > _LONG_S]
    if long:
        told = amounts.count(len(long), "utterance is", "utterances are")
        emit(
            Warned(f"{told} longer than {_LONG_S:g} s, the first in line {long[0].line}; `prepare --max-s` keeps them")
        )
