"""From samples to a model's input by the model's own feature extractor (log-mel features ...), an utterance at a time.

An utterance is never padded before its features are made, so they are those that the library makes of it alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from asrctl.errors import BadData
from asrctl.messages import reasons
from asrctl.models import library
from asrctl.models.architectures import Architecture
from asrctl.models.frames import Convolutions
from asrctl.runtime import compat, memory

# Of any setting that counts samples, bins or frames.
_MOST = 1 << 16
_INPUTS, _MASKS = ("input_features", "input_values"), ("attention_mask", "padding_mask")


@dataclass(frozen=True)
class FrontEnd:
    """A feature extractor of transformers. settings: what decides its output. frames: of the model, for samples."""

    name: str
    settings: Mapping[str, Any]
    frames: Convolutions
    masks_end: bool
    extractor: Any = field(compare=False, repr=False)

    def __call__(self, samples: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """samples (time,) float32 -> (rows, channels) float32 and the extractor's mask (rows,) int64.

        No rows for what is too short for a frame of the model.
        """
        if not int(self.frames.frames(np.array([len(samples)]))[0]):
            return np.zeros((0, self.channels), dtype=np.float32), np.zeros(0, dtype=np.int64)
        values, mask = self._made(samples)
        if self.masks_end:
            values, mask = values[: int(mask.sum())], mask[: int(mask.sum())]
        return values, mask

    @property
    def channels(self) -> int:
        """Numbers in a row."""
        probe = np.zeros(self.extractor.sampling_rate // 2, dtype=np.float32)
        probe[0] = 0.5
        return self._made(probe)[0].shape[1]

    def _made(self, samples: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        options = {"sampling_rate": self.extractor.sampling_rate, "return_tensors": "pt"}
        made = self.extractor(samples, return_attention_mask=True, **options)
        values = next(made[name] for name in _INPUTS if name in made)[0].numpy()
        if "input_values" in made:  # (1, time): a channel of samples
            values = values.reshape(-1, 1)
        mask = next((made[name][0].numpy().astype(np.int64) for name in _MASKS if name in made), None)
        return values.astype(np.float32), np.ones(len(values), dtype=np.int64) if mask is None else mask


def make(
    found: Architecture, config: Mapping[str, Any], settings: Mapping[str, Any], where: str, *, fix: str
) -> FrontEnd:
    """The front end of a model. config: its configuration. settings: of the extractor; what is silent is usual.

    Raises BadData where they fit neither each other nor the extractor. where: what they are read from.
    """
    known = _checked(found.extractor, {**found.settings_of(config), **settings}, where, fix)
    try:
        with compat.quiet_transformers():
            extractor = library.extractor_class(found.extractor)(**known)
        made = FrontEnd(found.extractor, known, found.convolutions(config, known), found.masks_end, extractor)
        channels = made.channels
    except Exception as error:  # what the libraries say of settings that do not go together is of many kinds
        memory.raise_shortage(error)
        raise BadData(f"{where} makes no {found.extractor} ({reasons.reason(error)})", fix=fix) from None
    wanted = _channels(found, config)
    if wanted is not None and wanted != channels:
        raise BadData(
            f"{where} makes {channels} features for a frame, and the model's configuration asks for {wanted}", fix=fix
        )
    return made


def _channels(found: Architecture, config: Mapping[str, Any]) -> Optional[int]:
    """Numbers that the model wants in a row of its input; None where its configuration does not say."""
    values = found.encoder_values(config)
    if "feature_projection_input_dim" in values:
        return int(values["feature_projection_input_dim"])
    if found.extractor in ("ParakeetFeatureExtractor", "LasrFeatureExtractor"):
        return int(values["num_mel_bins"]) if "num_mel_bins" in values else None
    return int(values["input_feat_per_channel"]) if "input_feat_per_channel" in values else None


def _checked(name: str, settings: Mapping[str, Any], where: str, fix: str) -> Dict[str, Any]:
    """The settings that the extractor knows, none of them out of all bounds. Raises BadData."""
    known = {key: value for key, value in settings.items() if key in library.extractor_keys(name)}
    for key, value in known.items():
        plain = (
            value is None or isinstance(value, (bool, str)) or (isinstance(value, (int, float)) and abs(value) <= _MOST)
        )
        if not plain:
            raise BadData(f"{where} has a {key} that no {name} can have", fix=fix)
    return known
