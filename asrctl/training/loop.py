"""Between optimizer steps, the same on every backend: journal, evaluation, checkpoints, and when to stop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional

from asrctl.errors import Diverged
from asrctl.events import CheckpointSaved, Emit, Evaluated, Note, StepDone, Warned
from asrctl.messages import amounts
from asrctl.models import loading
from asrctl.storage.ownership import CHECKPOINT, MODEL
from asrctl.training import checkpoints
from asrctl.training.divergence import NOT_FINITE, SILENT, Verdict, Watch
from asrctl.training.job import Outcome, Standing, TrainingJob
from asrctl.training.metrics_log import Journal
from asrctl.training.optim import Pace
from asrctl.training.time_limit import TimeLimit


@dataclass(frozen=True)
class Done:
    """What a call of a loop came to. step: optimizer steps of the run so far; a call of an IPU makes several.

    loss: mean over the call's utterances. utterances, labels, audio_s: how much of each the call took. grad_norm: None
    where the loop does not know it. applied: the weights took the update.
    """

    step: int
    loss: float
    rate: float
    utterances: int
    labels: int
    audio_s: float
    grad_norm: Optional[float] = None
    applied: bool = True


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds beside the run's standing; the values of checkpoints.save."""

    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)
    extra: Optional[Callable[[Any], Any]] = None


class Loop:
    """What a backend does when its course asks.

    bad_steps_spoil: a step that is not finite reaches the weights. bad_steps_advice: what to change then.
    """

    bad_steps_spoil = False
    bad_steps_advice = "lower optim.learning_rate, lengthen the warm-up, set optim.max_grad_norm=1, or use fp32"

    def sound(self) -> bool:
        """Every weight is finite."""
        raise NotImplementedError

    def score(self) -> Dict[str, Any]:
        """{"wer", "cer", "empty"} of the model as it stands."""
        raise NotImplementedError

    def keep_model(self) -> None:
        """Make the model as it stands the run's `model/`."""
        raise NotImplementedError

    def snapshot(self) -> Snapshot:
        """Everything that resuming needs."""
        raise NotImplementedError


def pace_of(standing: Standing, total: int) -> Optional[Pace]:
    """The pace that a run's checkpoint was left at, if it still is to end so. total: steps of the whole recipe."""
    pace = None if standing.pace is None else Pace.from_dict(standing.pace)
    return pace if pace is not None and pace.recipe == total and standing.step < pace.total else None


class Course:
    """One run from its start, or from a checkpoint, to its end.

    total: optimizer steps of the whole run, as its recipe has it; a limited time may do with fewer. per_call: steps
    that the loop makes at once.
    """

    def __init__(
        self, job: TrainingJob, emit: Emit, loop: Loop, *, total: int, steps_per_epoch: int, per_call: int = 1
    ) -> None:
        self.job, self.emit, self.loop, self.run = job, emit, loop, job.recipe.run
        self.most, self.steps_per_epoch, self._per_call = total, steps_per_epoch, per_call
        self.standing = Standing() if job.resume is None else Standing.from_dict(job.resume.state)
        self._pace = pace_of(self.standing, total) or Pace.whole(total)
        self.standing.pace = None if self._pace == Pace.whole(total) else self._pace.as_dict()
        self._limit = None if job.max_minutes is None else TimeLimit(job.max_minutes * 60)
        self.watch = Watch(
            self.standing,
            spoils=loop.bad_steps_spoil,
            vocabulary=len(job.recognizer.vocabulary),
            max_silent_steps=self.run.max_silent_steps,
            advice=loop.bad_steps_advice,
        )
        # What was written in this process, and not yet known to be good: the next step's loss tells.
        self._unproven: List[int] = []
        self._unproven_model: Optional[int] = None
        self.start = self.standing.step
        # Steps of the last evaluation and checkpoint, and whether something has changed since that one: a run may end
        # at either, and need not do them again.
        self._evaluated_at: Optional[int] = None
        self._saved_at = None if job.resume is None else job.resume.step
        self._unsaved = False
        self.reason, self.audio_s = "finished", 0.0
        self.journal: Optional[Journal] = None

    def open(self) -> None:
        """Clear what a killed process left behind, and cut the journal to where this run starts."""
        checkpoints.clear_unfinished(self._folder)
        self.journal = Journal(self.job.folder, resume_step=self.start)
        self.started = time.monotonic()
        self._left_at = 0.0

    def close(self) -> None:
        if self.journal is not None:
            self.journal.close()

    def outcome(self) -> Outcome:
        seconds = time.monotonic() - self.started
        return Outcome(self.reason, self.standing, seconds, self.audio_s, self._kept_step(), self.total)

    @property
    def total(self) -> int:
        """Optimizer steps of the whole run, as it is planned now."""
        return self._pace.total

    def rate(self, step: int) -> float:
        """The learning rate of optimizer step `step` (0-based)."""
        return self._pace.rate(self.job.recipe.optim, step)

    # -- between calls ----------------------------------------------------------------------------------------------

    def after(self, done: Done) -> bool:
        """All that is due after a call; False where it was the last. Raises Diverged."""
        before, self.standing.step, self._unsaved = self.standing.step, done.step, True
        self.audio_s += done.audio_s
        arrived = self._elapsed
        self._watch(before, done)
        self._record(before, done)
        self._give_up_if(self.watch.verdict())
        last = done.step >= self.total
        evaluates = self._crossed(before, self.run.eval_every) and not last
        if evaluates:
            self._evaluate()
            self._give_up_if(self.watch.silence())
        if self._crossed(before, self.run.save_every or self.run.eval_every) and not last:
            self._save()
        checked_s = self._elapsed - arrived if evaluates else 0.0
        reason = self._why_end() if last else self._why_stop()
        if reason is not None:
            self.finish(reason)
        elif self._limit is not None:
            self._replan(self._limit, done.step - before, checked_s)
        return reason is None

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def _replan(self, limit: TimeLimit, steps: int, checked_s: float) -> None:
        """Fit what is left of the schedule into what is left of the time. checked_s: what an evaluation has just taken.

        Checkpoints between evaluations count as a part of the steps.
        """
        step, now = self.standing.step, self._elapsed
        limit.stepped(steps, now - self._left_at - checked_s)
        self._left_at = now
        if checked_s:
            limit.checked(checked_s, now)
        if not limit.is_due(now):
            return
        # Hearing takes about a third of learning, which goes forth and back; the first evaluation tells it better.
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
        self._pace = self._pace.ending(total, step)
        self.standing.pace = self._pace.as_dict()

    def finish(self, reason: str) -> None:
        """The last evaluation and the last checkpoint. Raises Diverged where the run ends in numbers gone bad."""
        self.reason = reason
        if reason != "interrupted":
            self._give_up_if(self.watch.verdict(ended=True))
            if not self.loop.sound():
                self._give_up_if(
                    Verdict("the last step gave weights that are not finite", NOT_FINITE, self.watch.advice)
                )
            if self.standing.step not in (self._evaluated_at, self.standing.best_step) or self.job.eval is None:
                self._evaluate()
        if self._unsaved:
            self._save()
        if not self._unsaved:
            self._prune()
        elif self.watch.doubtful:  # so nothing is saved, and the checkpoint before is perhaps ruined already
            self._take_back_unproven()
            self._best_of_what_is_left()

    def _why_end(self) -> str:
        return "finished" if self.total == self.most else "max-minutes"

    def _why_stop(self) -> Optional[str]:
        patience = self.run.early_stopping
        if self.job.stop.requested:
            return "interrupted"
        if patience is not None and self.standing.evaluations_without_gain >= patience:
            return "early-stopping"
        if self._limit is not None and self._limit.is_over(self._elapsed):
            return "max-minutes"
        return None

    def _crossed(self, before: int, every: Optional[int]) -> bool:
        every = every or self.steps_per_epoch
        return before // every != self.standing.step // every

    def _watch(self, before: int, done: Done) -> None:
        watch, was_doubtful = self.watch, self.watch.doubtful
        per_label = done.loss
        if self.job.recipe.model.ctc_loss_reduction == "sum":
            per_label *= done.utterances / max(1, done.labels)
        watch.after(before, per_label, applied=done.applied)
        if watch.bad:
            norm = "" if done.grad_norm is None else f", gradient norm {done.grad_norm:g}"
            left_out = "" if watch.spoils else "; step left out"
            self.emit(Warned(f"step {done.step}: loss {done.loss:g}{norm}{left_out}"))
        elif watch.doubtful and not was_doubtful:
            self.emit(Warned(f"step {done.step}: the loss has exploded to {done.loss:g}; nothing is saved meanwhile"))
        if self._unproven and watch.good_step >= self._unproven[-1]:
            self._prune()
        if self._unproven_model is not None and watch.good_step >= self._unproven_model:
            self._unproven_model = None

    def _record(self, before: int, done: Done) -> None:
        speed = self.audio_s / max(self._elapsed, 1e-9)
        values = {"loss": done.loss, "learning_rate": done.rate}
        if done.grad_norm is not None:
            values["grad_norm"] = done.grad_norm
        values.update(epoch=done.step / self.steps_per_epoch, audio_s_per_s=speed)
        if before == 0 or done.step >= self.total or self._crossed(before, self.run.log_every):
            self._write("train", done.step, values)
        is_open = self._limit is not None and self.standing.pace is None  # how far the time goes is not known yet
        self.emit(
            StepDone(
                done.step, None if is_open else self.total, {"loss": done.loss, "lr": done.rate, "audio s/s": speed}
            )
        )

    def _write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if self.journal is not None:
            self.journal.write(kind, step, values)

    # -- evaluation and checkpoints ---------------------------------------------------------------------------------

    @property
    def _folder(self) -> Path:
        return self.job.folder / "checkpoints"

    def _evaluate(self) -> None:
        if self.watch.doubtful or not self.loop.sound():
            return  # weights that are not numbers are no candidate
        if self.job.eval is None:
            self._keep_model()
            return
        values, standing = self.loop.score(), self.standing
        self._evaluated_at, self._unsaved = standing.step, True
        better = self._is_better(values)
        standing.evaluations_without_gain = 0 if better else standing.evaluations_without_gain + 1
        self.watch.evaluated(values)
        if better:
            standing.best_step, standing.best_wer, standing.best_cer = standing.step, values["wer"], values["cer"]
            self._keep_model()
        self._write("eval", standing.step, values)
        self.emit(Evaluated(standing.step, values, better))
        self._warn_of_silence(values)

    def _is_better(self, values: Mapping[str, Any]) -> bool:
        """By WER; at equal WER by CER, or the first evaluation would stay the best while every word is wrong."""
        best_wer, best_cer = self.standing.best_wer, self.standing.best_cer
        if best_wer is None or values["wer"] != best_wer:
            return best_wer is None or bool(values["wer"] < best_wer)
        return best_cer is not None and bool(values["cer"] < best_cer)

    def _warn_of_silence(self, values: Mapping[str, Any]) -> None:
        # From scratch a CTC model says nothing for a while; past half of the run that is no longer normal.
        if self.watch.fell_silent:
            self.emit(Warned("every hypothesis is empty, and was not before; no checkpoint is made meanwhile"))
        elif values["empty"] > 0.99 and self.standing.step * 2 > self.total:
            causes = ", ".join(SILENT)
            self.emit(Warned(f"every hypothesis is empty past half of the run; likely causes: {causes}"))

    def _keep_model(self) -> None:
        self.loop.keep_model()
        self._unproven_model = self.standing.step

    def _save(self) -> None:
        ended = self.standing.step >= self.total
        if self.watch.doubtful or (self.watch.fell_silent and not ended) or not self.loop.sound():
            return  # the last good checkpoint stays the last
        parts = self.loop.snapshot()
        saved = checkpoints.save(
            self._folder,
            self.standing.step,
            model=parts.model,
            optimizer=parts.optimizer,
            state=dict(self.standing.as_dict(), **parts.state),
            extra=parts.extra,
        )
        self._saved_at, self._unsaved = saved.step, False
        self._unproven.append(saved.step)
        self.emit(CheckpointSaved(self.standing.step, str(saved.path)))

    def _prune(self) -> None:
        """Called where a newer checkpoint was verified, and the step after it was good."""
        self._unproven = []
        if self._saved_at is not None:
            best, newest = self.standing.best_step, self._saved_at
            checkpoints.prune(self._folder, keep=self.run.keep, best_step=best, newest=newest)

    def _kept_step(self) -> Optional[int]:
        """Of the newest checkpoint; what lies above the run's own step is damaged."""
        kept = [step for step in checkpoints.steps(self._folder) if step <= self.standing.step]
        return kept[-1] if kept else None

    # -- when numbers go bad ----------------------------------------------------------------------------------------

    def _give_up_if(self, verdict: Optional[Verdict]) -> None:
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
        best = self.standing.best_step
        if self.watch.fell_silent and best in checkpoints.steps(self._folder):
            self._remove(step for step in checkpoints.steps(self._folder) if step > best)
        self._take_back_unproven()

    def _remove(self, steps: Iterable[int]) -> None:
        for step in steps:
            CHECKPOINT.remove(checkpoints.path_of(self._folder, step))

    def _take_back_unproven(self) -> None:
        good = self.watch.good_step
        self._remove(step for step in self._unproven if step > good)
        if self._unproven_model is not None and self._unproven_model > good:
            self._model_from_checkpoint()

    def _best_of_what_is_left(self) -> None:
        """What run.json calls the best is what the checkpoint that stays calls so."""
        left, standing = checkpoints.latest_valid(self._folder).checkpoint, self.standing
        then = Standing() if left is None else Standing.from_dict(left.state)
        standing.best_step, standing.best_wer, standing.best_cer = then.best_step, then.best_wer, then.best_cer

    def _model_from_checkpoint(self) -> None:
        """Make `model/` the best model that a checkpoint still has; without one there is none."""
        found = checkpoints.latest_valid(self._folder).checkpoint
        if found is None:
            MODEL.remove(self.job.folder / "model")
            return
        best = checkpoints.best_left(self._folder, found)
        loading.save_with_weights(self.job.recognizer, best.model(), self.job.folder / "model")
