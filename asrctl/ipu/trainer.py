"""optimum-graphcore's IPUTrainer with asrctl's data order, schedule, checkpoints and evaluation.

Imported only when poptorch (real or emulated) can be: asrctl.ipu.hardware.require comes first. The library stays as it
is; what is overridden here are the places where its own program would read, save, log or evaluate.
"""

from __future__ import annotations

import functools
import logging
from multiprocessing import connection
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, cast

import torch
from optimum.graphcore import IPUConfig, IPUTrainer, IPUTrainingArguments
from torch.optim.lr_scheduler import LambdaLR
from transformers.trainer_callback import PrinterCallback

from asrctl.config.recipe import Recipe
from asrctl.errors import BadData
from asrctl.ipu.config import gradient_accumulation, ipu_config_kwargs, section, training_arguments_kwargs
from asrctl.ipu.data import Evaluated, FromStep, TrainingOrder, stack
from asrctl.messages import reasons
from asrctl.runtime import compat, memory
from asrctl.runtime.signals import StopRequest

_FIX_STATE = "resume from another checkpoint, or train again"


class Stopped(Exception):
    """A stop was asked for within a step; nothing of that step has reached the weights."""


class CtcTrainer(IPUTrainer):
    """One run. `after_call(calls, loss)` is called after each call of the device; it returns True to go on.

    recipe: checked by asrctl.ipu.config.refuse. order: the whole run's utterances; None where nothing is trained.
    rate: the learning rate of a step (0-based).
    output: an empty folder for what the library writes itself.
    """

    optimizer: Any
    lr_scheduler: Any

    def __init__(
        self,
        model: Any,
        recipe: Recipe,
        order: Optional[TrainingOrder],
        *,
        rate: Callable[[int], float] = lambda step: 0.0,
        output: Path,
        cache: Path,
        compile_only: bool = False,
        eval_dataset: Optional[Evaluated] = None,
    ) -> None:
        self.recipe, self.order, self._rate = recipe, order, rate
        self.iterations = section(recipe).device_iterations
        self.after_call: Callable[[int, float], bool] = lambda calls, loss: True
        self.resumed_rng: Optional[List[int]] = None
        self._calls_done = self._handled = 0
        calls = 1 if order is None else order.total_steps // self.iterations
        arguments = training_arguments_kwargs(recipe, output=output, calls=calls)
        if compile_only:
            arguments.update(compile_only=True, do_train=True, do_eval=eval_dataset is not None)
        logging.getLogger("optimum").setLevel(logging.ERROR)
        super().__init__(
            model=model,
            ipu_config=IPUConfig(**ipu_config_kwargs(recipe, cache=cache)),
            args=IPUTrainingArguments(**arguments),
            train_dataset=order,
            eval_dataset=eval_dataset,
            data_collator=stack,
        )
        # It prints to stdout, which belongs to the result.
        self.remove_callback(PrinterCallback)
        self.lr_scheduler = functools.partial(LambdaLR, lr_lambda=self._share_of_peak())

    # -- loaders ----------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        self._train_loader = super().get_train_dataloader()
        return self._train_loader

    def end_loaders(self) -> None:
        """End the processes that load training batches; they hold what was open when they were forked, locks too."""
        _end(getattr(self, "_train_loader", None))

    def has_lost_a_loader(self) -> bool:
        """Whether a process that loads training batches has died; one that is dying gets a second for it."""
        workers = getattr(getattr(getattr(self, "_train_loader", None), "_iterator", None), "_workers", ())
        try:
            return bool(workers and connection.wait([worker.sentinel for worker in workers], timeout=1))
        except RuntimeError:  # torch has noticed it meanwhile
            return True

    # -- order and schedule: the host's -----------------------------------------------------------------------------

    def _get_train_sampler(self) -> FromStep:
        order = cast(TrainingOrder, self.order)  # asked for in training only
        per_call = order.plan.global_batch * self.iterations
        return FromStep(self._calls_done * per_call, len(order))

    def _share_of_peak(self) -> Callable[[int], float]:
        peak = self.recipe.optim.learning_rate
        return lambda call: self._rate(call * self.iterations) / peak

    def create_optimizer(self) -> Any:
        optimizer = super().create_optimizer()
        if self.recipe.optim.optimizer == "adamw":
            optimizer.bias_correction = self.recipe.optim.adam_bias_correction
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        # The library hands the optimizer over before the schedule exists, so that its first step has the full rate.
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        self.optimizer._step_count = 1  # the device steps, which torch's schedulers do not see
        self._hand_rate_over(self._calls_done)
        return scheduler

    def _hand_rate_over(self, calls: int) -> None:
        rate = self._rate(calls * self.iterations)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.training_model.setOptimizer(self.optimizer)

    # -- one call ---------------------------------------------------------------------------------------------------

    def training_step(self, model: Any, inputs: Dict[str, torch.Tensor]) -> torch.Tensor:
        self._in_call, self._seen = True, 0
        try:
            loss = super().training_step(model, inputs)
        finally:
            self._in_call = False
        if section(self.recipe).output_mode == "sum":
            loss = loss / (gradient_accumulation(self.recipe) * self.iterations)
        self._loss = float(loss)
        return loss

    def stop_within_calls(self, stop: StopRequest) -> None:
        """Under emulation a call is Python and can be left before its first update; a device's can not."""
        updates_at = gradient_accumulation(self.recipe) * section(self.recipe).replication
        self._in_call, self._seen = False, 0

        def look(module: Any, inputs: Any) -> None:
            if self._in_call:
                if stop.requested and self._seen < updates_at:
                    raise Stopped
                self._seen += 1

        self.model.register_forward_pre_hook(look)

    def _maybe_log_save_evaluate(self, tr_loss: Any, model: Any, epoch: Any, ignore_keys_for_eval: Any) -> None:
        if self.state.global_step == self._handled:
            return  # called once more at the end
        self._handled = self.state.global_step
        if not self.after_call(self._handled, self._loss):
            self.control.should_training_stop = True

    # -- evaluation -------------------------------------------------------------------------------------------------

    def logits(self, data: Evaluated) -> Any:
        """Yields (attention_mask, logits (batch, frames, vocabulary) float32) for batches of `data`, in its order."""
        training = self.training_model is not None and self.training_model.isAttachedToDevice()
        if training:
            self._detach_training_model()
        loader = self.get_eval_dataloader(data)
        model = self._wrap_and_compile_model_for_evaluation(loader, False)
        try:
            for batch in loader:
                outputs = model(**batch)
                yield batch["attention_mask"], outputs["logits"].float()
        finally:
            _end(loader)
            self._detach_inference_model()
            if training:
                self._reattach_training_model()

    # -- checkpoints ------------------------------------------------------------------------------------------------

    def save_own(self) -> Path:
        """What IPUTrainer itself saves, in a folder under `output`."""
        self._save_checkpoint(self.training_model)
        return Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"

    def host_weights(self) -> Dict[str, torch.Tensor]:
        """The weights under the names on disk, fp32, fetched from the device."""
        if self.training_model is not None and self.training_model.isAttachedToDevice():
            self.training_model.copyWeightsToHost()
        state = compat.canonical_state(self.model)
        return {name: tensor.detach().float().clone() for name, tensor in state.items()}

    def optimizer_tensors(self) -> Dict[str, torch.Tensor]:
        """The device's optimizer state: moments as "exp_avg/NAME" and "exp_avg_sq/NAME", anything else by its name."""
        kinds = {"Accl1": "exp_avg", "Accl2": "exp_avg_sq"}
        found = {}
        for key, value in (self.optimizer.state_dict().get("ipu_state") or {}).items():
            kind, _, name = key.partition("___")
            if isinstance(value, torch.Tensor):
                found[f"{kinds.get(kind, kind)}/{compat.canonical_name(name)}"] = value.clone()
        return found

    def rng_state(self) -> List[int]:
        return [int(value) for value in self.training_model.rng_state]

    def resume(self, folder: Path, *, calls: int, rng_state: List[int]) -> None:
        """Train on from what `save_own` wrote, after `calls` calls. Raises BadData."""
        self._calls_done = self._handled = calls
        self.resumed_rng = rng_state
        self.train(resume_from_checkpoint=str(folder))

    def compile_model(self, model: Any, sample_batch: Any, log: bool = False) -> None:
        super().compile_model(model, sample_batch, log)
        if model is self.training_model and self.resumed_rng is not None:
            model.rng_state, self.resumed_rng = self.resumed_rng, None

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        state = load_allowed(Path(resume_from_checkpoint) / "pytorch_model.bin")
        try:
            self.model.load_state_dict(state)
        except (RuntimeError, TypeError, AttributeError):
            raise BadData(f"the weights in {resume_from_checkpoint} are not this model's", fix=_FIX_STATE) from None

    def _load_optimizer_and_scheduler(self, checkpoint: Optional[str]) -> None:
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        self.optimizer.load_state_dict(load_allowed(folder / "optimizer.pt"))
        self.lr_scheduler.load_state_dict(load_allowed(folder / "scheduler.pt"))
        # The total may have changed since, and with it the rate of the next step.
        self._hand_rate_over(self._calls_done)

    def _load_rng_state(self, checkpoint: Any) -> None:
        """Nothing: the data order and the device's random numbers are asrctl's, and this file is a plain pickle."""


def _end(loader: Any) -> None:
    """End a loader's worker processes; without this they live until the loader is collected."""
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None and hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()
    if loader is not None and hasattr(loader, "terminate"):
        loader.terminate()


def load_allowed(path: Path) -> Any:
    """A torch file with tensors and plain values in it. Raises BadData for anything else; nothing in it is ever run."""
    try:
        return compat.torch_load(path)
    except FileNotFoundError:
        raise BadData(f"{path} is missing", fix=_FIX_STATE) from None
    except Exception as error:  # zip, pickle and torch each raise their own kinds
        memory.raise_shortage(error)
        raise BadData(f"{path} is not loaded: {reasons.reason(error)}", fix=_FIX_STATE) from None
