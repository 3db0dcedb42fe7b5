"""From a micro-batch to its logits: packed or padded, with or without a cache of the frozen encoder's output."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

from asrctl.config.recipe import Augment, Recipe
from asrctl.errors import StorageError
from asrctl.events import Emit, Note, Warned
from asrctl.messages import amounts
from asrctl.models import ctc, padding
from asrctl.models.loading import Recognizer
from asrctl.models.packed import feature_encoder, select, transformer
from asrctl.runtime.devices import autocast
from asrctl.training import feature_cache
from asrctl.training.dataloader import MicroBatch
from asrctl.training.feature_cache import FeatureCache
from asrctl.training.job import TrainingJob

_GB = 1e9


def engine_of(recipe: Recipe, device: Any, recognizer: Recognizer) -> str:
    """packed or plain: which arithmetic carries a run on a host device."""
    free, kind = recipe.batches.shapes == "free", device.torch_device.type
    return select.choose(recognizer.model, kind, recipe.host(device.kind).engine, shapes_free=free)


class ForwardPass:
    """The forward pass of one run.

    pads: whether micro-batches come padded; else each item alone, or as frames from the cache.
    """

    def __init__(self, job: TrainingJob, recognizer: Recognizer, emit: Emit) -> None:
        self._model, self._device = recognizer.model, job.device.torch_device
        self._precision, self._emit = job.precision, emit
        self._exact = job.recipe.batches.shapes == "free"
        self.engine = engine_of(job.recipe, job.device, recognizer)
        self._packs = self.engine == select.PACKED
        self.pads = not (self._packs and padding.is_frozen(self._model))
        self.cache: Optional[FeatureCache] = None if self.pads else _open_cache(job, recognizer, emit)
        emit(Note(f"engine: {self.engine}, {job.precision}"))

    def close(self) -> None:
        if self.cache is not None:
            self.cache.close()

    def logits(self, micro: MicroBatch) -> Tuple[Any, Any]:
        """Logits (items, frames, vocabulary) and the real frames of each item."""
        if micro.inputs is None:
            features = self._features(micro)
        else:
            inputs = {name: tensor.to(self._device, non_blocking=True) for name, tensor in micro.inputs.items()}
            with autocast(self._device, self._precision):
                if not self._packs:
                    return ctc.forward(self._model, exact=self._exact, **inputs)
                features, _ = ctc.encoded(self._model, **inputs)
        rows, frames = transformer.logits(self._model, features, precision=self._precision)
        return transformer.padded(rows, frames), frames

    def _features(self, micro: MicroBatch) -> List[Any]:
        """The encoder's output for each item: what the cache gave, and the rest made now and given to the cache."""
        import torch

        found = [item.features for item in micro.items]
        missing = [place for place, features in enumerate(found) if features is None]
        if missing:
            samples = [torch.from_numpy(micro.items[place].samples).to(self._device) for place in missing]
            for place, features in zip(
                missing, feature_encoder.features(self._model, samples, precision=self._precision)
            ):
                found[place] = features
                self._keep(micro.items[place].index, features)
        return [features.to(self._device, non_blocking=True) for features in found]

    def _keep(self, index: Optional[int], features: Any) -> None:
        cache = self.cache
        if cache is None or index is None or cache.full is not None:
            return
        cache.write(index, features)
        if cache.full is not None:
            self._emit(Warned(f"the cache of encoder features in {cache.folder} grows no more: {cache.full}"))


def _open_cache(job: TrainingJob, recognizer: Recognizer, emit: Emit) -> Optional[FeatureCache]:
    """The cache, where one helps: audio as it was prepared, more than one pass over it or features there already."""
    host = job.recipe.host(job.device.kind)
    if job.features is None or not host.cache_features or job.recipe.batches.augment != Augment():
        return None
    name = feature_cache.key(recognizer.model, recognizer.features, job.train, job.data, job.precision)
    folder = job.features / name
    if job.batches.steps_per_epoch >= job.total_steps and not folder.exists():
        return None
    config = recognizer.model.config
    size = feature_cache.size_bytes(config, job.train.num_samples, job.precision)
    try:
        limit = feature_cache.make_room(job.features, name, int(host.cache_gb * _GB), size)
        cache = FeatureCache(folder, config, job.train.num_samples, job.precision, limit)
    except (OSError, StorageError) as error:
        emit(Warned(f"encoder features are not kept: {folder} can not be used ({error})"))
        return None
    emit(Note(_told(cache, min(size, limit), feature_cache.free_bytes(job.features), job.device.kind)))
    return cache


def _told(cache: FeatureCache, bytes_used: int, free: int, section: str) -> str:
    there = f", {100 * cache.filled:.0f} % of the utterances there already" if cache.filled else ""
    return (
        f"the frozen encoder's output is kept in {cache.folder}: up to {amounts.size(bytes_used)} of disk, "
        f"{amounts.size(free)} free{there} (--set {section}.cache_features=false: not kept)"
    )
