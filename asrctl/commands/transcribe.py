"""A model and recordings of any length -> what is said in them, word for word, with times and confidence."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from asrctl.commands import (
    confidences,
    decoder_choice,
    transcribe_inputs,
    transcribe_outputs,
    transcribe_paths,
    transcription,
)
from asrctl.commands.decoder_choice import ChosenDecoder, DecoderRequest
from asrctl.commands.select import TrainedModel, find_model
from asrctl.commands.transcribe_inputs import Source
from asrctl.commands.transcribe_outputs import Folder
from asrctl.commands.transcription import How
from asrctl.data import audio, recordings
from asrctl.data.audio import Rejected
from asrctl.errors import AsrctlError, BadData, MissingDependency, StorageError, UsageError
from asrctl.evaluation import hearing
from asrctl.evaluation.calibration import Calibration
from asrctl.evaluation.transcript_files import FORMATS, Transcript, as_dict
from asrctl.events import Emit, Note, Progress, Warned, ignore
from asrctl.messages import amounts
from asrctl.models import frame_counts
from asrctl.runtime import memory
from asrctl.storage import output_paths, records
from asrctl.storage.hashing import short_id
from asrctl.storage.output_files import OutputFile
from asrctl.storage.workspace import Workspace

_FIX_READ = "give a recording that libsndfile or ffmpeg reads"
Show = Callable[[List[str]], None]


@dataclass(frozen=True)
class TranscribeRequest:
    """typed: recordings, folders, or `-`. run, model: which one transcribes (one of them, or the latest run).

    form: one of FORMATS. output: a file or a folder; None for stdout. window_s: seconds that are heard at once.
    """

    typed: Tuple[str, ...]
    run: Optional[str] = None
    model: Optional[str] = None
    precision: Optional[str] = None
    device: str = "auto"
    form: str = "text"
    output: Optional[str] = None
    force: bool = False
    window_s: Optional[float] = None
    decoder: DecoderRequest = DecoderRequest()


@dataclass
class TranscribeResult:
    """recordings: what became of each. audio_s, seconds: of what was transcribed now; kept: of how many before."""

    model: str
    digest: str
    recordings: List[Dict[str, Any]] = field(default_factory=list)
    failed: List[Tuple[str, AsrctlError]] = field(default_factory=list)
    audio_s: float = 0.0
    seconds: float = 0.0
    kept: int = 0
    output: Optional[Path] = None
    calibration: Optional[Calibration] = None

    @property
    def speed(self) -> Optional[float]:
        """Times real time; None where nothing was transcribed."""
        return round(self.audio_s / self.seconds, 1) if self.seconds and self.audio_s else None

    def as_dict(self) -> Dict[str, Any]:
        return {
            "model": {"name": self.model, "digest": self.digest},
            "calibration": None if self.calibration is None else records.plain(self.calibration),
            "recordings": self.recordings,
            "failed": [{"recording": name, "error": error.as_dict()} for name, error in self.failed],
            "kept": self.kept,
            "audio_s": round(self.audio_s, 3),
            "seconds": round(self.seconds, 3),
            "speed": self.speed,
            "output": None if self.output is None else str(self.output),
        }

    def check(self) -> None:
        """Raises what kept recordings from being transcribed, if anything did."""
        if len(self.failed) == 1:
            raise self.failed[0][1]
        if self.failed:
            total = len(self.failed) + len(self.recordings)
            problems = [f"{name}: {error.message}" for name, error in self.failed]
            raise BadData(
                f"{len(self.failed)} of {total} recordings could not be transcribed",
                fix=self.failed[0][1].fix,
                problems=problems,
            )


def transcribe(
    workspace: Workspace,
    request: TranscribeRequest,
    emit: Emit = ignore,
    show: Show = lambda lines: None,
) -> TranscribeResult:
    """Transcribe recordings one after another. show: is given the lines of each that go to stdout, as they come.

    A recording that can not be read keeps no other one from being transcribed; see TranscribeResult.check.
    Raises MissingArtifact, BadData, UsageError, DeviceError, Locked.
    """
    with ExitStack() as stack:
        stdin = stack.enter_context(transcribe_inputs.stdin_file(request.typed))
        sources = transcribe_inputs.find(request.typed, stdin)
        trained = find_model(workspace, request.run, request.model)
        emit(Note(f"transcribing {amounts.count(len(sources), 'recording')} by {transcription.model_words(trained)}"))
        how = transcription.choose(trained, request.device, request.precision, None, emit)
        if how.recipe is not None:
            raise UsageError(f"{how.device.kind} takes utterances of one length only", fix="use `--device cpu`")
        decoder = decoder_choice.choose(workspace, request.decoder, trained.digest)
        usual_s, margin_s = transcription.training_utterances(workspace, trained)
        window_s = request.window_s or usual_s
        heard = {"window_s": window_s, "margin_s": margin_s, "precision": how.precision}
        calibration = confidences.known(trained, decoder)
        what = {"model": trained.digest, **decoder.parameters, **heard}
        if FORMATS[request.form].tells_confidence:
            emit(Note(_about_confidence(workspace, trained, calibration)))
            what.update({} if calibration is None else {"calibration": short_id(records.plain(calibration))})
        target = _target(workspace, request, sources, {**what, "format": request.form}, stack)
        result = TranscribeResult(
            trained.name, trained.digest, output=target.path if target is not None else None, calibration=calibration
        )
        left = _left(target, sources, result, emit)
        if left:
            _Transcription(request, trained, how, decoder, (window_s, margin_s)).all(left, target, result, emit, show)
    return result


def _about_confidence(workspace: Workspace, trained: TrainedModel, calibration: Optional[Calibration]) -> str:
    if calibration is not None:
        return f"confidences are calibrated on {calibration.words:,} words of the eval split"
    if trained.run is None:
        return "confidences are the model's own, not calibrated"
    command = workspace.command("eval", "--run", trained.name, "--calibrate")
    return f"confidences are the model's own; calibrated ones take: {command} (with the same decoder options)"


def _target(
    workspace: Workspace, request: TranscribeRequest, sources: Sequence[Source], what: Mapping[str, Any], stack: Any
) -> Optional[Union[Folder, OutputFile]]:
    """Where transcripts go; None for stdout. Raises UsageError, Locked, OSError."""
    form, several = FORMATS[request.form], len(sources) > 1
    if request.output is None:
        if several and not form.shared and request.form != "text":
            raise UsageError(
                f"{request.form} of several recordings needs a file for each", fix="name a folder: --output FOLDER"
            )
        return None
    output = Path(request.output).expanduser()
    if not transcribe_outputs.is_folder(output, request.output, sources, request.typed, request.form):
        return transcribe_outputs.single(workspace, output, request.force)
    found = transcribe_outputs.folder(workspace, output, sources, request.form, what, force=request.force)
    stack.enter_context(found.held())
    return found


def _left(target: Any, sources: Sequence[Source], result: TranscribeResult, emit: Emit) -> List[Source]:
    """What is still to be transcribed."""
    left = []
    for source in sources:
        done = target.finished(source) if isinstance(target, Folder) else None
        if done is None:
            left.append(source)
            continue
        result.kept += 1
        row = {"recording": source.name, "audio_s": done.audio_s, "words": done.words, "kept": True}
        result.recordings.append({**row, "path": str(target.path / done.output)})
    if result.kept:
        emit(Note(f"kept from before: {amounts.count(result.kept, 'transcript')} (--force makes them anew)"))
    return left


class _Transcription:
    """Recordings, one after another, through one model."""

    def __init__(
        self,
        request: TranscribeRequest,
        trained: TrainedModel,
        how: How,
        decoder: ChosenDecoder,
        hears: Tuple[float, float],
    ) -> None:
        """hears: seconds at once, and of silence at their ends."""
        self._request, self._trained, self._how, self._decoder = request, trained, how, decoder
        self._window_s, self._margin_s = hears

    def all(self, sources: Sequence[Source], target: Any, result: TranscribeResult, emit: Emit, show: Show) -> None:
        """Raises DeviceError, BadData of the model, and where nothing that is installed reads a kind of file."""
        recognizer = self._trained.recognizer()
        fix = f"use a smaller window (--window-s {self._window_s / 2:g})"
        shared: List[str] = []
        with memory.explained(f"windows of {self._window_s:g} s do not fit into memory", fix=fix):
            heard = hearing.Hearing.of(
                recognizer,
                frame_counts.of_folder(self._trained.folder),
                device=self._how.device.torch_device,
                precision=self._how.precision,
                engine=self._how.engine,
                window_s=self._window_s,
                margin_s=self._margin_s,
                path=transcribe_paths.of(self._decoder, recognizer.vocabulary, emit),
                calibration=result.calibration,
            )
            progress = _progress(sources, emit)
            for source in sources:
                began = time.monotonic()
                try:
                    found = self._one(source, heard, progress, target, emit)
                except (BadData, MissingDependency) as error:
                    if isinstance(error, StorageError):
                        raise
                    emit(Warned(f"{source.name} is left out: {error.message}"))
                    result.failed.append((source.name, error))
                    continue
                result.audio_s += found.length_s
                result.seconds += time.monotonic() - began
                lines = list(FORMATS[self._request.form].lines(found))
                result.recordings.append(self._kept(source, found, lines, target))
                if isinstance(target, OutputFile):
                    shared += lines
                elif target is None:
                    named = len(sources) > 1 and self._request.form == "text"
                    show([f"{found.name}: {line}" for line in lines] if named else lines)
        memory.give_back()
        if isinstance(target, OutputFile) and result.recordings:
            with target.written() as path:
                path.write_text("".join(f"{line}\n" for line in shared), encoding="utf-8")

    def _one(
        self, source: Source, heard: hearing.Hearing, progress: "_Progress", target: Any, emit: Emit
    ) -> Transcript:
        """Raises BadData where the recording can not be read, MissingDependency."""
        rate = heard.sample_rate
        try:
            with recordings.opened(source.path, rate) as recording:
                samples = 0

                def counted() -> Iterator[np.ndarray]:
                    nonlocal samples
                    for block in recording.blocks():
                        samples += len(block)
                        progress.at(samples / rate)
                        yield block

                stretches = [words for words in map(heard.words, heard.stretches(counted())) if words]
                progress.finished(samples / rate, recordings.length_s(source.path))
                remarks = list(recording.remarks)
        except Rejected as lost:
            progress.finished(0.0, recordings.length_s(source.path))
            raise _unread(source, lost) from None
        for remark in remarks:
            emit(Warned(f"{source.name}: {remark}"))
        about = {"model": self._trained.name, **self._decoder.parameters, "remarks": remarks}
        path = _path_for_others(source, target)
        is_calibrated = heard.calibration is not None
        return Transcript(source.name, path, round(samples / rate, 3), stretches, is_calibrated, about)

    def _kept(self, source: Source, found: Transcript, lines: Sequence[str], target: Any) -> Dict[str, Any]:
        """What the result says of a recording; the words themselves where they are in no file."""
        words = sum(map(len, found.stretches))
        row = {"recording": found.name, "audio_s": found.length_s, "words": words, "kept": False}
        if isinstance(target, Folder):
            return {**row, "path": str(target.write(source, lines, found.length_s, words))}
        if target is not None:
            return {**row, "path": str(target.path)}
        return {**as_dict(found), "recording": found.name, "kept": False}


def _unread(source: Source, lost: Rejected) -> BadData:
    """Why a recording can not be transcribed."""
    told = audio.REASONS[lost.reason]
    more = f" ({lost.detail})" if lost.detail and lost.detail not in told else ""
    return BadData(f"{source.name} can not be transcribed: {told}{more}", fix=_FIX_READ)


def _path_for_others(source: Source, target: Any) -> str:
    """As a manifest names a recording: from its own folder where that is above, else as it is on this machine."""
    if source.is_stdin:
        return source.name
    path = Path(os.path.realpath(str(source.path)))
    folder = target.path if isinstance(target, Folder) else target.path.parent if target is not None else None
    beyond = None if folder is None else output_paths.below(path, folder)
    return str(path) if beyond is None else str(PurePosixPath(*beyond))


class _Progress:
    """How much of all recordings is done, in seconds of sound; without a total where a header does not say."""

    def __init__(self, total_s: Optional[float], emit: Emit) -> None:
        self._total_s, self._emit, self._before_s, self._began = total_s, emit, 0.0, time.monotonic()
        self._told_s = 0.0

    def at(self, seconds: float) -> None:
        """seconds: of the recording that is being read."""
        done_s = self._before_s + seconds
        if done_s - self._told_s >= 1.0:
            self._told_s = done_s
            self._tell(done_s)

    def finished(self, seconds: float, by_header_s: Optional[float]) -> None:
        """A recording is through; one that is shorter than its header says counts as whole."""
        self._before_s += by_header_s if by_header_s is not None and self._total_s is not None else seconds
        self._tell(self._before_s)

    def _tell(self, done_s: float) -> None:
        total_s = self._total_s
        speed = done_s / max(1e-6, time.monotonic() - self._began)
        done_s = done_s if total_s is None else min(done_s, total_s)
        self._emit(
            Progress(
                "transcribe",
                round(done_s, 1),
                None if total_s is None else round(total_s, 1),
                "s of audio",
                f"{speed:.1f} times real time",
            )
        )


def _progress(sources: Sequence[Source], emit: Emit) -> _Progress:
    lengths = [recordings.length_s(source.path) for source in sources]
    known = [length for length in lengths if length is not None]
    return _Progress(sum(known) if len(known) == len(lengths) else None, emit)
