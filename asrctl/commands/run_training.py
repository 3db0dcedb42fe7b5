"""Carry out a planned run: model, run folder, trainer, and the final state in run.json."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Optional

from asrctl import __version__
from asrctl.commands import run_page, train_guard
from asrctl.commands.train_request import TrainPlan
from asrctl.config import presets
from asrctl.errors import AsrctlError, BadData, Interrupted, MissingArtifact
from asrctl.events import Emit, Note, Warned, ignore
from asrctl.messages import amounts
from asrctl.models import base_model, learning_weights, loading
from asrctl.runtime.ranks import ALONE, Ranks
from asrctl.runtime.signals import stop_requests
from asrctl.storage import files
from asrctl.training import checkpoints, guard
from asrctl.training.job import Outcome, StartPoint, TrainingJob
from asrctl.training.run_info import Best, DataRef, RunInfo
from asrctl.training.runs import Run, resume_command, start_command
from asrctl.training.trainer_state import TrainerState


@dataclass(frozen=True)
class TrainResult:
    """A run that came to its end. model: the folder of the best model. nothing_to_do: it had done so before.

    rate: what best_wer is called, WER or PER (of phonemes).
    recipe_steps: steps of the whole recipe. planned_steps: those that the run was to have, fewer where its time was
    limited.
    """

    run: str
    state: str
    reason: str
    steps: int
    planned_steps: int
    recipe_steps: int
    best_step: Optional[int]
    best_wer: Optional[float]
    model: Path
    device: str
    precision: str
    seconds: float
    audio_s_per_s: float
    emulated: bool
    rate: str = "WER"
    nothing_to_do: bool = False
    processes: int = 1

    @property
    def page(self) -> Optional[Path]:
        """Charts of the run; None where an earlier version trained it."""
        path = Run(self.model.parent).page
        return path if path.exists() else None

    def as_dict(self) -> Dict[str, Any]:
        page = None if self.page is None else str(self.page)
        return dict(self.__dict__, model=str(self.model), new=not self.nothing_to_do, page=page)


# What the main process tells the others of the checkpoint to go on from: its step, or one of these.
_FROM_NOTHING, _NOTHING_TO_DO = -1, -2


def carry_out(run: Run, planned: TrainPlan, emit: Emit, ranks: Ranks = ALONE) -> TrainResult:
    """Raises Interrupted, Diverged, DeviceError, BadData; run.json then says interrupted or failed."""
    job = planned.job
    checkpoint = _checkpoint(run, planned, emit) if job.resume else None
    if checkpoint is not None:
        reason = _ended(job, checkpoint)
        if reason is not None:
            _bring_back_model(run, planned, checkpoint, emit)
            ranks.broadcast(_NOTHING_TO_DO)
            return _nothing_to_do(run, job, checkpoint, reason)
    with stop_requests() as stop:
        start = StartPoint(_recognizer(run, planned, checkpoint, emit), checkpoint, stop, ranks)
        info = _info(run, planned, _engine(job, start.recognizer))
        _write_start(run, job, start, info)
        began = time.monotonic()

        def failed(message: str, state: str = "failed") -> None:
            seconds = round(time.monotonic() - began + info.seconds, 3)
            ended = replace(_by_checkpoint(run, info), state=state, error=message, seconds=seconds)
            _write_if_possible(run, ended, emit)

        ranks.go_on_with(f"go on with `{resume_command(planned.workspace, run.name, info)}`", failed)
        ranks.broadcast(_FROM_NOTHING if checkpoint is None else checkpoint.step)
        try:
            files.refuse_links(planned.workspace.root / "cache")
            outcome = _trainer(job)(job, start, emit)
        except BaseException as error:
            stopped = isinstance(error, (KeyboardInterrupt, Interrupted))
            message = error.message if isinstance(error, AsrctlError) else repr(error)
            failed(message, "interrupted" if stopped else "failed")
            run_page.write_if_possible(planned.workspace, run, emit)
            raise
    return _close(run, planned, info, outcome, emit)


def help_carry_out(run: Run, planned: TrainPlan, ranks: Ranks) -> None:
    """What a process does that is not the main one. Raises ProcessLost where another one has ended."""
    from asrctl.training import trainer

    with stop_requests() as stop:
        step = ranks.broadcast(None)
        if step == _NOTHING_TO_DO:
            return
        ranks.go_on_with(f"go on with `{resume_command(planned.workspace, run.name, run.info())}`")
        checkpoint = (
            None if step == _FROM_NOTHING else checkpoints.open_checkpoint(checkpoints.path_of(run.checkpoints, step))
        )
        start = StartPoint(_recognizer(run, planned, checkpoint, ignore), checkpoint, stop, ranks)
        trainer.help_to_train(planned.job, start)


def _write_if_possible(run: Run, info: RunInfo, emit: Emit) -> None:
    """Write run.json; where that fails too (full disk), warn, so that the first error is the one reported."""
    try:
        run.write(info)
    except OSError as error:
        emit(Warned(f"run.json could not be written ({error.strerror}) and still says that the run goes on"))


def _trainer(job: TrainingJob) -> Any:
    if job.device.is_host:
        from asrctl.training import trainer

        return trainer.train
    from asrctl.ipu import runner

    return runner.train


def _engine(job: TrainingJob, recognizer: loading.Recognizer) -> Optional[str]:
    """Which arithmetic carries the model on a host; None on an IPU."""
    if not job.device.is_host:
        return None
    from asrctl.training import forward

    return forward.engine_of(job.recipe, job.device, recognizer)


def _checkpoint(run: Run, planned: TrainPlan, emit: Emit) -> Optional[checkpoints.Checkpoint]:
    latest = checkpoints.latest_valid(run.checkpoints)
    for message in latest.damaged:
        emit(Warned(f"{message}; an earlier checkpoint is used"))
    if latest.checkpoint is None:
        if latest.damaged:
            anew = start_command(planned.workspace, run.info(), "--run", run.name, "--overwrite")
            raise MissingArtifact(f"run {run.name!r} has no valid checkpoint", fix=f"start it anew: `{anew}`")
        _refuse_to_forget(run, planned)
        emit(Note(f"run {run.name} has no checkpoint yet and starts from the beginning"))
        return None
    backend = latest.checkpoint.backend
    if planned.job.device.is_host and backend is not None:
        raise BadData(
            f"run {run.name!r} was trained on {backend.device}, and its optimizer state is not for the host",
            fix=f"add `--device {backend.device}`, or start a new run from it: `{_anew(planned, run)}`",
        )
    emit(Note(f"resuming run {run.name} after step {latest.checkpoint.step}"))
    return latest.checkpoint


def _anew(planned: TrainPlan, run: Run) -> str:
    return start_command(planned.workspace, run.info(), "--from-run", run.name)


def _refuse_to_forget(run: Run, planned: TrainPlan) -> None:
    """A run that has learned something and lost its checkpoints still has a model, which a new start would replace."""
    if run.info().steps and run.model.is_dir():
        raise MissingArtifact(
            f"the checkpoints of run {run.name!r} are gone, so it can not be resumed; its model is still there",
            fix=f"start a new run from it: `{_anew(planned, run)}`",
        )


def _recognizer(
    run: Run, planned: TrainPlan, checkpoint: Optional[checkpoints.Checkpoint], emit: Emit
) -> loading.Recognizer:
    section, optim = planned.recipe.model, planned.recipe.optim
    base = base_model.of(run.shell) if checkpoint is not None else None
    if base is not None:
        return loading.build_again(section, base, planned.data.vocabulary(), seed=optim.seed)
    if checkpoint is not None:
        # fp32, four bytes for each number.
        held = (checkpoint.path / "model.safetensors").stat().st_size // 4
        recognizer = loading.load_shell(run.shell, held=held)
        learning_weights.chosen(recognizer.model, section, recognizer.features)
        return recognizer
    vocabulary = planned.data.vocabulary()
    built = loading.build(section, vocabulary, seed=optim.seed, sample_rate=planned.recipe.audio.sample_rate)
    if built.new_head:
        train_guard.refuse_new_head(planned.recipe)
    for note in built.notes:
        emit(Note(note))
    if built.new_head and section.checkpoint is not None:
        emit(Note(f"a new head of {amounts.count(len(vocabulary), 'output')} was drawn (model.head: reinit)"))
    loading.require_rate(built.recognizer, planned.job.train.sample_rate)
    return built.recognizer


def _info(run: Run, planned: TrainPlan, engine: Optional[str]) -> RunInfo:
    job, before = planned.job, run.info() if run.exists() else None
    kept = before or RunInfo(base=planned.base)
    return RunInfo(
        name=run.name,
        sequence=planned.workspace.last_sequence() + 1,  # resuming makes a run the latest again
        state="running",
        preset=planned.recipe.name,
        device=job.device.kind,
        emulated=job.device.kind == "ipu-emulated",
        precision=job.precision,
        data=DataRef(planned.data_name, planned.data.artifact.id, planned.data.content),
        vocabulary=planned.data.vocabulary().digest,
        base=kept.base,
        command=(kept.command if job.resume else ()) or tuple(job.command),
        steps=kept.steps,
        total_steps=job.total_steps,
        limits=_limits(job),
        inputs=planned.inputs or None,
        best=kept.best,
        versions=versions(),
        seconds=kept.seconds,
        engine=engine,
        recordings=planned.recordings or None,
        averaged=planned.recipe.optim.ema_decay,
        processes=None if job.processes == 1 else job.processes,
    )


def _limits(job: TrainingJob) -> Dict[str, float]:
    """{option: value} of those that were typed."""
    typed = {"max-steps": job.max_steps, "max-minutes": job.max_minutes}
    return {option: value for option, value in typed.items() if value is not None}


def versions() -> Dict[str, str]:
    """Of what decides the numbers."""
    import torch
    import transformers

    return {
        "asrctl": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _write_start(run: Run, job: TrainingJob, start: StartPoint, info: RunInfo) -> None:
    if start.checkpoint is None:
        loading.save_shell(start.recognizer, run.shell)
    files.write_text(run.recipe_path, presets.dumps(job.recipe))
    run.write(info)


def _close(run: Run, planned: TrainPlan, info: RunInfo, outcome: Outcome, emit: Emit) -> TrainResult:
    trainer_state = outcome.state
    interrupted = outcome.reason == "interrupted"
    state = "interrupted" if interrupted else "complete"
    seconds = round(info.seconds + outcome.seconds, 3)
    reached = _reached(info if interrupted else _planned_for(outcome.total, info, planned.job), trainer_state)
    run.write(replace(reached, state=state, reason=outcome.reason, seconds=seconds))
    run_page.write_if_possible(planned.workspace, run, emit)
    if interrupted:
        kept = {None: "nothing was learned yet", trainer_state.step: "a checkpoint is kept"}
        what = kept.get(outcome.kept_step, f"the checkpoint of step {outcome.kept_step} is kept")
        raise Interrupted(
            f"training was stopped after step {trainer_state.step} of {outcome.total}; {what}",
            fix=f"go on with `{resume_command(planned.workspace, run.name, info)}`",
        )
    return TrainResult(
        run=run.name,
        state="complete",
        reason=outcome.reason,
        steps=trainer_state.step,
        planned_steps=outcome.total,
        recipe_steps=planned.job.total_steps,
        best_step=trainer_state.best_step,
        best_wer=trainer_state.best_wer,
        model=run.model,
        device=planned.job.device.kind,
        precision=planned.job.precision,
        seconds=round(outcome.seconds, 3),
        audio_s_per_s=round(outcome.audio_s / max(outcome.seconds, 1e-9), 2),
        emulated=info.emulated,
        rate=info.rate_name,
        processes=planned.job.processes,
    )


def _planned_for(total: int, info: RunInfo, job: TrainingJob) -> RunInfo:
    """What run.json says of a run that was to have `total` steps."""
    return info if total == job.total_steps else replace(info, total_steps=total, recipe_steps=job.total_steps)


def _reached(info: RunInfo, trainer_state: TrainerState) -> RunInfo:
    best = None if trainer_state.best_step is None else Best(trainer_state.best_step, trainer_state.best_wer)
    return replace(info, steps=trainer_state.step, best=best)


def _by_checkpoint(run: Run, info: RunInfo) -> RunInfo:
    """What a run that failed had come to, by its newest checkpoint."""
    latest = checkpoints.latest_valid(run.checkpoints).checkpoint
    if latest is None:
        return info
    reached = _reached(info, latest.state)
    return replace(reached, best=reached.best or info.best)


def _ended(job: TrainingJob, checkpoint: checkpoints.Checkpoint) -> Optional[str]:
    """Why nothing is left to do after this checkpoint, if so."""
    patience, trainer_state = job.recipe.run.early_stopping, checkpoint.state
    if checkpoint.step >= _total(job, trainer_state):
        return "finished"
    if job.guard is not None and trainer_state.forgot_at is not None:
        return guard.REASON
    stale = trainer_state.evaluations_without_gain
    return "early-stopping" if patience is not None and stale >= patience else None


def _total(job: TrainingJob, trainer_state: TrainerState) -> int:
    """Steps that a run is to have: those that its time was enough for, unless others are asked for now."""
    pace = trainer_state.pace
    if pace is not None and pace.recipe == job.total_steps and job.max_steps is None:
        return pace.total
    return job.total_steps


def _bring_back_model(run: Run, planned: TrainPlan, checkpoint: checkpoints.Checkpoint, emit: Emit) -> None:
    """Make a finished run's `model/` anew where it was deleted: from its best checkpoint, or else from the last."""
    if run.model.is_dir():
        return
    checkpoint = checkpoints.best_left(run.checkpoints, checkpoint)
    loading.save_with_weights(_recognizer(run, planned, checkpoint, emit), checkpoint.result(), run.model)
    emit(
        Note(
            f"the model of run {run.name} was missing; it was made again from the checkpoint of step {checkpoint.step}"
        )
    )


def _nothing_to_do(run: Run, job: TrainingJob, checkpoint: checkpoints.Checkpoint, reason: str) -> TrainResult:
    info, trainer_state = run.info(), checkpoint.state
    total = min(_total(job, trainer_state), info.total_steps or 0)
    reached = reason in ("early-stopping", guard.REASON) or checkpoint.step >= total
    if info.state != "complete" and reached:
        info = _complete(run, job, _planned_for(total, info, job), trainer_state, reason)
    return replace(
        as_it_is(run, info),
        reason=reason,
        steps=trainer_state.step,
        planned_steps=total,
        recipe_steps=job.total_steps,
        best_step=trainer_state.best_step,
        best_wer=trainer_state.best_wer,
    )


def as_it_is(run: Run, info: RunInfo) -> TrainResult:
    """The result of a run with which nothing is left to do."""
    total = info.total_steps or 0
    return TrainResult(
        run=run.name,
        state=info.state,
        reason=info.reason or "",
        steps=info.steps,
        planned_steps=total,
        recipe_steps=total if info.recipe_steps is None else info.recipe_steps,
        best_step=None if info.best is None else info.best.step,
        best_wer=None if info.best is None else info.best.wer,
        model=run.model,
        device=info.device or "",
        precision=info.precision or "",
        seconds=0.0,
        audio_s_per_s=0.0,
        emulated=info.emulated,
        rate=info.rate_name,
        nothing_to_do=True,
    )


def _complete(run: Run, job: TrainingJob, info: RunInfo, trainer_state: TrainerState, reason: str) -> RunInfo:
    """What a process still had to do that was killed behind its last evaluation and checkpoint: new run.json."""
    checkpoints.prune(
        run.checkpoints, keep=job.recipe.run.keep, best_step=trainer_state.best_step, newest=trainer_state.step
    )
    ended = replace(_reached(info, trainer_state), state="complete", reason=reason, error=None)
    run.write(ended)
    return ended
