"""`asrctl train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import typer

from asrctl.cli import numbers, options
from asrctl.cli.report import Output, duration, session
from asrctl.config.recipe import MAX_STEPS
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.commands.forecast import Forecast
    from asrctl.commands.run_training import TrainResult
    from asrctl.commands.train_request import TrainPlan
    from asrctl.storage.workspace import Workspace

EPILOG = options.examples(
    "asrctl train --preset tiny-cpu",
    "asrctl train --preset base-4ipu --device cuda --set optim.learning_rate=1e-4",
    "asrctl train --resume",
    "asrctl train --preset tiny-cpu --data first,second --weights 2,1",
    "asrctl train --preset tiny-cpu --if-new --json",
    "asrctl train --preset base-100h --from-run base-4ipu --run second --max-minutes 60",
)
# Of one machine; there are none with more GPUs.
MAX_PROCESSES = 256
_SAME = "run {run} was made from the same inputs and is complete"
_MAX_STEPS = numbers.option(
    "--max-steps",
    "a whole number",
    example="1000",
    metavar="N",
    low=1,
    high=MAX_STEPS,
    whole=True,
    help="Optimizer steps; wins over the preset.",
)
_MAX_MINUTES = numbers.option(
    "--max-minutes",
    "a number of minutes",
    example="30",
    metavar="MINUTES",
    low=0,
    help="Take no longer; the schedule is fitted to it as soon as the speed is known.",
)
_PROCESSES = numbers.option(
    "--processes",
    "a whole number",
    example="2",
    metavar="N",
    low=1,
    high=MAX_PROCESSES,
    whole=True,
    help="Train in so many processes at once, on CUDA one a GPU; the outcome is the same.",
)
_GUARD = typer.Option(
    None, "--guard", metavar="DATA", help="Stop where this prepared data is forgotten, beyond chance (run.guard)."
)


def command(
    preset: Optional[str] = options.PRESET,
    data: Optional[str] = typer.Option(
        None, "--data", help="Name of the prepared data, or several: A,B; default: the latest."
    ),
    weights: Optional[str] = typer.Option(
        None, "--weights", metavar="X,Y", help="How much is drawn of each of --data A,B; default: by their sizes."
    ),
    temperature: Optional[float] = options.TEMPERATURE,
    run: Optional[str] = options.run_name("--run", "Name of the run; default: the preset's."),
    device: str = options.DEVICE,
    overrides: List[str] = options.SET,
    max_steps: Optional[int] = _MAX_STEPS,
    max_minutes: Optional[float] = _MAX_MINUTES,
    resume: bool = typer.Option(False, "--resume", help="Go on with --run, or with the latest run."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a run of the same name."),
    guard: Optional[str] = _GUARD,
    if_new: bool = typer.Option(
        False, "--if-new", help="Do nothing where a run of the same inputs is complete; go on with one that is not."
    ),
    from_run: Optional[str] = options.run_name("--from-run", "Start from the best model of this run."),
    processes: Optional[int] = _PROCESSES,
    dry_run: bool = options.DRY_RUN,
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
) -> None:
    """Fine-tune a model on prepared data, or train a small one from scratch."""
    with session("train", Output(json, verbose, workspace)) as report:
        from asrctl.cli import processes as several
        from asrctl.commands.train_request import TrainRequest
        from asrctl.storage.workspace import Workspace

        place = Workspace(workspace)
        request = TrainRequest(
            preset=preset,
            data=data,
            weights=weights,
            temperature=temperature,
            run=run,
            device=device,
            overrides=(*overrides, *([] if guard is None else [f"run.guard={guard}"])),
            max_steps=max_steps,
            max_minutes=max_minutes,
            resume=resume,
            overwrite=overwrite,
            if_new=if_new,
            from_run=from_run,
            command=tuple(["asrctl"] + sys.argv[1:]),
            processes=several.count(processes),
        )
        if dry_run:
            from asrctl.commands.forecast import forecast

            found = forecast(place, request, report.emit)
            report.done(found.as_dict(), forecast_lines(found) + (recipe_lines(found.planned) if verbose else []))
            return
        result = several.train(place, request, report)
        report.done(result.as_dict(), result_lines(result, place, if_new=if_new))


def forecast_lines(found: "Forecast") -> List[str]:
    """What would be done, and what it would take."""
    planned = found.planned
    if planned.new is False:
        return [f"{_SAME.format(run=planned.run_name)}: nothing would be done", f"folder: {found.folder}"]
    job = planned.job
    return [
        f"run {planned.run_name} on {job.device.kind} ({job.precision or 'as the preset says'}): "
        f"{amounts.count(job.total_steps, 'step')}, {job.batches.steps_per_epoch} per epoch, data {planned.data_name}"
        + (f", {job.processes} processes" if job.processes > 1 else ""),
        f"time: {_time(found)}",
        f"memory: {_memory(found)}",
        f"disk: {_disk(found)}",
        f"folder: {found.folder}",
    ]


def _time(found: "Forecast") -> str:
    limit = "" if found.limit_s is None else f"; it stops after {duration(found.limit_s)} (--max-minutes)"
    if found.time_s is None:
        return f"not known, as no run here has trained this model on {found.planned.job.device.kind} yet{limit}"
    return (
        f"about {duration(found.time_s)}, as fast as run {found.time_from} was "
        f"({found.speech_s_per_s:g} s of speech a second){limit}"
    )


def _memory(found: "Forecast") -> str:
    if not found.planned.job.device.is_host:
        return "`asrctl plan` shows what is on each IPU"
    if found.memory_bytes is None:
        return "not known before the checkpoint is fetched"
    told = f"{found.memory_is} {amounts.size(found.memory_bytes)}"
    if found.memory_is != "at least":
        return told
    return f"{told}, and what a micro-batch takes, which is tried before the first step"


def _disk(found: "Forecast") -> str:
    if found.disk_bytes is None:
        return "not known before the checkpoint is fetched"
    cache = f", and {amounts.size(found.cache_bytes)} in the workspace's cache" if found.cache_bytes else ""
    return f"up to {amounts.size(found.disk_bytes)} for checkpoints and model{cache}"


def recipe_lines(planned: "TrainPlan") -> List[str]:
    """Every value of the recipe with where it came from."""
    return [
        f"{key} = {value}   ({planned.sources.get(key, 'default')})" for key, value in _flat(planned.recipe.as_dict())
    ]


def _flat(values: dict, prefix: str = "") -> "List[tuple]":
    found = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found.extend(_flat(value, f"{prefix}{name}."))
        else:
            found.append((f"{prefix}{name}", value))
    return found


def result_lines(result: "TrainResult", place: "Workspace", *, if_new: bool = False) -> List[str]:
    """The end of a run: the model, its best WER, and what to type next."""
    from asrctl.commands.status import after_training

    following = f"next: {after_training(place, result.run)}"
    if if_new and result.nothing_to_do:
        return [f"{_SAME.format(run=result.run)}: nothing to do", f"model: {result.model}", following]
    if result.nothing_to_do and result.reason == "guard":
        told = f"run {result.run} was stopped at step {result.steps}, where its guard set had become worse"
        again = place.command("train", "--resume", "--run", result.run, "--set", "run.guard=null")
        return [f"{told}; `{again}` goes on all the same", following]
    if result.nothing_to_do and result.reason == "early-stopping":
        told = f"run {result.run} was stopped early at step {result.steps}, after evaluations that were no better"
        again = place.command("train", "--resume", "--run", result.run, "--set", "run.early_stopping=null")
        return [f"{told}; `{again}` goes on all the same", following]
    if result.nothing_to_do:
        again = place.command("train", "--resume", "--run", result.run, "--max-steps", str(2 * result.steps))
        return [
            f"run {result.run} has its {amounts.count(result.steps, 'step')} already; `{again}` extends it",
            following,
        ]

    best = "no evaluation split, so the last model is kept"
    if result.best_wer is not None:
        best = f"best {result.rate} {100 * result.best_wer:.2f} % at step {result.best_step}"
    emulated = " (on an emulated IPU)" if result.emulated else ""
    return [
        f"run {result.run}: {amounts.count(result.steps, 'step')}, {result.reason}{emulated}; {best}",
        *limited_lines(result, place),
        f"model: {result.model}",
        *([] if result.page is None else [f"report: {result.page}"]),
        *kept_lines(result, place),
        following,
    ]


def kept_lines(result: "TrainResult", place: "Workspace") -> List[str]:
    """What disk a run takes, and how to get some of it back."""
    from asrctl.storage import files
    from asrctl.training import checkpoints

    folder = result.model.parent
    steps = checkpoints.steps(folder / "checkpoints")
    total, of_model = files.disk_bytes(folder), files.disk_bytes(result.model)
    older = sum(files.disk_bytes(checkpoints.path_of(folder / "checkpoints", step)) for step in steps[:-1])
    parts = (
        f"model {amounts.size(of_model)}, {amounts.count(len(steps), 'checkpoint')} {amounts.size(total - of_model)}"
    )
    told = f"disk: {amounts.size(total)} ({parts})"
    if not older:
        return [told]
    return [f"{told}; {place.command('clean', 'checkpoints', '--yes')} frees {amounts.size(older)} of this run"]


def limited_lines(result: "TrainResult", place: "Workspace") -> List[str]:
    """What share of its recipe a run has done whose time was limited, and what that means."""
    if result.reason != "max-minutes":
        return []
    share = (
        f"that is {100 * result.steps / result.recipe_steps:.2g} % of the "
        f"{amounts.count(result.recipe_steps, 'step')} of its recipe"
    )
    if result.steps >= result.planned_steps:
        return [f"{share}; the learning rate went through its whole schedule in them, so more time would be a new run"]
    again = place.command("train", "--resume", "--run", result.run)
    return [f"{share}, and the learning rate had not come to its end; `{again}` goes on"]
