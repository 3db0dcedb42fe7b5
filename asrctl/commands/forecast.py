"""What a training will take: time, memory and disk, from what is known before it begins. The answer to --dry-run."""

from __future__ import annotations

import dataclasses
import itertools
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from asrctl.commands.train import plan
from asrctl.commands.train_request import TrainPlan, TrainRequest
from asrctl.config.recipe import Augment
from asrctl.data.augmentation.chain import Augmenter
from asrctl.data.collate import FeatureRules
from asrctl.data.sampler import samples_in
from asrctl.errors import AsrctlError
from asrctl.events import Emit
from asrctl.models import learning_weights, loading, padding
from asrctl.models.loading import Recognizer
from asrctl.models.packed import memory_estimate, select
from asrctl.storage.workspace import Workspace
from asrctl.training import feature_cache, forward, metrics_log, micro_batch_limits
from asrctl.training.dataloader import TrainingDataLoader
from asrctl.training.runs import Run

# fp32 weights; with them, of what is trained, gradients and Adam's two moments; what a checkpoint adds to weights.
_WEIGHT_BYTES, _TRAINED_BYTES, _MOMENT_BYTES = 4, 12, 8
# Transformers' own passes take more than packed ones, which are counted: on a CPU up to 1.2 times as much was seen.
_PLAIN_TAKES = 1.2
# How far back a run is looked for whose speed tells of this one's.
_RUNS = 20


@dataclass(frozen=True)
class Forecast:
    """Of a planned training. folder: the run's. What is not known is None.

    time_s: of all that is left to do; time_from: the run whose speed (speech_s_per_s) was taken. memory_bytes: of the
    process on a CPU, or of the device; at most, about or at least that much, as memory_is says. disk_bytes: the run's
    folder at its largest. cache_bytes: what a frozen encoder's output takes in the workspace's cache.
    """

    planned: TrainPlan
    folder: Path
    time_s: Optional[float]
    time_from: Optional[str]
    speech_s_per_s: Optional[float]
    limit_s: Optional[float]
    memory_bytes: Optional[int]
    memory_is: Optional[str]
    disk_bytes: Optional[int]
    cache_bytes: Optional[int]

    def as_dict(self) -> Dict[str, Any]:
        """The plan, and what was forecast."""
        own = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "planned"}
        return {**self.planned.as_dict(), **own, "folder": str(self.folder)}


def forecast(workspace: Workspace, request: TrainRequest, emit: Emit) -> Forecast:
    """Plan a training and say what it will take; nothing is written or fetched. Raises what `train` raises before it
    begins."""
    planned = plan(workspace, request, emit)
    folder = planned.job.folder
    model = _outline(planned, Run(folder))
    time_s, time_from, speed = _time(workspace, planned, Run(folder))
    memory_bytes, memory_is = _memory(planned, model)
    return Forecast(
        planned,
        folder,
        time_s,
        time_from,
        speed,
        None if request.max_minutes is None else 60 * request.max_minutes,
        memory_bytes,
        memory_is,
        disk_bytes=None if model is None else _disk_bytes(planned, model),
        cache_bytes=None if model is None else _cache_bytes(planned, model),
    )


def _outline(planned: TrainPlan, run: Run) -> Optional[Recognizer]:
    """The model, without weights; None where its checkpoint is not on this machine."""
    section = planned.recipe.model
    if planned.job.resume:
        return loading.examine_shell(run.shell, section) if run.shell.is_dir() else None
    if section.checkpoint is not None:
        return planned.outline
    return loading.examine_scratch(section, planned.data.vocabulary(), sample_rate=planned.job.train.sample_rate)


# -- time -------------------------------------------------------------------------------------------------------------


def _time(workspace: Workspace, planned: TrainPlan, run: Run) -> Tuple[Optional[float], Optional[str], Optional[float]]:
    """(seconds, name of the run they were taken from, its seconds of speech a second)."""
    done = run.info().steps if planned.job.resume else 0
    epoch_s = planned.job.batches.epoch_samples / planned.job.train.sample_rate
    speech_s = epoch_s * max(0, planned.job.total_steps - done) / planned.job.batches.steps_per_epoch
    for folder in itertools.islice(reversed(workspace.runs()), _RUNS):
        speed = _speed(Run(folder), planned)
        if speed is not None:
            return round(speech_s / speed, 1), folder.name, round(speed, 2)
    return None, None, None


def _speed(run: Run, planned: TrainPlan) -> Optional[float]:
    """Seconds of speech a second of a run like the planned one, evaluations and checkpoints among them."""
    try:
        if run.brief().precision != planned.job.precision:
            return None
        recipe = run.recipe()
    except (AsrctlError, OSError):  # a damaged run has nothing to tell
        return None
    alike = recipe.model == planned.recipe.model and recipe.batches == planned.recipe.batches
    return speech_s_per_s(run, planned.job.device.kind) if alike else None


def speech_s_per_s(run: Run, device: str) -> Optional[float]:
    """Seconds of speech that a run on a device of this kind took in a second; None where that is not known."""
    try:
        if run.brief().device != device:
            return None
        entries = metrics_log.read(run.folder, "train")
    except (AsrctlError, OSError):
        return None
    speed = entries[-1].get("audio_s_per_s") if entries else None
    return float(speed) if isinstance(speed, (int, float)) and not isinstance(speed, bool) and speed > 0 else None


# -- memory -----------------------------------------------------------------------------------------------------------


def _memory(planned: TrainPlan, found: Optional[Recognizer]) -> Tuple[Optional[int], Optional[str]]:
    """(bytes, "at most", "about" or "at least"). An IPU's memory is what `asrctl plan` tells."""
    if found is None or not planned.job.device.is_host:
        return None, None
    total, trained = _numbers(found)
    # Beside an average there are the weights that it takes the place of while it is evaluated.
    weights = _WEIGHT_BYTES * total + 2 * _average_bytes(planned, trained)
    if planned.job.device.kind != "cpu" or not hasattr(found.model.config, "conv_dim"):
        return weights + _TRAINED_BYTES * trained, "at least"
    engine, pads = _engine(planned, found)
    rows, samples = _largest(planned, pads)
    recomputed = planned.recipe.host(planned.job.device.kind).gradient_checkpointing
    step = memory_estimate.most_bytes(
        found.model, rows, samples, precision=planned.job.precision, pads=pads, recomputed=recomputed
    )
    if engine != select.PACKED:
        return int(_held_bytes() + weights + _PLAIN_TAKES * step), "about"
    return _held_bytes() + weights + step, "at most"


def _numbers(found: Recognizer) -> Tuple[int, int]:
    """(parameters, those that learn)."""
    parameters = list(found.model.parameters())
    return sum(item.numel() for item in parameters), sum(item.numel() for item in parameters if item.requires_grad)


def _average_bytes(planned: TrainPlan, trained: int) -> int:
    """Of a moving average of what learns, where one is kept."""
    return 0 if planned.recipe.optim.ema_decay is None else _WEIGHT_BYTES * trained


def _engine(planned: TrainPlan, found: Recognizer) -> Tuple[str, bool]:
    """Which arithmetic carries the run, and whether it pads."""
    engine = forward.engine_of(planned.recipe, planned.job.device, found)
    return engine, not (engine == select.PACKED and padding.is_frozen(found.model))


def _largest(planned: TrainPlan, pads: bool) -> Tuple[int, int]:
    """Rows and samples of the largest micro-batch."""
    recipe, train = planned.recipe, planned.job.train
    section, rate, kind = recipe.host(planned.job.device.kind), train.sample_rate, planned.job.device.kind
    pad_to = samples_in(recipe.audio.max_s, rate) if recipe.batches.shapes == "static" else None
    seconds = section.micro_batch_s or micro_batch_limits.default_micro_batch_s(kind)
    loader = TrainingDataLoader(
        split=train,
        plan=planned.job.batches,
        features=FeatureRules(rate),
        augmenter=Augmenter(recipe.batches.augment, rate, recipe.optim.seed),
        limits=micro_batch_limits.limits_of(section, kind, int(seconds * rate), pad_to, packs=not pads),
        delimiter=None,
        max_item_samples=samples_in(recipe.audio.max_s, rate),
        pads=pads,
    )
    return loader.largest_shape()


def _held_bytes() -> int:
    """What this process has taken at most until now: code and libraries are those of training."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# -- disk -------------------------------------------------------------------------------------------------------------


def _disk_bytes(planned: TrainPlan, found: Recognizer) -> int:
    """Of checkpoints and model, while one more of each is being written."""
    total, trained = _numbers(found)
    kept = trained if learning_weights.are_kept_alone(planned.recipe.model) else total
    weights, run = _WEIGHT_BYTES * kept, planned.recipe.run
    every = run.save_every or run.eval_every or planned.job.batches.steps_per_epoch
    made = -(-planned.job.total_steps // every)
    checkpoints = min(made, run.keep + 1 + int("eval" in planned.data.splits))
    beside = _MOMENT_BYTES * trained + _average_bytes(planned, trained)
    return checkpoints * (weights + beside) + 2 * weights


def _cache_bytes(planned: TrainPlan, found: Recognizer) -> int:
    if not planned.job.device.is_host:
        return 0
    section, (_, pads) = planned.recipe.host(planned.job.device.kind), _engine(planned, found)
    once = planned.job.batches.steps_per_epoch >= planned.job.total_steps
    if pads or once or not section.cache_features or planned.recipe.batches.augment != Augment():
        return 0
    size = feature_cache.size_bytes(found.model.config, planned.job.train.num_samples, planned.job.precision)
    return min(size, int(section.cache_gb * 1e9))
