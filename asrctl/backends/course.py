"""Between optimiser steps, the same on every backend: journal, evaluation, checkpoints, and when to stop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Optional

from asrctl import checkpoints
from asrctl.backends.job import Outcome, Standing, TrainingJob
from asrctl.backends.journal import Journal
from asrctl.errors import Diverged
from asrctl.events import CheckpointSaved, Emit, Evaluated, StepDone, Warned

# Steps in a row whose numbers are not finite before training gives up.
MAX_BAD_STEPS = 8


@dataclass(frozen=True)
class Done:
    """What a call of a loop came to. step: optimiser steps of the run so far; a call of an IPU makes several.

    loss: mean over the call's utterances. grad_norm: None where the loop does not know it. applied: the weights took
    the update.
    """

    step: int
    loss: float
    rate: float
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
    """What a backend does when its course asks. bad_steps_spoil: a step that is not finite reaches the weights."""

    bad_steps_spoil = False
    bad_steps_fix = "lower optim.learning_rate, or use fp32"

    def score(self) -> Dict[str, Any]:
        """{"wer", "cer", "empty"} of the model as it stands."""
        raise NotImplementedError

    def keep_model(self) -> None:
        """Make the model as it stands the run's `model/`."""
        raise NotImplementedError

    def snapshot(self) -> Snapshot:
        """Everything that resuming needs."""
        raise NotImplementedError


class Course:
    """One run from its start, or from a checkpoint, to its end. total: optimiser steps of the whole run."""

    def __init__(self, job: TrainingJob, emit: Emit, loop: Loop, *, total: int, steps_per_epoch: int) -> None:
        self.job, self.emit, self.loop, self.run = job, emit, loop, job.recipe.run
        self.total, self.steps_per_epoch = total, steps_per_epoch
        self.standing = Standing() if job.resume is None else Standing.from_dict(job.resume.state)
        self.start = self.standing.step
        self.reason, self.audio_s = "finished", 0.0
        self.final: Mapping[str, Any] = {}
        self.journal: Optional[Journal] = None

    def open(self) -> None:
        """Clear what a killed process left behind, and cut the journal to where this run starts."""
        checkpoints.clear_unfinished(self.job.folder / "checkpoints")
        self.journal = Journal(self.job.folder, resume_step=self.start)
        self.started = time.monotonic()

    def close(self) -> None:
        if self.journal is not None:
            self.journal.close()

    def outcome(self) -> Outcome:
        seconds = time.monotonic() - self.started
        steps = self.standing.step - self.start
        return Outcome(self.reason, self.standing, seconds, self.audio_s, steps, self.final)

    # -- between calls ----------------------------------------------------------------------------------------------

    def after(self, done: Done) -> bool:
        """All that is due after a call; False where it was the last. Raises Diverged."""
        before, self.standing.step = self.standing.step, done.step
        self._watch(done)
        self._record(before, done)
        last = done.step >= self.total
        if self._crossed(before, self.run.eval_every) and not last:
            self._evaluate()
        if self._crossed(before, self.run.save_every or self.run.eval_every) and not last:
            self._save()
        reason = "finished" if last else self._why_stop()
        if reason is not None:
            self.finish(reason)
        return reason is None

    def finish(self, reason: str) -> None:
        """The last evaluation and the last checkpoint."""
        self.reason = reason
        if reason != "interrupted" and (self.standing.best_step != self.standing.step or self.job.eval is None):
            self.final = self._evaluate()
        if self.standing.step:
            self._save()

    def _why_stop(self) -> Optional[str]:
        patience, limit = self.run.early_stopping, self.job.max_minutes
        if self.job.stop.requested:
            return "interrupted"
        if patience is not None and self.standing.evaluations_without_gain >= patience:
            return "early-stopping"
        if limit is not None and time.monotonic() - self.started >= limit * 60:
            return "max-minutes"
        return None

    def _crossed(self, before: int, every: Optional[int]) -> bool:
        every = every or self.steps_per_epoch
        return before // every != self.standing.step // every

    def _watch(self, done: Done) -> None:
        standing = self.standing
        if standing.first_loss is None and math.isfinite(done.loss):
            standing.first_loss = done.loss
        if done.applied and math.isfinite(done.loss):
            standing.bad_steps = 0
            return
        standing.bad_steps += 1
        norm = "" if done.grad_norm is None else f", gradient norm {done.grad_norm:g}"
        left_out = "" if self.loop.bad_steps_spoil else "; step left out"
        self.emit(Warned(f"step {standing.step}: loss {done.loss:g}{norm}{left_out}"))
        if standing.bad_steps >= MAX_BAD_STEPS:
            raise Diverged(
                f"{MAX_BAD_STEPS} steps in a row gave numbers that are not finite",
                fix=f"{self.loop.bad_steps_fix}; the last good checkpoint and the best model are kept",
            )

    def _record(self, before: int, done: Done) -> None:
        speed = self.audio_s / max(time.monotonic() - self.started, 1e-9)
        values = {"loss": done.loss, "learning_rate": done.rate}
        if done.grad_norm is not None:
            values["grad_norm"] = done.grad_norm
        values.update(epoch=done.step / self.steps_per_epoch, audio_s_per_s=speed)
        if before == 0 or done.step >= self.total or self._crossed(before, self.run.log_every):
            self.journal.write("train", done.step, values)
        self.emit(StepDone(done.step, self.total, {"loss": done.loss, "lr": done.rate, "audio s/s": speed}))

    # -- evaluation and checkpoints ---------------------------------------------------------------------------------

    @property
    def _spoilt(self) -> bool:
        return self.loop.bad_steps_spoil and self.standing.bad_steps > 0

    def _evaluate(self) -> Mapping[str, Any]:
        if self._spoilt:
            return {}  # weights that are not numbers are no candidate
        if self.job.eval is None:
            self.loop.keep_model()
            return {}
        values, standing = self.loop.score(), self.standing
        better = standing.best_wer is None or values["wer"] < standing.best_wer
        standing.evaluations_without_gain = 0 if better else standing.evaluations_without_gain + 1
        if better:
            standing.best_step, standing.best_wer = standing.step, values["wer"]
            self.loop.keep_model()
        self.journal.write("eval", standing.step, values)
        self.emit(Evaluated(standing.step, values, better))
        self._warn_of_silence(values)
        return values

    def _warn_of_silence(self, values: Mapping[str, Any]) -> None:
        # From scratch a CTC model says nothing for a while; past half of the run that is no longer normal.
        if values["empty"] > 0.99 and self.standing.step * 2 > self.total:
            self.emit(
                Warned(
                    "every hypothesis is empty past half of the run: likely causes are a learning rate that is too"
                    " high or too low, too few steps, or transcripts that do not belong to the audio"
                )
            )

    def _save(self) -> None:
        if self._spoilt:
            return  # the last good checkpoint stays the last
        folder, parts = self.job.folder / "checkpoints", self.loop.snapshot()
        saved = checkpoints.save(
            folder,
            self.standing.step,
            model=parts.model,
            optimizer=parts.optimizer,
            state=dict(self.standing.as_dict(), **parts.state),
            extra=parts.extra,
        )
        checkpoints.prune(folder, keep=self.run.keep, best_step=self.standing.best_step)
        self.emit(CheckpointSaved(self.standing.step, str(saved.path)))
