"""`asrctl eval`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import typer

from asrctl.cli import decoder_options, gate_options, numbers, options
from asrctl.cli.confidence_lines import calibrated_lines
from asrctl.cli.evaluate_lines import WORST_SHOWN, plan_lines, result_lines, tuned_lines
from asrctl.cli.report import Output, session
from asrctl.config.recipe import MAX_AUDIO_S

if TYPE_CHECKING:
    from asrctl.cli.report import Report
    from asrctl.commands.evaluate_request import EvaluateRequest

EPILOG = options.examples(
    "asrctl eval",
    "asrctl eval --run base-4ipu --split test --precision bf16",
    "asrctl eval --max-wer 0.2 --json",
    "asrctl eval --gate speaker:0.3 --junit results.xml",
    "asrctl eval --lm librispeech --hotwords names.txt",
    "asrctl eval --model my-model/ --data librispeech",
)
_BATCH_S = numbers.option(
    "--batch-s",
    "a number of seconds",
    example="100",
    metavar="SECONDS",
    low=0.1,
    high=MAX_AUDIO_S,
    help="Seconds of audio in a batch; default: the preset's.",
)
_WORST = numbers.option(
    "--worst",
    "a whole number",
    example="5",
    metavar="N",
    low=0,
    high=10,
    whole=True,
    help="List N utterances with most errors, at most 10; default: 5, in JSON 0.",
)
_TUNE = typer.Option(
    False, "--tune", help="First find --alpha and --beta on the eval split, and keep them for --decoder tuned."
)
_CALIBRATE = typer.Option(
    False, "--calibrate", help="First learn on the eval split what confidences mean, and keep that with the run."
)


def command(
    run: Optional[str] = typer.Option(None, "--run", help="Name of the run; default: the latest with a model."),
    model: Optional[str] = typer.Option(None, "--model", metavar="DIR", help="A Hugging Face folder instead of a run."),
    data: Optional[str] = typer.Option(None, "--data", help="Name of prepared data; default: the run's."),
    split: Optional[str] = typer.Option(
        None, "--split", help="Split of the data: eval, test or train; default: eval, or test where that is all."
    ),
    max_wer: Optional[float] = gate_options.MAX_WER,
    gate: List[str] = gate_options.GATE,
    guard: List[str] = gate_options.GUARD,
    junit: Optional[Path] = gate_options.JUNIT,
    format: str = gate_options.FORMAT,
    precision: Optional[str] = options.PRECISION,
    device: str = options.DEVICE,
    batch_s: Optional[float] = _BATCH_S,
    decoder: Optional[str] = decoder_options.DECODER,
    lm: Optional[str] = decoder_options.LM,
    beam_width: Optional[int] = decoder_options.BEAM_WIDTH,
    alpha: Optional[float] = decoder_options.ALPHA,
    beta: Optional[float] = decoder_options.BETA,
    hotwords: Optional[str] = decoder_options.HOTWORDS,
    hotword_weight: Optional[float] = decoder_options.HOTWORD_WEIGHT,
    tune: bool = _TUNE,
    calibrate: bool = _CALIBRATE,
    worst: Optional[int] = _WORST,
    force: bool = options.FORCE,
    dry_run: bool = options.DRY_RUN,
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Transcribe a split and count the errors."""
    with session("eval", Output(json, verbose, workspace)) as report:
        from asrctl.commands.decoder_choice import DecoderRequest
        from asrctl.commands.evaluate_request import EvaluateRequest
        from asrctl.storage.workspace import Workspace

        place = Workspace(workspace)
        gates = gate_options.Gates(place, max_wer, gate_options.parsed(gate), junit, format, tuple(guard))
        how = DecoderRequest(decoder, lm, beam_width, alpha, beta, hotwords, hotword_weight)
        request = EvaluateRequest(run, model, data, split, precision, device, batch_s, force, how)
        if dry_run:
            from asrctl.commands.evaluate_plan import plan

            planned = plan(place, request, report.emit)
            report.done(planned.as_dict(), plan_lines(planned))
            return
        _evaluate(report, request, gates, tune=tune, calibrate=calibrate, worst=worst)


def _evaluate(
    report: "Report",
    request: "EvaluateRequest",
    gates: gate_options.Gates,
    *,
    tune: bool,
    calibrate: bool,
    worst: Optional[int],
) -> None:
    from asrctl.commands.evaluate import evaluate

    gates.check(request)
    place, tuned, learned = gates.workspace, None, None
    if tune:
        from asrctl.commands.tuning import tune as find_weights

        tuned = find_weights(place, request, report.emit)
        request = replace(request, decoder=replace(request.decoder, alpha=tuned.alpha, beta=tuned.beta))
    if calibrate:
        from asrctl.commands.calibrate import calibrate as learn

        learned = learn(place, request, report.emit)  # which evaluates the eval split, by force where that was meant
        request = replace(request, force=request.force and request.split not in (None, "eval"))
    result = evaluate(place, request, report.emit)
    guarded = gates.guarded(request, report)
    verdicts = gates.judged(result, guarded, report)
    shown = worst if worst is not None else (0 if report.output.json else WORST_SHOWN)
    beside = {"tuned": tuned, "calibrated": learned}
    values = {**result.as_dict(worst=shown), **{key: found.as_dict() for key, found in beside.items() if found}}
    if verdicts:
        values["gates"] = [verdict.as_dict() for verdict in verdicts]
    if guarded:
        values["guard"] = [each.as_dict() for each in guarded]
    report.done(
        values,
        [
            *tuned_lines(tuned),
            *calibrated_lines(learned),
            *result_lines(result, place, shown),
            *gates.lines(result, verdicts, report),
        ],
    )
    gates.enforce(result, verdicts)
