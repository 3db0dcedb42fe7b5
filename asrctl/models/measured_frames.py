"""Frames for so many samples of a model that nothing is known of but its class: measured with a model without weights.

Whatever chain of windows, convolutions and pooling there is, frames are floor((samples - reach) / step) + 1: floors
within floors come down to one. Two numbers describe it, and a few more lengths show whether that is so.
"""

from __future__ import annotations

import functools
import json
from typing import Any, Callable, Mapping

import numpy as np

from asrctl.messages import reasons
from asrctl.models import hf_config, library
from asrctl.models.frames import Convolutions
from asrctl.runtime import compat, memory

_FAR_FRAMES = 24
_MOST_SAMPLES = 1 << 21
# Samples that may be too few for a window or a convolution.
_SHORT = 16000
_CHECKED_AT = (7919, 16000, 24989, 40009, 63997)


def measure(kind: str, extractor: str, values: Mapping[str, Any], settings: Mapping[str, Any]) -> Convolutions:
    """values: of config.json. settings: of the feature extractor. Raises ValueError where no such rule is found."""
    return _measured(kind, extractor, json.dumps(dict(values), default=str), json.dumps(dict(settings), default=str))


@functools.lru_cache(maxsize=16)
def _measured(kind: str, extractor: str, values: str, settings: str) -> Convolutions:
    try:
        count = _counter(kind, extractor, json.loads(values), json.loads(settings))
        first, far = _first_with(count, 1), _first_with(count, _FAR_FRAMES)
        step = _first_with(count, _FAR_FRAMES + 1) - far
        # The very first frame may need more than the rule says, as statistics are taken over it.
        rule = Convolutions((first, far - (_FAR_FRAMES - 1) * step - first + 1), (1, step))
        wrong = [samples for samples in _CHECKED_AT if count(samples) != rule.frames(np.array([samples]))[0]]
    except Exception as error:  # whatever the library says of a model that can not be run like this
        memory.raise_shortage(error)
        raise ValueError(f"the frames of a {kind} model can not be counted ({reasons.reason(error)})") from None
    if wrong:
        raise ValueError(f"the frames of a {kind} model follow no rule that asrctl knows")
    return rule


def _first_with(count: Callable[[int], int], frames: int) -> int:
    """The least number of samples that make so many frames. Raises ValueError."""
    low, high = 0, 512
    while count(high) < frames:
        low, high = high, 2 * high
        if high > _MOST_SAMPLES:
            raise ValueError(f"there are no {frames} frames in {_MOST_SAMPLES} samples")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) >= frames else (middle, high)
    return high


def _counter(kind: str, extractor: str, values: Mapping[str, Any], settings: Mapping[str, Any]) -> Callable[[int], int]:
    import torch

    config = hf_config.make(kind, hf_config.with_decided(kind, values, {"vocab_size": 8}))
    with compat.quiet_transformers():
        made_by = library.extractor_class(extractor)(**settings)
    noise = np.random.default_rng(0).standard_normal(_MOST_SAMPLES).astype(np.float32) * 0.1

    def count(samples: int, model: Any) -> int:
        try:
            inputs = made_by(noise[:samples], sampling_rate=made_by.sampling_rate, return_tensors="pt")
            given = {name: inputs[name].to(model.device) for name in inputs if name == model.main_input_name}
            return int(model(**given).logits.shape[1])
        except (RuntimeError, ValueError, IndexError):  # too short for a window, a convolution, a statistic
            if samples > _SHORT:
                raise
            return 0

    def quiet(samples: int, model: Any) -> int:
        with torch.no_grad(), compat.quiet_transformers():
            return count(samples, model)

    outline = _model(config, "meta")
    try:
        quiet(2 * _SHORT, outline)
    except (RuntimeError, ValueError):  # some make tensors of their own, on the CPU
        outline = _model(config, "cpu")
    return functools.partial(quiet, model=outline)


def _model(config: Any, device: str) -> Any:
    import torch

    compat.mend_torch()
    with torch.device(device), compat.quiet_transformers(), compat.undrawn():
        from transformers import AutoModelForCTC

        return AutoModelForCTC.from_config(config).eval()
