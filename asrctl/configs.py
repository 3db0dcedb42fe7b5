"""config.json of strangers -> a transformers configuration: only keys that shape the model, and sizes that make sense.

What else such a file may hold (code to load, kernels to fetch, a million labels) is left out.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any, FrozenSet, Mapping, Optional, Tuple

import numpy as np

from asrctl import audio, compat
from asrctl.errors import BadData

# Twice the largest model that is known (XLS-R, 2.2 billion).
MAX_PARAMETERS = 5_000_000_000
_MAX_WIDTH = 1 << 16
_MAX_LAYERS = 1000
_MAX_CONVOLUTIONS = 64
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
_WIDTHS = (
    "hidden_size", "intermediate_size", "num_attention_heads", "num_conv_pos_embeddings", "num_buckets",
    "conv_pos_kernel_size", "output_hidden_size", "num_conv_pos_embedding_groups", "adapter_kernel_size",
    "adapter_attn_dim", "max_bucket_distance",
)  # fmt: skip
_COUNTS = ("num_hidden_layers", "num_adapter_layers")
_LISTS = ("conv_dim", "conv_kernel", "conv_stride")


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
        try:
            config = AutoConfig.for_model(model_type, **plain)
        except Exception as error:  # the checks of transformers' generations raise many kinds
            raise ValueError(" ".join(str(error).split())[:300] or type(error).__name__) from None
    _check_sizes(config)
    return config


def _check_sizes(config: Any) -> None:
    """Raises ValueError where a size is not one of a model, before anything is made of it."""
    for names, most in ((_WIDTHS, _MAX_WIDTH), (_COUNTS, _MAX_LAYERS)):
        for name in names:
            value = getattr(config, name, None)
            if value is not None and not (isinstance(value, int) and 0 <= value <= most):
                raise ValueError(f"{name} is {value!r}, the most is {most}")
    for name in _LISTS:
        value = getattr(config, name, None)
        if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= _MAX_CONVOLUTIONS:
            raise ValueError(f"{name} is no list of 1 to {_MAX_CONVOLUTIONS} numbers")
        if not all(isinstance(item, int) and 1 <= item <= _MAX_WIDTH for item in value):
            raise ValueError(f"{name} holds what is no size")


@dataclass(frozen=True)
class Convolutions:
    """Kernel and stride of each convolution of an encoder, in samples or frames of the one before it."""

    kernels: Tuple[int, ...]
    strides: Tuple[int, ...]

    def frames(self, num_samples: np.ndarray) -> np.ndarray:
        """(utterances,) samples -> (utterances,) frames, int64; 0 for what is too short for one."""
        lengths = np.asarray(num_samples, dtype=np.int64)
        for kernel, stride in zip(self.kernels, self.strides):
            lengths = np.maximum((lengths - kernel) // stride + 1, 0)
        return lengths


def convolutions(values: Mapping[str, Any]) -> Convolutions:
    """Those of config.json values, of the usual encoder where they are silent. Raises ValueError."""
    kernels = values.get("conv_kernel", audio.CONV_KERNELS)
    strides = values.get("conv_stride", audio.CONV_STRIDES)
    plain = all(
        isinstance(row, (list, tuple)) and all(isinstance(item, int) and item > 0 for item in row)
        for row in (kernels, strides)
    )
    if not plain or len(kernels) != len(strides) or not len(kernels):
        raise ValueError("conv_kernel and conv_stride must be lists of whole numbers, equally long")
    return Convolutions(tuple(kernels), tuple(strides))


def smallest_count(config: Any) -> int:
    """A lower bound of the parameters of a model: its large matrices."""
    width, channels = config.hidden_size, [1, *config.conv_dim]
    convolutions = sum(a * b * kernel for a, b, kernel in zip(channels, channels[1:], config.conv_kernel))
    layer = 4 * width * width + 2 * width * config.intermediate_size
    position = getattr(config, "conv_pos_kernel_size", None) or config.num_conv_pos_embeddings
    groups = max(1, getattr(config, "num_conv_pos_embedding_groups", 1))
    total = convolutions + config.num_hidden_layers * layer + width * (width // groups) * position
    if getattr(config, "add_adapter", False):
        inner = getattr(config, "output_hidden_size", None) or width
        total += config.num_adapter_layers * 2 * inner * inner * config.adapter_kernel_size
    if getattr(config, "adapter_attn_dim", None):
        total += 2 * config.num_hidden_layers * width * config.adapter_attn_dim
    return total + width * config.vocab_size


def refuse_giants(config: Any, where: str, *, fix: str, held: Optional[int] = None) -> None:
    """Raises BadData where a configuration asks for a larger model than the weights can fill, or than there is any.

    held: numbers in the weights that belong to it, where they are known.
    """
    count, most = smallest_count(config), MAX_PARAMETERS if held is None else min(MAX_PARAMETERS, 2 * held + 1_000_000)
    if count > most:
        raise BadData(f"{where} asks for {count:,} parameters or more, and {_because(held)}", fix=fix)


def _because(held: Optional[int]) -> str:
    return "no model has as many" if held is None else f"its weights are {held:,}"


def numbers_in(weights: Mapping[str, Any]) -> int:
    return sum(tensor.numel() for tensor in weights.values())
