"""A downloaded config.json -> a transformers configuration: only keys that shape the model, within limits.

What else such a file may hold (code to load, kernels to fetch, a million labels) is left out.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, Mapping, Optional, Tuple

import numpy as np

from asrctl.config import model_config
from asrctl.config.model_config import MAX_PARAMETERS
from asrctl.data import audio, conv_lengths
from asrctl.errors import BadData
from asrctl.messages import reasons, suggestions
from asrctl.runtime import compat, memory

# Arguments of every configuration: about files, outputs and labels, and of no use to a CTC model.
_GENERAL = frozenset(
    (
        "self", "kwargs", "transformers_version", "architectures", "output_hidden_states", "return_dict", "dtype",
        "torch_dtype", "chunk_size_feed_forward", "is_encoder_decoder", "id2label", "label2id", "num_labels",
        "problem_type", "output_attentions", "attn_implementation", "quantization_config", "auto_map",
    )
)  # fmt: skip
# WavLM's masks ask for it, its configuration does not name it.
_UNNAMED = frozenset(("mask_feature_min_masks",))


@functools.lru_cache(maxsize=None)
def known_keys(model_type: str) -> FrozenSet[str]:
    """Keys that shape a model of this type."""
    from transformers import AutoConfig

    named = frozenset(inspect.signature(type(AutoConfig.for_model(model_type)).__init__).parameters)
    return (named | _UNNAMED) - _GENERAL


def make(model_type: str, values: Mapping[str, Any]) -> Any:
    """The configuration of a known type; keys that shape nothing are left out. Raises ValueError."""
    with compat.quiet_transformers():
        from transformers import AutoConfig

        plain = {key: value for key, value in values.items() if key in known_keys(model_type)}
        problem = model_config.misfit(plain)
        if problem:  # before anything is made of it
            raise ValueError(problem)
        plain = _of_right_kinds(model_type, plain)
        try:
            config = AutoConfig.for_model(model_type, **plain)
        except Exception as error:  # the checks of transformers' generations raise many kinds
            memory.raise_shortage(error)
            raise ValueError(reasons.reason(error, 300)) from None
    problem = model_config.misfit(config.to_dict())  # together with the defaults
    if problem:
        raise ValueError(problem)
    return config


_KINDS = {bool: (bool, "true or false"), int: ((int, float), "a number"), float: ((int, float), "a number")}


def _of_right_kinds(model_type: str, values: Mapping[str, Any]) -> Dict[str, Any]:
    """The values, each of the kind of its default. Raises ValueError for one of another, or none of those that are."""
    from transformers import AutoConfig
    from transformers.activations import ACT2FN

    usual = AutoConfig.for_model(model_type).to_dict()
    known = {"feat_extract_norm": ("group", "layer")}
    known.update((key, tuple(ACT2FN)) for key in ("hidden_act", "feat_extract_activation"))
    for key, value in values.items():
        kinds: Any
        kinds, called = _KINDS.get(type(usual.get(key)), (object, ""))
        if value is not None and (not isinstance(value, kinds) or (called == "a number" and isinstance(value, bool))):
            raise ValueError(f"{key} is {model_config.shown(value)}, not {called}")
        if key in known and value not in known[key]:
            meant = suggestions.question(str(value), known[key])
            raise ValueError(f"{key} is {model_config.shown(value)}, which there is not" + (meant and f"; {meant}"))
    # The newer generation takes no 0 for 0.0.
    return {
        key: float(value) if isinstance(value, int) and isinstance(usual.get(key), float) else value
        for key, value in values.items()
    }


@dataclass(frozen=True)
class Convolutions:
    """Kernel and stride of each convolution of an encoder, in samples or frames of the one before it."""

    kernels: Tuple[int, ...]
    strides: Tuple[int, ...]

    def frames(self, num_samples: np.ndarray) -> np.ndarray:
        """(utterances,) samples -> (utterances,) frames, int64; 0 for what is too short for one."""
        return conv_lengths.after_each(np.asarray(num_samples, dtype=np.int64), self.kernels, self.strides)[-1]


def convolutions(values: Mapping[str, Any]) -> Convolutions:
    """Those of config.json values, of the usual encoder where they are silent. Raises ValueError."""
    kernels = values.get("conv_kernel", audio.CONV_KERNELS)
    strides = values.get("conv_stride", audio.CONV_STRIDES)
    problem = model_config.misfit({**values, "conv_kernel": kernels, "conv_stride": strides})
    if problem:
        raise ValueError(problem)
    if len(kernels) != len(strides):
        raise ValueError("conv_kernel and conv_stride must be lists of whole numbers, equally long")
    return Convolutions(tuple(kernels), tuple(strides))


def refuse_giants(config: Any, where: str, *, fix: str, held: Optional[int] = None) -> None:
    """Raises BadData where a configuration asks for a larger model than the weights can fill, or than there is any.

    held: numbers in the weights that belong to it, where they are known.
    """
    most = MAX_PARAMETERS if held is None else min(MAX_PARAMETERS, 2 * held + 1_000_000)
    count = model_config.smallest_count(config.to_dict())
    if count > most:
        raise BadData(f"{where} asks for {count:,} parameters or more, and {_because(held)}", fix=fix)


def _because(held: Optional[int]) -> str:
    return "no model has as many" if held is None else f"its weights are {held:,}"


def numbers_in(weights: Mapping[str, Any]) -> int:
    return sum(tensor.numel() for tensor in weights.values())
