"""What happens between optimizer steps on every device: metrics log, evaluation, checkpoints, when to stop."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, Iterable, List, Mapping, Optional

from asrctl.errors import Diverged
from asrctl.events import CheckpointSaved, Emit, Evaluated, Note, StepDone, Warned
from asrctl.messages import amounts
from asrctl.models import loading
from asrctl.storage.ownership import CHECKPOINT, MODEL
from asrctl.training import checkpoints, guard
from asrctl.training.divergence import NOT_FINITE, SILENT, Divergence, DivergenceDetector
from asrctl.training.job import Outcome, StartPoint, TrainingJob
from asrctl.training.metrics_log import MetricsLog
from asrctl.training.schedule import Schedule
from asrctl.training.time_limit import TimeLimit
from asrctl.training.trainer_interface import StepResult, Trainer
from asrctl.training.trainer_state import TrainerState


def schedule_of(state: TrainerState, total: int) -> Optional[Schedule]:
    """The schedule that a checkpoint was made with, if it still holds. total: steps of the whole recipe."""
    pace = state.pace
    return pace if pace is not None and pace.recipe == total and state.step < pace.total else None


class TrainingLoop:
    """One run from its start, or from a checkpoint, to its end.

    total: optimizer steps of the whole run, as its recipe has it; a limited time may do with fewer. per_call: steps
    that the loop makes at once.
    """

    def __init__(
        self, job: TrainingJob, start: StartPoint, trainer: Trainer, emit: Emit, *, total: int, per_call: int = 1
    ) -> None:
        self.job, self.emit, self.trainer, self.run = job, emit, trainer, job.recipe.run
        self.most, self.steps_per_epoch, self._per_call = total, job.batches.steps_per_epoch, per_call
        self._stop, self._recognizer, checkpoint = start.stop, start.recognizer, start.checkpoint
        self.state = TrainerState() if checkpoint is None else dataclasses.replace(checkpoint.state)
        self._schedule = schedule_of(self.state, total) or Schedule.whole(total)
        self.state.pace = None if self._schedule == Schedule.whole(total) else self._schedule
        self._limit = None if job.max_minutes is None else TimeLimit(job.max_minutes * 60)
        self.divergence = DivergenceDetector(
            self.state,
            spoils=trainer.bad_steps_spoil,
            vocabulary=len(start.recognizer.vocabulary),
            max_silent_steps=self.run.max_silent_steps,
            advice=trainer.bad_steps_advice,
        )
        # What was written in this process, and not yet known to be good: the next step's loss tells.
        self._unproven: List[int] = []
        self._unproven_model: Optional[int] = None
        self.start = self.state.step
        # Steps of the last evaluation and checkpoint, and whether something has changed since that one: a run may end
        # at either, and need not do them again.
        self._evaluated_at: Optional[int] = None
        self._saved_at = None if checkpoint is None else checkpoint.step
        self._unsaved = False
        self.reason, self.audio_s = "finished", 0.0
        self.metrics_log: Optional[MetricsLog] = None

    def open(self) -> None:
        """Delete what a killed process left, and cut the metrics log at the step where this process starts."""
        checkpoints.clear_unfinished(self._folder)
        self.metrics_log = MetricsLog(self.job.folder, resume_step=self.start)
        self.started = time.monotonic()
        self._left_at = 0.0

    def close(self) -> None:
        if self.metrics_log is not None:
            self.metrics_log.close()

    def outcome(self) -> Outcome:
        seconds = time.monotonic() - self.started
        return Outcome(self.reason, self.state, seconds, self.audio_s, self._kept_step(), self.total)

    @property
    def total(self) -> int:
        """Optimizer steps of the whole run, as it is planned now."""
        return self._schedule.total

    def rate(self, step: int) -> float:
        """The learning rate of optimizer step `step` (0-based)."""
        return self._schedule.rate(self.job.recipe.optim, step)

    def position(self, step: int) -> float:
        """The step of the recipe's schedule that optimizer step `step` (0-based) stands for."""
        return self._schedule.position(step)

    # -- between calls ----------------------------------------------------------------------------------------------

    def after_step(self, result: StepResult) -> bool:
        """All that is due after a call; False where it was the last. Raises Diverged."""
        before, self.state.step, self._unsaved = self.state.step, result.step, True
        self.audio_s += result.audio_s
        arrived = self._elapsed
        self._look_for_divergence(before, result)
        self._record(before, result)
        self._give_up_if(self.divergence.check())
        last = result.step >= self.total
        evaluates = self._crossed(before, self.run.eval_every) and not last
        if evaluates:
            self._evaluate()
            self._give_up_if(self.divergence.check_silence())
        if self._crossed(before, self.run.save_every or self.run.eval_every) and not last:
            self._save()
        checked_s = self._elapsed - arrived if evaluates else 0.0
        reason = self._why_end() if last else self._why_stop()
        if reason is not None:
            self.finish(reason)
        elif self._limit is not None:
            self._replan(self._limit, result.step - before, checked_s)
        return reason is None

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def _replan(self, limit: TimeLimit, steps: int, checked_s: float) -> None:
        """Fit what is left of the schedule into what is left of the time. checked_s: what an evaluation has just taken.

        Checkpoints between evaluations count as a part of the steps.
        """
        step, now = self.state.step, self._elapsed
        limit.stepped(steps, now - self._left_at - checked_s)
        self._left_at = now
        if checked_s:
            limit.checked(checked_s, now)
        if not limit.is_due(now):
            return
        # Transcribing takes about a third of training, which goes forth and back; the first evaluation tells it better.
        audio_s = 0.0 if self.job.eval is None else self.job.eval.seconds
        check = audio_s / 3 * now / max(self.audio_s, 1e-9)
        calls = limit.steps_left(now, self.run.eval_every or self.steps_per_epoch, check) // self._per_call
        total = min(self.most, step + max(1, calls) * self._per_call)
        if total < self.most and self.total == self.most:
            minutes = (
                f"{limit.seconds / 60:g} {amounts.noun(limit.seconds / 60, 'minute is', 'minutes are')} enough "
                f"for about {total} of the {amounts.count(self.most, 'step')}"
            )
            self.emit(Note(f"{minutes}; the learning rate goes through all of its schedule in these"))
        self._schedule = self._schedule.ending(total, step)
        self.state.pace = self._schedule

    def finish(self, reason: str) -> None:
        """The last evaluation and the last checkpoint. Raises Diverged where the run ends in numbers gone bad."""
        self.reason = reason
        if reason != "interrupted":
            self._give_up_if(self.divergence.check(ended=True))
            if not self.trainer.weights_are_finite():
                self._give_up_if(
                    Divergence("the last step gave weights that are not finite", NOT_FINITE, self.divergence.advice)
                )
            if self.state.step not in (self._evaluated_at, self.state.best_step) or self.job.eval is None:
                self._evaluate()
        if self._unsaved:
            self._save()
        if not self._unsaved:
            self._prune()
        elif self.divergence.doubtful:  # so nothing is saved, and the checkpoint before is perhaps ruined already
            self._take_back_unproven()
            self._best_of_what_is_left()

    def _why_end(self) -> str:
        return "finished" if self.total == self.most else "max-minutes"

    def _why_stop(self) -> Optional[str]:
        patience = self.run.early_stopping
        if self._stop.requested:
            return "interrupted"
        if patience is not None and self.state.evaluations_without_gain >= patience:
            return "early-stopping"
        if self.run.guard is not None and self.state.forgot_at is not None:
            return guard.REASON
        if self._limit is not None and self._limit.is_over(self._elapsed):
            return "max-minutes"
        return None

    def _crossed(self, before: int, every: Optional[int]) -> bool:
        every = every or self.steps_per_epoch
        return before // every != self.state.step // every

    def _look_for_divergence(self, before: int, result: StepResult) -> None:
        divergence, was_doubtful = self.divergence, self.divergence.doubtful
        per_label = result.loss
        if self.job.recipe.model.ctc_loss_reduction == "sum":
            per_label *= result.utterances / max(1, result.labels)
        divergence.after_step(before, per_label, applied=result.applied)
        if divergence.bad:
            norm = "" if result.grad_norm is None else f", gradient norm {result.grad_norm:g}"
            left_out = "" if divergence.spoils else "; step left out"
            self.emit(Warned(f"step {result.step}: loss {result.loss:g}{norm}{left_out}"))
        elif divergence.doubtful and not was_doubtful:
            self.emit(
                Warned(f"step {result.step}: the loss has exploded to {result.loss:g}; nothing is saved meanwhile")
            )
        if self._unproven and divergence.good_step >= self._unproven[-1]:
            self._prune()
        if self._unproven_model is not None and divergence.good_step >= self._unproven_model:
            self._unproven_model = None

    def _record(self, before: int, result: StepResult) -> None:
        speed = self.audio_s / max(self._elapsed, 1e-9)
        values = {"loss": result.loss, "learning_rate": result.rate}
        if result.grad_norm is not None:
            values["grad_norm"] = result.grad_norm
        values.update(epoch=result.step / self.steps_per_epoch, audio_s_per_s=speed)
        if before == 0 or result.step >= self.total or self._crossed(before, self.run.log_every):
            self._write("train", result.step, values)
        is_open = self._limit is not None and self.state.pace is None  # how far the time goes is not known yet
        self.emit(
            StepDone(
                result.step,
                None if is_open else self.total,
                {"loss": result.loss, "lr": result.rate, "audio s/s": speed},
            )
        )

    def _write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if self.metrics_log is not None:
            self.metrics_log.write(kind, step, values)

    # -- evaluation and checkpoints ---------------------------------------------------------------------------------

    @property
    def _folder(self) -> Path:
        return self.job.folder / "checkpoints"

    def _evaluate(self) -> None:
        if self.divergence.doubtful or not self.trainer.weights_are_finite():
            return  # weights that are not numbers are no candidate
        forgets = self._forgets()
        if self.job.eval is None:
            if not forgets or not (self.job.folder / "model").is_dir():
                self._save_model()
            return
        values, state = self.trainer.score(), self.state
        self._evaluated_at, self._unsaved = state.step, True
        # A model that forgets is no candidate, unless there is no other.
        better = self._is_better(values) and not (forgets and state.best_step is not None)
        state.evaluations_without_gain = 0 if better else state.evaluations_without_gain + 1
        self.divergence.evaluated(values)
        if better:
            state.best_step, state.best_wer, state.best_cer = state.step, values["wer"], values["cer"]
            self._save_model()
        self._write("eval", state.step, values)
        self.emit(Evaluated(state.step, values, better))
        self._warn_of_silence(values)

    def _forgets(self) -> bool:
        """Whether the guard set is worse than before training, beyond chance."""
        found, state = self.trainer.guarded(), self.state
        if found is None:
            return False
        worse = found.is_significant and found.difference > 0
        self._write("guard", state.step, {"wer": found.wer_b, "wer_before": found.wer_a, "p": found.p})
        rates = f"WER {100 * found.wer_b:.2f} %, {100 * found.wer_a:.2f} % before"
        told = f"step {state.step}: guard {self.run.guard}: {rates}"
        if worse:
            state.forgot_at = state.step
        self.emit(Warned(f"{told}: worse beyond chance") if worse else Note(told))
        return worse

    def _is_better(self, values: Mapping[str, Any]) -> bool:
        """By WER; at equal WER by CER, or the first evaluation would stay the best while every word is wrong."""
        best_wer, best_cer = self.state.best_wer, self.state.best_cer
        if best_wer is None or values["wer"] != best_wer:
            return best_wer is None or bool(values["wer"] < best_wer)
        return best_cer is not None and bool(values["cer"] < best_cer)

    def _warn_of_silence(self, values: Mapping[str, Any]) -> None:
        # From scratch a CTC model says nothing for a while; past half of the run that is no longer normal.
        if self.divergence.fell_silent:
            self.emit(Warned("every hypothesis is empty, and was not before; no checkpoint is made meanwhile"))
        elif values["empty"] > 0.99 and self.state.step * 2 > self.total:
            causes = ", ".join(SILENT)
            self.emit(Warned(f"every hypothesis is empty past half of the run; likely causes: {causes}"))

    def _save_model(self) -> None:
        self.trainer.save_model()
        self._unproven_model = self.state.step

    def _save(self) -> None:
        ended = self.state.step >= self.total
        if (
            self.divergence.doubtful
            or (self.divergence.fell_silent and not ended)
            or not self.trainer.weights_are_finite()
        ):
            return  # the last good checkpoint stays the last
        parts = vars(self.trainer.snapshot())
        saved = checkpoints.save(self._folder, self.state.step, state=self.state, **parts)
        self._saved_at, self._unsaved = saved.step, False
        self._unproven.append(saved.step)
        self.emit(CheckpointSaved(self.state.step, str(saved.path)))

    def _prune(self) -> None:
        """Called where a newer checkpoint was verified, and the step after it was good."""
        self._unproven = []
        if self._saved_at is not None:
            best, newest = self.state.best_step, self._saved_at
            checkpoints.prune(self._folder, keep=self.run.keep, best_step=best, newest=newest)

    def _kept_step(self) -> Optional[int]:
        """Of the newest checkpoint; what lies above the run's own step is damaged."""
        kept = [step for step in checkpoints.steps(self._folder) if step <= self.state.step]
        return kept[-1] if kept else None

    # -- when numbers go bad ----------------------------------------------------------------------------------------

    def _give_up_if(self, verdict: Optional[Divergence]) -> None:
        """Raises Diverged, after what the bad numbers made was taken back."""
        if verdict is None:
            return
        self._take_back()
        kept = self._kept_step()
        what = "no checkpoint was made before that" if kept is None else f"the checkpoint of step {kept} is kept"
        causes = [f"likely cause: {cause}" for cause in verdict.causes]
        raise Diverged(verdict.message, fix=f"{verdict.advice}; {what}", problems=causes)

    def _take_back(self) -> None:
        """What was made after the last good step, and of a model that fell silent what came after the best."""
        best = self.state.best_step
        if self.divergence.fell_silent and best in checkpoints.steps(self._folder):
            self._remove(step for step in checkpoints.steps(self._folder) if step > best)
        self._take_back_unproven()

    def _remove(self, steps: Iterable[int]) -> None:
        for step in steps:
            CHECKPOINT.remove(checkpoints.path_of(self._folder, step))

    def _take_back_unproven(self) -> None:
        good = self.divergence.good_step
        self._remove(step for step in self._unproven if step > good)
        if self._unproven_model is not None and self._unproven_model > good:
            self._model_from_checkpoint()

    def _best_of_what_is_left(self) -> None:
        """What run.json calls the best is what the checkpoint that stays calls so."""
        left, state = checkpoints.latest_valid(self._folder).checkpoint, self.state
        then = TrainerState() if left is None else left.state
        state.best_step, state.best_wer, state.best_cer = then.best_step, then.best_wer, then.best_cer

    def _model_from_checkpoint(self) -> None:
        """Make `model/` the best model that a checkpoint still has; without one there is none."""
        found = checkpoints.latest_valid(self._folder).checkpoint
        if found is None:
            MODEL.remove(self.job.folder / "model")
            return
        best = checkpoints.best_left(self._folder, found)
        loading.save_with_weights(self._recognizer, best.result(), self.job.folder / "model")
