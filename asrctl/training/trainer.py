"""Training on cpu, cuda and mps: our own loop, read from top to bottom."""

from __future__ import annotations

import contextlib
import math
import random
from typing import Any, ContextManager, Dict, Generator, Optional, Tuple, cast

import numpy as np

from asrctl.data.augmentation.chain import Augmenter
from asrctl.data.dataset import PreparedSplit
from asrctl.data.sampler import generator, samples_in
from asrctl.errors import BadData, DeviceError
from asrctl.evaluation.comparison import Difference
from asrctl.events import Emit, Note, ignore
from asrctl.messages import reasons
from asrctl.models import ctc, gradient_checkpointing, learning_weights, loading, weights
from asrctl.models.packed import memory_estimate, select
from asrctl.runtime import compat, free_memory, memory
from asrctl.runtime.ranks import ALONE, Ranks
from asrctl.training import checkpoints
from asrctl.training.averages import WeightAverage
from asrctl.training.dataloader import Limits, MicroBatch, StepBatch, TrainingDataLoader
from asrctl.training.distributed import alike
from asrctl.training.distributed.following import Order, follow
from asrctl.training.distributed.shared_step import SharedSteps
from asrctl.training.evaluator import Evaluator
from asrctl.training.forward import ForwardPass
from asrctl.training.guard import Guard
from asrctl.training.job import Outcome, StartPoint, TrainingJob
from asrctl.training.loop import TrainingLoop
from asrctl.training.micro_batch_limits import default_micro_batch_s, limits_of
from asrctl.training.optim import AdamW
from asrctl.training.schedule import learning_rate
from asrctl.training.trainer_interface import Snapshot, StepResult, Trainer

_MICRO_STREAM = 6
# Free memory, as a multiple of what is needed at most, from which on nothing is tried.
_SPARE_MEMORY = 1.5


def train(job: TrainingJob, start: StartPoint, emit: Emit) -> Outcome:
    """Run a job to its end, its limits or a request to stop.

    Raises Diverged (see asrctl.training.loop), DeviceError where one utterance does not fit into memory, ProcessLost
    where one of several processes has ended.
    """
    return HostTrainer(job, start, emit).run()


def help_to_train(job: TrainingJob, start: StartPoint) -> None:
    """What the other processes of a training do beside the one that calls `train`. Raises the same."""
    HostTrainer(job, start, ignore).help()


class HostTrainer(Trainer):
    """One run on one device, or the part of one of several processes in it."""

    def __init__(self, job: TrainingJob, start: StartPoint, emit: Emit) -> None:
        import torch

        self.job, self.start, self.emit, self.recipe = job, start, emit, job.recipe
        self.device = job.device.torch_device
        self.host = job.recipe.host(job.device.kind)
        self.optim = job.recipe.optim
        self.static = job.recipe.batches.shapes == "static"
        rate = job.train.sample_rate
        self.pad_to = samples_in(job.recipe.audio.max_s, rate) if self.static else None
        self.recognizer = start.recognizer
        self.model = start.recognizer.model.to(self.device)
        self.ranks = start.ranks
        alike.refuse_shared_statistics(self.ranks, self.model)
        self.ranks.share([*self.model.parameters(), *self.model.buffers()])
        if self.device.type == "cpu":
            compat.use_plain_attention(self.model)
            memory.keep_for_reuse()
        if self.host.gradient_checkpointing:
            gradient_checkpointing.switch_on(self.model)
        self.adam = AdamW(self.model, self.optim)
        self.stages = learning_weights.Stages(self.model, self.optim)
        decay = self.optim.ema_decay
        self.average = None if decay is None else WeightAverage(self.model, decay)
        self.scaler = compat.grad_scaler(self.device.type, enabled=job.precision == "fp16")
        self.loop = TrainingLoop(job, start, self, emit, total=job.total_steps)
        if start.checkpoint is not None:
            self._restore(start.checkpoint)
        in_order = self.device.type == "cpu" and job.precision == "fp32"
        self.shared = SharedSteps(self.ranks, self.adam.parameters, in_order=in_order)
        if self.device.type == "cpu":
            alike.compute_with(self.loop.state, emit)
        # After weights and threads are there: they name the cache of encoder features.
        with self.ranks.main_first():
            self.forward_pass = ForwardPass(job, start.recognizer, emit)
        kept = self.loop.state.micro_batch_s
        self.micro_batch_s = self.host.micro_batch_s or kept or self._default_micro_batch_s()
        self.loader = self._loader()
        self.evaluator = None if job.eval is None else self._evaluator_of(job.eval, self.ranks)
        self.guard = None
        if job.guard is not None:  # which the main process hears alone
            self.guard = Guard(job.guard, self._evaluator_of(job.guard.split, ALONE), job.folder)
        torch.set_grad_enabled(True)

    # -- set-up -----------------------------------------------------------------------------------------------------

    def _default_micro_batch_s(self) -> float:
        """On a CPU the same for any number of processes, and so are masks and dropout. A GPU takes much at once: there
        each process gets its part of a step."""
        first = default_micro_batch_s(self.device.type)
        if self.device.type == "cpu" or self.ranks.size == 1:
            return first
        plan = self.job.batches
        step_s = plan.epoch_samples / plan.steps_per_epoch / self.job.train.sample_rate
        return min(first, step_s / self.ranks.size)

    def _loader(self) -> TrainingDataLoader:
        rate = self.job.train.sample_rate
        return TrainingDataLoader(
            split=self.job.train,
            plan=self.job.batches,
            features=self.recognizer.features,
            augmenter=Augmenter(self.recipe.batches.augment, rate, self.optim.seed, self.job.recordings),
            limits=self._limits(int(self.micro_batch_s * rate)),
            delimiter=self.recognizer.vocabulary.delimiter_id,
            max_item_samples=samples_in(self.recipe.audio.max_s, rate),
            pads=self.forward_pass.pads,
            cache=self.forward_pass.cache,
            deal=self.shared.deal,
        )

    def _limits(self, max_samples: int) -> Limits:
        packs = self.forward_pass.engine == select.PACKED and not self.forward_pass.pads
        return limits_of(self.host, self.device.type, max_samples, self.pad_to, packs=packs)

    def _evaluator_of(self, split: PreparedSplit, ranks: Ranks) -> Evaluator:
        return Evaluator(
            split=split,
            device=self.device,
            precision=self.job.precision,
            batch_s=self.host.eval_batch_s,
            pad_to=self.pad_to,
            engine=self.host.engine,
            most=self.recipe.run.eval_max_utterances,
            seed=self.optim.seed,
            ranks=ranks,
        )

    def _try_largest(self) -> None:
        """Forward and backward over the largest micro-batch, before the first step, unless it fits for sure.

        Where its length was left open it is halved until it fits. Raises DeviceError.
        """
        import torch

        while not (self.ranks.all_of(self._far_more_is_free()) or self.ranks.all_of(self._fits())):
            rows, samples = self.loader.largest_shape()
            seconds = rows * samples / self.job.train.sample_rate
            if rows == 1:
                raise DeviceError(
                    f"the longest utterance does not fit into the memory of the {self.device.type} device",
                    fix="prepare the data again with a lower --max-s, or use another --device",
                )
            if self.host.micro_batch_s is not None:
                raise DeviceError(
                    f"a micro-batch of {seconds:.3g} s of audio does not fit into the memory of the {self.device.type}"
                    " device",
                    fix=f"lower it: `--set {self.device.type}.micro_batch_s={seconds / 2:.3g}`",
                )
            # Of what is only about best the largest holds more, and must not keep the next one up.
            self.micro_batch_s = min(self.micro_batch_s, seconds) / 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.loader = self._loader()
        if self.device.type == "cuda" or self.micro_batch_s < self._default_micro_batch_s():
            if self.host.micro_batch_s is None:
                self.loop.state.micro_batch_s = self.micro_batch_s
            self.emit(Note(f"micro-batches of up to {self.micro_batch_s:g} s of audio"))

    def _far_more_is_free(self) -> bool:
        """Whether so much memory is free that trying the largest micro-batch, as slow as some steps, tells nothing."""
        packed_on_cpu = self.device.type == "cpu" and self.forward_pass.engine == select.PACKED
        if not packed_on_cpu or free_memory.addresses_are_scarce():
            return False
        rows, samples = self.loader.largest_shape()
        most = memory_estimate.most_bytes(
            self.model,
            rows,
            samples,
            precision=self.job.precision,
            pads=self.forward_pass.pads,
            recomputed=self.host.gradient_checkpointing,
        )
        return free_memory.free_bytes() > _SPARE_MEMORY * most * self.ranks.local_size

    def _fits(self) -> bool:
        import torch

        held = []
        # Statistics that a batch norm keeps are not to know of this.
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        try:
            if not self.adam.torch_optimizer.state:  # the moments will be there from the second step on
                held = [torch.empty_like(tensor) for tensor in self.adam.parameters for _ in range(2)]
            self.model.train()
            self._backward(self.loader.largest(), total_weight=1.0, key=(0, 0))
        except (RuntimeError, MemoryError, OSError) as error:
            if not memory.ran_out(error):
                raise
            return False
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
            held.clear()
            self.adam.zero_grad()
        return True

    def _memory_explained(self) -> ContextManager[None]:
        kind = self.device.type
        return memory.explained(
            f"a training step does not fit into the memory of the {kind} device any more",
            fix=f"end what else needs memory, or take less: {self._resumed('micro_batch_s', self.micro_batch_s)}",
        )

    def _resumed(self, key: str, seconds: float) -> str:
        """The command that goes on with half of what did not fit."""
        kind, run = self.device.type, self.job.folder.name
        together = f" --processes {self.ranks.size}" if self.ranks.size > 1 else ""
        return f"`asrctl train --resume --run {run} --device {kind} --set {kind}.{key}={seconds / 2:g}{together}`"

    # -- the run ----------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        loop = self.loop
        loop.open()
        try:
            self._try_largest()
            if self.guard is not None:
                self.guard.begin(self.recognizer, self.emit, resumed=self.start.checkpoint is not None)
            for batch in self._steps():
                if batch.step == loop.start:
                    alike.warn_of_idleness(batch.seconds, self.ranks.size, self.device.type, self.emit)
                self.ranks.announce(Order.STEP, loop.position(batch.step))
                result = self._train_step(batch)
                if result is None:
                    loop.finish("interrupted")
                    break
                if not loop.after_step(result):
                    break
            self.ranks.announce(Order.END)
        finally:
            loop.close()
            self.forward_pass.close()
        return loop.outcome()

    def help(self) -> None:
        """Compute this process's share of what the main one announces."""
        try:
            self._try_largest()
            batches = self._steps()
            follow(
                self.ranks,
                {
                    Order.STEP: lambda position: self._train_step(next(batches), position),
                    Order.SCORE: lambda _: self._own_scores(),
                },
            )
            batches.close()
        finally:
            self.forward_pass.close()

    def _steps(self) -> Generator[StepBatch, None, None]:
        batches = self.loader.steps(self.loop.start, self.loop.most, self.host.workers)
        try:
            with self._memory_explained():
                yield from batches
        finally:
            batches.close()

    def _train_step(self, batch: StepBatch, position: Optional[float] = None) -> Optional[StepResult]:
        """Forward, backward and update; None where a stop was asked for before the update.

        position: in the recipe's schedule, as the main process has announced it.
        """
        position = self.loop.position(batch.step) if position is None else position
        rate = learning_rate(self.optim, position, self.loop.most)
        self.stages.enter(position)
        total, stop = float(batch.utterances), self.start.stop
        with self._memory_explained():
            found = self.shared.carry_out(
                batch,
                lambda number: self._backward(batch.mine(number), total_weight=total, key=(batch.step, number)),
                lambda: stop.requested,
            )
            if found is None:
                stop.requested = True
                self.adam.zero_grad()
                return None
            norm, applied = self._update(batch.step, rate)
        return StepResult(
            batch.step + 1, found.loss, rate, batch.utterances, found.labels, found.audio_s, norm, applied
        )

    def _backward(self, micro: MicroBatch, *, total_weight: float, key: Tuple[int, int]) -> float:
        """Add a micro-batch's gradient; its share of the step's loss.

        The loss of a step is the mean over its utterances, however they are cut into micro-batches.
        """
        import torch

        # Dropout, layer drop and masks depend on (seed, step, micro-batch) alone: resuming needs no hidden state.
        seed = int(generator(self.optim.seed, _MICRO_STREAM, *key).integers(0, 2**32))
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)  # M-CTC-T draws by it which layers are dropped
        logits, frames = self.forward_pass.logits(micro)
        losses = ctc.ctc_losses(
            logits,
            frames,
            micro.labels.to(self.device),
            micro.label_lengths.to(self.device),
            blank=self.recognizer.blank,
            reduction=self.recipe.model.ctc_loss_reduction,
            zero_infinity=self.recipe.model.ctc_zero_infinity,
        )
        if self.recipe.model.ctc_loss_reduction == "mean":
            losses = losses * micro.weights.to(self.device)  # a sum counts joined utterances by itself
        loss = losses.sum() / total_weight
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
            if self.average is not None:
                self.average.update(step)
        self.scaler.update()
        self.adam.zero_grad()
        return norm, applied

    # -- what the loop asks for -------------------------------------------------------------------------------------

    def score(self) -> Dict[str, Any]:
        self.ranks.announce(Order.SCORE)
        return self._own_scores()

    def _own_scores(self) -> Dict[str, Any]:
        kind, batch_s = self.device.type, self.host.eval_batch_s
        with self._as_kept(), memory.explained(
            f"evaluation in batches of {batch_s:g} s does not fit into the memory of the {kind} device",
            fix=f"go on with less: {self._resumed('eval_batch_s', batch_s)}",
        ):
            return cast(Evaluator, self.evaluator).score(self.recognizer, self.emit)

    def _as_kept(self) -> ContextManager[None]:
        """Within the block the model has the weights that are evaluated and kept."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place()

    def guarded(self) -> Optional[Difference]:
        with self._as_kept():
            return None if self.guard is None else self.guard.look(self.recognizer, self.emit)

    def save_model(self) -> None:
        with self._as_kept():
            loading.save_recognizer_atomically(self.recognizer, self.job.folder / "model")

    def weights_are_finite(self) -> bool:
        return weights.all_finite(self.model.parameters())

    def snapshot(self) -> Snapshot:
        memory.give_back()  # between checkpoints the heap is kept, and may have got holes
        if self.device.type == "cpu":
            memory.keep_for_reuse()
        self.loop.state.scaler = float(self.scaler.get_scale()) if self.scaler.is_enabled() else None
        average = None if self.average is None else self.average.state()
        return Snapshot(loading.kept_state(self.recognizer), self.adam.state(), average=average)

    def _restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Raises BadData where the checkpoint is not this model's."""
        state = self.loop.state
        try:
            loading.put(self.recognizer, checkpoint.model())
            self.adam.load(checkpoint.optimizer(), state.step)
            if self.average is not None:
                self.average.load(checkpoint.average())
        except (KeyError, ValueError, RuntimeError) as error:
            raise BadData(
                f"{checkpoint.path} is not of this model ({reasons.reason(error)})",
                fix="resume from another checkpoint, or train again",
            ) from None
        if self.scaler.is_enabled() and state.scaler:
            self.scaler.load_state_dict(dict(self.scaler.state_dict(), scale=state.scaler))
