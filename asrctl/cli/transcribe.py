"""`asrctl transcribe`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import typer

from asrctl.cli import decoder_options, numbers, options
from asrctl.cli.report import Output, duration, session

if TYPE_CHECKING:
    from asrctl.commands.transcribe import TranscribeResult

EPILOG = options.examples(
    "asrctl transcribe talk.mp3",
    "asrctl transcribe interviews/ --output transcripts/ --format json",
    "asrctl transcribe lecture.mp4 --format srt --output lecture.srt",
    "asrctl transcribe unlabeled/ --format manifest --output more.jsonl",
    "asrctl transcribe --model my-model/ --lm my-texts - < talk.wav",
)
_FORMAT = options.one_of(
    "--format", "format", lambda: _formats(), "text (default), json, srt, vtt, ctm, or manifest.", "text"
)
_WINDOW_S = numbers.option(
    "--window-s",
    "a number of seconds",
    example="15",
    metavar="SECONDS",
    low=0.3,
    high=600,
    help="Seconds that the model hears at once; default: by what it was trained on, else 15.",
)


def _formats() -> List[str]:
    from asrctl.evaluation.transcript_files import FORMATS

    return list(FORMATS)


def command(
    recordings: List[str] = typer.Argument(
        ..., metavar="RECORDING ...", help="Recordings, folders of them, or - for stdin."
    ),
    run: Optional[str] = typer.Option(None, "--run", help="Name of the run; default: the latest with a model."),
    model: Optional[str] = typer.Option(None, "--model", metavar="DIR", help="A Hugging Face folder instead of a run."),
    form: str = _FORMAT,
    output: Optional[str] = typer.Option(
        None,
        "--output",
        "-o",
        metavar="FILE|FOLDER",
        help="Write there instead of to stdout; a folder goes on where it was stopped.",
    ),
    precision: Optional[str] = options.PRECISION,
    device: str = options.DEVICE,
    window_s: Optional[float] = _WINDOW_S,
    decoder: Optional[str] = decoder_options.DECODER,
    lm: Optional[str] = decoder_options.LM,
    beam_width: Optional[int] = decoder_options.BEAM_WIDTH,
    alpha: Optional[float] = decoder_options.ALPHA,
    beta: Optional[float] = decoder_options.BETA,
    hotwords: Optional[str] = decoder_options.HOTWORDS,
    hotword_weight: Optional[float] = decoder_options.HOTWORD_WEIGHT,
    force: bool = typer.Option(False, "--force", help="Write over transcripts that are there."),
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Write down what is said in recordings of any length."""
    with session("transcribe", Output(json, verbose, workspace)) as report:
        from asrctl.commands.decoder_choice import DecoderRequest
        from asrctl.commands.transcribe import TranscribeRequest, transcribe
        from asrctl.storage.workspace import Workspace

        request = TranscribeRequest(
            typed=tuple(recordings),
            run=run,
            model=model,
            precision=precision,
            device=device,
            form=form,
            output=output,
            force=force,
            window_s=window_s,
            decoder=DecoderRequest(decoder, lm, beam_width, alpha, beta, hotwords, hotword_weight),
        )

        def show(lines: List[str]) -> None:
            if not json:
                report.say(lines, plain=form == "text")

        result = transcribe(Workspace(workspace), request, report.emit, show)
        report.note(speed_line(result))
        report.done(result.as_dict(), [] if result.output is None else [f"transcripts: {result.output}"])
        result.check()


def speed_line(result: "TranscribeResult") -> str:
    """How long it took."""
    if result.speed is None:
        return "nothing was left to transcribe" if not result.failed else "nothing was transcribed"
    audio = f"{duration(result.audio_s)} of audio in {duration(result.seconds)}"
    return f"transcribed {audio}: {result.speed:g} times real time"
