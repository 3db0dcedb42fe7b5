"""Training on ipu and ipu-emulated: optimum-graphcore's program, with the host's experiment and outer files."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional, cast

import numpy as np

from asrctl.config.recipe import Recipe
from asrctl.data.augmentation.chain import Augmenter
from asrctl.data.dataset import PreparedSplit
from asrctl.data.sampler import samples_in
from asrctl.errors import BadData, DeviceError
from asrctl.events import Emit, Note, ignore
from asrctl.ipu import config, hardware
from asrctl.messages import amounts, reasons
from asrctl.models import loading, weights
from asrctl.runtime import compat
from asrctl.storage import files
from asrctl.training import checkpoints
from asrctl.training.evaluator import Evaluator
from asrctl.training.job import Outcome, StartPoint, TrainingJob
from asrctl.training.loop import TrainingLoop
from asrctl.training.trainer_interface import Snapshot, StepResult, Trainer
from asrctl.training.trainer_state import BackendState


def preflight(recipe: Recipe, kind: str, *, started: Optional[Path] = None, hardware_needed: bool = True) -> None:
    """Everything that can be refused before any work. Raises PresetError, DeviceError, MissingDependency.

    started: the folder with the config.json of a run to resume; else the recipe's checkpoint says what the model is.
    """
    section = config.section(recipe)
    folder = started
    if folder is None and recipe.model.checkpoint is not None:
        folder = weights.find_checkpoint(recipe.model.checkpoint, recipe.model.revision)
    config.refuse(recipe, config.model_facts(recipe, {} if folder is None else weights.read_config(folder)))
    if section.auto_loss_scaling and kind == "ipu-emulated":
        raise DeviceError(
            "automatic loss scaling follows statistics inside the device, and is not emulated",
            fix="set ipu.auto_loss_scaling=false and ipu.loss_scaling to a number",
        )
    hardware.require(kind, hardware=hardware_needed)


def train(job: TrainingJob, start: StartPoint, emit: Emit = ignore) -> Outcome:
    """Run a job to its end, its limits or a request to stop.

    Raises PresetError, DeviceError, Diverged (see asrctl.training.loop), and BadData where the checkpoint to resume
    is not the IPU's.
    """
    hardware.require(job.device.kind)
    config.refuse(job.recipe, config.model_facts(job.recipe, start.recognizer.model.config.to_dict()))
    config.refuse_small("train", len(job.train), job.recipe)
    staging = job.folder / ".backend"
    files.remove_tree(staging)
    try:
        with compat.quiet_transformers():
            return IpuRun(job, start, emit, staging).run()
    except hardware.errors() as error:
        raise DeviceError(
            f"the {job.device.kind} device refused: {reasons.first_line(error, 300)}",
            fix="see docs/ipu.md for what fits, or train with `--device cpu`",
        ) from error
    except RuntimeError as error:
        # torch watches the processes that load data, and raises wherever the program is when one of them dies.
        if "DataLoader worker" not in str(error):
            raise
        raise _loader_killed(job) from None
    finally:
        files.remove_tree(staging)


def _loader_killed(job: TrainingJob) -> DeviceError:
    return DeviceError(
        "a process that loads training data was killed, most likely for lack of memory",
        fix=f"go on without further processes: `asrctl train --resume --run {job.folder.name}"
        f" --device {job.device.kind} --set ipu.dataloader_workers=0`",
    )


def compile_only(job: TrainingJob, start: StartPoint, emit: Emit = ignore) -> List[Path]:
    """Compile the training and the evaluation executable offline, into job.cache; the files that are new there.

    Raises what `train` raises; no IPU is needed.
    """
    hardware.require(job.device.kind, hardware=False)
    config.refuse(job.recipe, config.model_facts(job.recipe, start.recognizer.model.config.to_dict()))
    config.refuse_small("train", len(job.train), job.recipe)
    cache = _cache(job)
    before = set(cache.glob("*")) if cache.is_dir() else set()
    staging = job.folder / ".backend"
    try:
        with compat.quiet_transformers():
            run = IpuRun(job, start, emit, staging, compile_only=True)
            run.close()
    except SystemExit as leaving:  # how IPUTrainer ends after compiling
        if leaving.code:
            raise DeviceError("the compilation failed", fix="see the messages above") from None
    except hardware.errors() as error:
        raise DeviceError(
            f"the compilation failed: {reasons.first_line(error, 300)}", fix="see docs/ipu.md for what fits"
        ) from error
    finally:
        files.remove_tree(staging)
    return sorted(set(cache.glob("*")) - before)


def say_emulated(kind: str, precision: str, emit: Emit) -> None:
    """Name emulation as such, where it is one."""
    if kind == "ipu-emulated":
        emit(Note("the IPU is emulated: optimum-graphcore's program runs over plain torch on this CPU"))
        if precision == "fp16":
            emit(Note("fp16 is slow on a CPU; --set ipu.precision=fp32 is about 8 times faster here"))


def _cache(job: TrainingJob) -> Path:
    return (job.cache or job.folder / "cache").resolve()


class IpuRun(Trainer):
    """One run: what happens between the calls of the device."""

    bad_steps_spoil = True
    bad_steps_advice = "lower optim.learning_rate or ipu.loss_scaling, lengthen the warm-up, or set ipu.precision=fp32"

    def __init__(
        self, job: TrainingJob, start: StartPoint, emit: Emit, staging: Path, *, compile_only: bool = False
    ) -> None:
        from asrctl.ipu import data, trainer

        self.job, self.start, self.emit, self.recipe = job, start, emit, job.recipe
        self.section = config.section(job.recipe)
        self.iterations = self.section.device_iterations
        self.pad_to = samples_in(job.recipe.audio.max_s, job.train.sample_rate)
        self.total = config.whole_calls(job.recipe, job.total_steps)
        self.loop = TrainingLoop(job, start, self, emit, total=self.total, per_call=self.iterations)
        self._announce()
        order = data.TrainingOrder(
            job.train,
            start.recognizer.features,
            max_labels=job.recipe.batches.max_labels,
            plan=job.batches,
            total_steps=self.total,
            pad_to=self.pad_to,
            half=self.section.precision == "fp16",
            augmenter=Augmenter(
                job.recipe.batches.augment, job.train.sample_rate, job.recipe.optim.seed, job.recordings
            ),
        )
        self.trainer = trainer.CtcTrainer(
            start.recognizer.model,
            job.recipe,
            order,
            rate=self.loop.rate,
            output=staging,
            cache=_cache(job),
            compile_only=compile_only,
            eval_dataset=self._evaluated() if compile_only and job.eval is not None else None,
        )
        self.trainer.after_call = self._after_call
        self.order = order
        if job.device.kind == "ipu-emulated":
            self.trainer.stop_within_calls(start.stop)

    def _announce(self) -> None:
        ipu = self.section
        say_emulated(self.job.device.kind, ipu.precision, self.emit)
        self.emit(
            Note(
                f"{ipu.replication} x {ipu.ipus_per_replica} IPUs: a step is {self.recipe.optim.global_batch}"
                f" utterances = {ipu.micro_batch} x {config.gradient_accumulation(self.recipe)} accumulated"
                f" x {amounts.count(ipu.replication, 'replica')}, padded to {self.recipe.audio.max_s:g} s and"
                f" {amounts.count(self.recipe.batches.max_labels, 'label')}"
            )
        )
        if ipu.output_mode == "final":
            self.emit(Note("losses are those of a step's last micro-batch (ipu.output_mode: final)"))
        if ipu.hosts > 1:
            words = [shlex.quote(word) for word in self.job.command[1:]] or ["train", f"--preset {self.recipe.name}"]
            if not any(word.startswith("--device") for word in words):
                words.append("--device ipu")
            self.emit(
                Note(
                    f"a pod of {amounts.count(ipu.hosts, 'host')} is started with: "
                    f"{config.poprun_line(self.recipe, words)}"
                )
            )

    # -- the run ----------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        from asrctl.ipu.trainer import Stopped

        self.loop.open()
        try:
            if self.start.checkpoint is None:
                self.trainer.train()
            else:
                self._resume(self.start.checkpoint)
        except Stopped:
            self.loop.finish("interrupted")
        except (OSError, EOFError):
            # A batch that was on its way from a process that died may be missed before torch notices.
            if not self.trainer.has_lost_a_loader():
                raise
            raise _loader_killed(self.job) from None
        finally:
            self.close()
        return self.loop.outcome()

    def _resume(self, checkpoint: checkpoints.Checkpoint) -> None:
        backend = checkpoint.backend
        if backend is None or backend.device != self.job.device.kind:
            made_on = "the host" if backend is None else backend.device
            raise BadData(
                f"the checkpoint was made on {made_on}, and its optimizer state is not for {self.job.device.kind}",
                fix="resume on the same kind of device, or start a new run with --from-run",
            )
        self.trainer.resume(
            checkpoint.path / "backend",
            calls=self.loop.start // self.iterations,
            rng_state=list(backend.rng_state),
        )

    def close(self) -> None:
        """Close the metrics log and release the device."""
        self.loop.close()
        self.trainer.end_loaders()
        for model in (self.trainer.training_model, self.trainer.inference_model):
            if model is not None and model.isCompiled() and model.isAttachedToDevice():
                model.detachFromDevice()

    def _after_call(self, calls: int, loss: float) -> bool:
        """False where training is to stop."""
        before, step = self.loop.state.step, calls * self.iterations
        rows, train = np.concatenate([self.order.batch(number) for number in range(before, step)]), self.job.train
        audio_s = float(train.num_samples[rows].sum(dtype="int64")) / train.sample_rate
        labels = int(train.num_labels[rows].sum(dtype="int64"))
        rate = self.loop.rate(before)
        return self.loop.after_step(StepResult(step, loss, rate, len(rows), labels, audio_s))

    # -- what the loop asks for -------------------------------------------------------------------------------------

    @property
    def _eval(self) -> PreparedSplit:
        return cast(PreparedSplit, self.job.eval)  # nobody asks for a score where there is none

    def _evaluator(self) -> Evaluator:
        """The host's choice of utterances."""
        run = self.recipe.run
        return Evaluator(self._eval, None, "fp32", 0.0, self.pad_to, run.eval_max_utterances, self.recipe.optim.seed)

    def _evaluated(self) -> Any:
        from asrctl.ipu import inference

        return inference.evaluated(self.recipe, self.start.recognizer, self._eval, self._evaluator().indices())

    def score(self) -> Dict[str, Any]:
        from asrctl.ipu import inference

        found = inference.hypotheses(self.trainer, self.start.recognizer, self._evaluated(), self.emit)
        return self._evaluator().rates(found)

    def save_model(self) -> None:
        recognizer, found = self.start.recognizer, self.trainer.host_weights()
        names = compat.model_names(recognizer.model)
        recognizer.model.load_state_dict({names[name]: tensor for name, tensor in found.items()})
        loading.save_recognizer_atomically(recognizer, self.job.folder / "model")

    def weights_are_finite(self) -> bool:
        return weights.all_finite(self.trainer.host_weights().values())

    def snapshot(self) -> Snapshot:
        own = self.trainer.save_own()
        return Snapshot(
            model=self.trainer.host_weights(),
            optimizer=self.trainer.optimizer_tensors(),
            backend=BackendState(self.job.device.kind, tuple(self.trainer.rng_state())),
            extra=lambda building: shutil.move(str(own), str(building / "backend")),
        )
