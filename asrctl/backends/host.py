"""Training on cpu, cuda and mps: our own loop, read from top to bottom."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Optional, Tuple

import numpy as np

from asrctl import acoustics, checkpoints, compat, models
from asrctl.backends.feed import Feed, Limits, MicroBatch, StepBatch
from asrctl.backends.job import Outcome, Standing, TrainingJob
from asrctl.backends.journal import Journal
from asrctl.backends.scoring import Scorer
from asrctl.batches import Plan, generator
from asrctl.devices import autocast
from asrctl.errors import DeviceError, Diverged
from asrctl.events import CheckpointSaved, Emit, Evaluated, Note, StepDone, Warned
from asrctl.optimisation import AdamW, learning_rate

# Steps in a row whose gradient is not finite before training gives up.
MAX_BAD_STEPS = 8
_MICRO_STREAM = 6
# Where cpu and mps leave the length of a micro-batch open: about this much is fastest on a CPU (caches).
_DEFAULT_MICRO_BATCH_S = 45.0
_CUDA_START_S = 640.0


def train(job: TrainingJob, emit: Emit) -> Outcome:
    """Run a job to its end, its limits or a request to stop.

    Raises Diverged after MAX_BAD_STEPS bad steps in a row, DeviceError where one utterance does not fit into memory.
    """
    return HostTrainer(job, emit).run()


@dataclass
class _Step:
    """What one optimiser step came to."""

    loss: float
    grad_norm: float
    rate: float
    applied: bool


class HostTrainer:
    """One run on one device."""

    def __init__(self, job: TrainingJob, emit: Emit) -> None:
        import torch

        self.job, self.emit, self.recipe = job, emit, job.recipe
        self.device = job.device.torch_device
        self.host = job.recipe.host(job.device.kind)
        self.optim = job.recipe.optim
        self.static = job.recipe.batches.shapes == "static"
        rate = job.train.sample_rate
        self.pad_to = int(job.recipe.audio.max_s * rate) if self.static else None
        self.recogniser = job.recogniser
        self.model = job.recogniser.model.to(self.device)
        if self.device.type == "cpu":
            compat.use_plain_attention(self.model)
        self.adam = AdamW(self.model, self.optim)
        self.scaler = compat.grad_scaler(self.device.type, enabled=job.precision == "fp16")
        self.standing = Standing()
        if job.resume is not None:
            self._restore(job.resume)
        self.plan = plan_of(job.recipe, job.train)
        self.feed = self._feed(self.host.micro_batch_s or self._default_micro_batch_s())
        self.scorer = self._scorer()
        self.started = time.monotonic()
        self.audio_s = 0.0
        torch.set_grad_enabled(True)

    # -- set-up -----------------------------------------------------------------------------------------------------

    def _default_micro_batch_s(self) -> float:
        return _CUDA_START_S if self.device.type == "cuda" else _DEFAULT_MICRO_BATCH_S

    def _feed(self, micro_batch_s: float) -> Feed:
        rate = self.job.train.sample_rate
        return Feed(
            split=self.job.train,
            plan=self.plan,
            features=self.recogniser.features,
            augment=self.recipe.batches.augment,
            limits=Limits(int(micro_batch_s * rate), self.host.micro_batch, self.pad_to),
            delimiter=self.recogniser.vocabulary.delimiter_id,
            max_item_samples=int(self.recipe.audio.max_s * rate),
        )

    def _scorer(self) -> Optional[Scorer]:
        if self.job.eval is None:
            return None
        return Scorer(
            split=self.job.eval,
            device=self.device,
            precision=self.job.precision,
            batch_s=self.host.eval_batch_s,
            pad_to=self.pad_to,
            most=self.recipe.run.eval_max_utterances,
            seed=self.optim.seed,
        )

    def _try_longest(self) -> None:
        """Forward and backward over the largest micro-batch, before the first step; on CUDA halve it until it fits."""
        import torch

        micro_batch_s = self.host.micro_batch_s or self._default_micro_batch_s()
        while True:
            try:
                self._backward(self.feed.longest(), total_weight=1.0, key=(0, 0))
                break
            except torch.cuda.OutOfMemoryError:
                rows = self.feed.longest().weights.shape[0]
                if rows == 1:
                    raise DeviceError(
                        "the longest utterance does not fit into the device's memory",
                        fix="lower audio.max_s (prepare again with --max-s), or use --device cpu",
                    ) from None
                if self.host.micro_batch_s is not None:
                    raise DeviceError(
                        f"a micro-batch of {micro_batch_s:g} s of audio does not fit into the device's memory",
                        fix=f"lower it: --set {self.device.type}.micro_batch_s={micro_batch_s / 2:g}",
                    ) from None
                micro_batch_s /= 2
                self.adam.zero_grad()
                torch.cuda.empty_cache()
                self.feed = self._feed(micro_batch_s)
            finally:
                self.adam.zero_grad()
        if self.device.type == "cuda":
            self.emit(Note(f"micro-batches of up to {micro_batch_s:g} s of audio"))

    # -- the run ----------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        start = self.standing.step
        total = self.job.total_steps
        checkpoints.clear_unfinished(self.job.folder / "checkpoints")
        self.journal = Journal(self.job.folder, resume_step=start)
        reason = "finished"
        try:
            if start < total:
                self._try_longest()
            for batch in self._steps(start, total):
                step = self._train_step(batch)
                if step is None:
                    reason = "interrupted"
                    break
                self._after_step(batch, step)
                if self._stopped_early():
                    reason = "early-stopping"
                    break
                if self._out_of_time():
                    reason = "max-minutes"
                    break
            final = self._finish(reason)
        finally:
            self.journal.close()
        seconds = time.monotonic() - self.started
        return Outcome(reason, self.standing, seconds, self.audio_s, self.standing.step - start, final)

    def _steps(self, start: int, total: int) -> Iterator[StepBatch]:
        batches = self.feed.steps(start, total, self.host.workers)
        try:
            yield from batches
        finally:
            batches.close()

    def _train_step(self, batch: StepBatch) -> Optional[_Step]:
        """Forward, backward and update; None where a stop was asked for before the update."""
        self.model.train()
        loss = 0.0
        for index, micro in enumerate(batch.micro_batches):
            if self.job.stop.requested:
                self.adam.zero_grad()
                return None
            loss += self._backward(micro, total_weight=float(batch.utterances), key=(batch.step, index))
            self.audio_s += micro.audio_s
        rate = learning_rate(self.optim, batch.step, self.job.total_steps)
        norm, applied = self._update(batch.step, rate)
        return _Step(loss, norm, rate, applied)

    def _backward(self, micro: MicroBatch, *, total_weight: float, key: Tuple[int, int]) -> float:
        """Add a micro-batch's gradient; its share of the step's loss.

        The loss of a step is the mean over its utterances, however they are cut into micro-batches.
        """
        import torch

        # Dropout, layer drop and masks depend on (seed, step, micro-batch) alone: resuming needs no hidden state.
        seed = int(generator(self.optim.seed, _MICRO_STREAM, *key).integers(0, 2**32))
        torch.manual_seed(seed)
        np.random.seed(seed)
        inputs = {name: tensor.to(self.device, non_blocking=True) for name, tensor in micro.inputs.items()}
        with autocast(self.device, self.job.precision):
            logits, frames = acoustics.forward(self.model, exact=not self.static, **inputs)
        losses = acoustics.ctc_losses(
            logits,
            frames,
            micro.labels.to(self.device),
            micro.label_lengths.to(self.device),
            blank=self.recogniser.blank,
            reduction=self.recipe.model.ctc_loss_reduction,
            zero_infinity=self.recipe.model.ctc_zero_infinity,
        )
        loss = (losses * micro.weights.to(self.device)).sum() / total_weight
        self.scaler.scale(loss).backward()
        return float(loss.detach())

    def _update(self, step: int, rate: float) -> Tuple[float, bool]:
        """(gradient norm, whether the update was made); a gradient that is not finite changes nothing."""
        self.scaler.unscale_(self.adam.torch_optimizer)
        limit = self.optim.max_grad_norm
        norm = float(self.adam.grad_norm() if limit is None else self.adam.clip(limit))
        applied = math.isfinite(norm)
        if applied:
            self.adam.prepare(step, rate)
            self.scaler.step(self.adam.torch_optimizer)
        self.scaler.update()
        self.adam.zero_grad()
        return norm, applied

    # -- between steps ----------------------------------------------------------------------------------------------

    def _after_step(self, batch: StepBatch, step: _Step) -> None:
        standing, run = self.standing, self.recipe.run
        standing.step = batch.step + 1
        self._watch(step)
        elapsed = time.monotonic() - self.started
        values = {
            "loss": step.loss,
            "learning_rate": step.rate,
            "grad_norm": step.grad_norm,
            "epoch": standing.step / self.plan.steps_per_epoch,
            "audio_s_per_s": self.audio_s / max(elapsed, 1e-9),
        }
        last = standing.step == self.job.total_steps
        if standing.step % run.log_every == 0 or standing.step == 1 or last:
            self.journal.write("train", standing.step, values)
        self.emit(StepDone(standing.step, self.job.total_steps, _for_people(values)))
        if self._due(run.eval_every) and not last:
            self._evaluate()
        if self._due(run.save_every or run.eval_every) and not last:
            self._save()

    def _due(self, every: Optional[int]) -> bool:
        return self.standing.step % (every or self.plan.steps_per_epoch) == 0

    def _watch(self, step: _Step) -> None:
        standing = self.standing
        if standing.first_loss is None and math.isfinite(step.loss):
            standing.first_loss = step.loss
        if step.applied and math.isfinite(step.loss):
            standing.bad_steps = 0
            return
        standing.bad_steps += 1
        self.emit(Warned(f"step {standing.step}: loss {step.loss:g}, gradient norm {step.grad_norm:g}; step left out"))
        if standing.bad_steps >= MAX_BAD_STEPS:
            raise Diverged(
                f"{MAX_BAD_STEPS} steps in a row gave numbers that are not finite",
                fix="lower optim.learning_rate, or use fp32; the last good checkpoint and the best model are kept",
            )

    def _evaluate(self) -> Dict[str, Any]:
        if self.scorer is None:
            models.save_recogniser_atomically(self.recogniser, self.job.folder / "model")
            return {}
        values = self.scorer.score(self.recogniser, self.emit)
        standing = self.standing
        better = standing.best_wer is None or values["wer"] < standing.best_wer
        standing.evaluations_without_gain = 0 if better else standing.evaluations_without_gain + 1
        if better:
            standing.best_step, standing.best_wer = standing.step, values["wer"]
            models.save_recogniser_atomically(self.recogniser, self.job.folder / "model")
        self.journal.write("eval", standing.step, values)
        self.emit(Evaluated(standing.step, _for_people(values), better))
        self._warn_of_silence(values)
        return values

    def _warn_of_silence(self, values: Dict[str, Any]) -> None:
        # From scratch a CTC model says nothing for a while; past half of the run that is no longer normal.
        if values["empty"] > 0.99 and self.standing.step * 2 > self.job.total_steps:
            self.emit(
                Warned(
                    "every hypothesis is empty past half of the run: likely causes are a learning rate that is too"
                    " high or too low, too few steps, or transcripts that do not belong to the audio"
                )
            )

    def _stopped_early(self) -> bool:
        patience = self.recipe.run.early_stopping
        return patience is not None and self.standing.evaluations_without_gain >= patience

    def _out_of_time(self) -> bool:
        limit = self.job.max_minutes
        return limit is not None and time.monotonic() - self.started >= limit * 60

    def _finish(self, reason: str) -> Dict[str, Any]:
        final: Dict[str, Any] = {}
        if reason != "interrupted" and (self.standing.best_step != self.standing.step or self.scorer is None):
            final = self._evaluate()
        if self.standing.step:
            self._save()
        return final

    def _save(self) -> None:
        folder = self.job.folder / "checkpoints"
        self.standing.scaler = float(self.scaler.get_scale()) if self.scaler.is_enabled() else None
        saved = checkpoints.save(
            folder,
            self.standing.step,
            model=compat.canonical_state(self.model),
            optimizer=self.adam.state(),
            state=self.standing.as_dict(),
        )
        checkpoints.prune(folder, keep=self.recipe.run.keep, best_step=self.standing.best_step)
        self.emit(CheckpointSaved(self.standing.step, str(saved.path)))

    def _restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        names = compat.model_names(self.model)
        self.model.load_state_dict({names[name]: tensor for name, tensor in checkpoint.model().items()})
        self.standing = Standing.from_dict(checkpoint.state)
        self.adam.load(checkpoint.optimizer(), self.standing.step)
        if self.scaler.is_enabled() and self.standing.scaler:
            self.scaler.load_state_dict(dict(self.scaler.state_dict(), scale=self.standing.scaler))


def plan_of(recipe: Any, train: Any) -> Plan:
    """The batches of a training split under a recipe."""
    seconds = recipe.optim.global_batch_s
    return Plan(
        num_samples=train.num_samples,
        global_batch=recipe.optim.global_batch,
        batch_samples=None if seconds is None else int(seconds * train.sample_rate),
        order=recipe.batches.order,
        drop_last=recipe.batches.drop_last,
        seed=recipe.optim.seed,
    )


def _for_people(values: Dict[str, Any]) -> Dict[str, Any]:
    shown = {"learning_rate": "lr", "audio_s_per_s": "audio s/s"}
    return {shown.get(name, name): value for name, value in values.items() if name not in ("grad_norm", "epoch")}
