"""How many frames a model makes of so many samples, for every kind of model in one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np

from asrctl.data import conv_lengths


@dataclass(frozen=True)
class Convolutions:
    """Kernel and stride of each step from samples to frames, in samples or frames of the one before it.

    A kernel is less what is padded there, hence 0 or negative where the first frame needs nothing more.
    """

    kernels: Tuple[int, ...]
    strides: Tuple[int, ...]

    def frames(self, num_samples: np.ndarray) -> np.ndarray:
        """(utterances,) samples -> (utterances,) frames, int64; 0 for what is too short for one."""
        samples = np.asarray(num_samples, dtype=np.int64)
        return conv_lengths.after_each(samples, self.kernels, self.strides)[-1] if self.kernels else samples
