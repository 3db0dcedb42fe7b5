"""int16 speech -> model input: floats, normalized, padded. The same arithmetic in training and inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Protocol, Sequence, Tuple

import numpy as np

# transformers' Wav2Vec2FeatureExtractor: zero mean and unit variance of each utterance, variance + 1e-7.
VARIANCE_FLOOR = 1e-7
_INT16_SCALE = 1.0 / 32768.0


class FrontEnd(Protocol):
    """What makes a model's input of samples, where that is more than normalizing them."""

    @property
    def name(self) -> str:
        """The class of the feature extractor."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides its output."""

    def __call__(self, samples: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """samples (time,) float32 -> (rows, channels) float32, and a mask (rows,) int64."""

    @property
    def channels(self) -> int:
        """Numbers in a row."""


@dataclass(frozen=True)
class FeatureRules:
    """What a checkpoint's `preprocessor_config.json` says.

    normalize: zero mean and unit variance per utterance. use_mask: whether plain transformers pads with a mask (models
    with a layer-norm encoder) or without (group norm); asrctl itself always masks. front_end: what makes a model's
    input, where that is something else than samples; the other two then mean nothing.
    """

    sample_rate: int = 16000
    normalize: bool = True
    use_mask: bool = True
    front_end: Optional[FrontEnd] = None


def to_float(pcm: np.ndarray) -> np.ndarray:
    """pcm (time,) int16 -> (time,) float32 in [-1, 1)."""
    return pcm.astype(np.float32) * np.float32(_INT16_SCALE)


def normalize(samples: np.ndarray) -> np.ndarray:
    """samples (time,) float32 -> zero mean, unit variance."""
    return (samples - samples.mean()) / np.sqrt(samples.var() + VARIANCE_FLOOR)


def input_values(samples: np.ndarray, rules: FeatureRules) -> np.ndarray:
    """samples (time,) int16 or float32 -> (time,) float32, normalized where the rules say so."""
    samples = to_float(samples) if samples.dtype == np.int16 else samples
    return normalize(samples) if rules.normalize else samples


def collate(samples: Sequence[np.ndarray], rules: FeatureRules, *, pad_to: Optional[int] = None) -> Dict[str, Any]:
    """samples: (time,) int16 or float32 each -> "input_values" (batch, time) float32, "attention_mask" the same int64.

    Padded with zeros, after normalizing, to the longest or to `pad_to` samples. With a front end (which knows no
    `pad_to`): "input_values" (batch, rows, channels), "attention_mask" (batch, rows), "lengths" (batch,) rows of each.
    """
    import torch

    if rules.front_end is not None:
        return _collated(rules.front_end, [to_float(row) if row.dtype == np.int16 else row for row in samples])
    length = max(len(row) for row in samples) if pad_to is None else pad_to
    values = np.zeros((len(samples), length), dtype=np.float32)
    mask = np.zeros((len(samples), length), dtype=np.int64)
    for index, row in enumerate(samples):
        values[index, : len(row)] = input_values(row, rules)
        mask[index, : len(row)] = 1
    return {"input_values": torch.from_numpy(values), "attention_mask": torch.from_numpy(mask)}


def _collated(front_end: FrontEnd, samples: Sequence[np.ndarray]) -> Dict[str, Any]:
    import torch

    made = [front_end(row) for row in samples]
    lengths = [len(values) for values, _ in made]
    values = np.zeros((len(made), max(lengths), made[0][0].shape[1]), dtype=np.float32)
    mask = np.zeros(values.shape[:2], dtype=np.int64)
    for index, (row, row_mask) in enumerate(made):
        values[index, : len(row)] = row
        mask[index, : len(row)] = row_mask
    found = {"input_values": values, "attention_mask": mask, "lengths": np.array(lengths, dtype=np.int64)}
    return {name: torch.from_numpy(array) for name, array in found.items()}
