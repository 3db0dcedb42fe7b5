"""The shape of a CTC model of the wav2vec 2.0 family: enough to place it and reckon its cost without building it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from asrctl.config import model_config
from asrctl.config.model_config import DEFAULTS
from asrctl.data import conv_lengths

_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_LARGE_LV60 = {**_LARGE, **_LAYER_NORM}
_HUGE = {"hidden_size": 1280, "num_hidden_layers": 48, "num_attention_heads": 16, "intermediate_size": 5120}

# Sizes of published checkpoints, as the papers of wav2vec 2.0, XLS-R and HuBERT and the hub's configurations give them.
KNOWN: Dict[str, Dict[str, Any]] = {
    "facebook/wav2vec2-base": {},
    "facebook/wav2vec2-base-100h": {},
    "facebook/wav2vec2-base-960h": {},
    "facebook/hubert-base-ls960": {},
    "facebook/wav2vec2-large": _LARGE,
    "facebook/wav2vec2-large-960h": _LARGE,
    "facebook/wav2vec2-large-lv60": _LARGE_LV60,
    "facebook/wav2vec2-large-960h-lv60": _LARGE_LV60,
    "facebook/wav2vec2-large-960h-lv60-self": _LARGE_LV60,
    "facebook/wav2vec2-large-robust": _LARGE_LV60,
    "facebook/wav2vec2-large-xlsr-53": _LARGE_LV60,
    "facebook/wav2vec2-xls-r-300m": _LARGE_LV60,
    "facebook/wav2vec2-xls-r-1b": {**_HUGE, **_LAYER_NORM},
    "facebook/wav2vec2-xls-r-2b": {**_HUGE, **_LAYER_NORM, "hidden_size": 1920, "intermediate_size": 7680},
    "facebook/hubert-large-ll60k": _LARGE_LV60,
    "facebook/hubert-large-ls960-ft": _LARGE_LV60,
    "facebook/hubert-xlarge-ll60k": {**_HUGE, **_LAYER_NORM},
    "facebook/hubert-xlarge-ls960-ft": {**_HUGE, **_LAYER_NORM},
}


@dataclass(frozen=True)
class Geometry:
    """Sizes of the convolutions (kernel, stride and channels of each), the transformer and the head.

    layer_norm: the layer-norm variant (every convolution normalized, the transformer's norms before the blocks).
    """

    conv_dim: Tuple[int, ...]
    conv_kernel: Tuple[int, ...]
    conv_stride: Tuple[int, ...]
    conv_bias: bool
    conv_layer_norm: bool
    stable_layer_norm: bool
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positional_kernel: int
    positional_groups: int
    labels: int

    def conv_frames(self, num_samples: Any) -> List[Any]:
        """Frames after each convolution; a number, or an array of (utterances,) samples."""
        return conv_lengths.after_each(np.asarray(num_samples, dtype=np.int64), self.conv_kernel, self.conv_stride)


@dataclass(frozen=True)
class Origin:
    """Where a geometry was read. assumed: nothing said so, it was guessed from the checkpoint's name."""

    text: str
    assumed: bool = False


def from_config(values: Mapping[str, Any], labels: int) -> Geometry:
    """The geometry of config.json values. Raises ValueError where they do not fit together."""
    get = {**DEFAULTS, **{key: value for key, value in values.items() if key in DEFAULTS}}
    problem = model_config.misfit({**values, **get})
    if problem:
        raise ValueError(problem)
    geometry = Geometry(
        conv_dim=tuple(get["conv_dim"]),
        conv_kernel=tuple(get["conv_kernel"]),
        conv_stride=tuple(get["conv_stride"]),
        conv_bias=bool(get["conv_bias"]),
        conv_layer_norm=get["feat_extract_norm"] == "layer",
        stable_layer_norm=bool(get["do_stable_layer_norm"]),
        hidden=get["hidden_size"],
        layers=get["num_hidden_layers"],
        heads=get["num_attention_heads"],
        intermediate=get["intermediate_size"],
        positional_kernel=get["num_conv_pos_embeddings"],
        positional_groups=get["num_conv_pos_embedding_groups"],
        labels=labels,
    )
    if len({len(geometry.conv_dim), len(geometry.conv_kernel), len(geometry.conv_stride)}) != 1:
        raise ValueError("conv_dim, conv_kernel and conv_stride must have one number for each convolution")
    sizes = (geometry.hidden, geometry.heads, geometry.layers, geometry.intermediate)
    if min(*sizes, geometry.positional_kernel, geometry.positional_groups) < 1:
        raise ValueError("every size of the model's configuration must be at least 1")
    return geometry


def known(checkpoint: str) -> Tuple[Dict[str, Any], Origin]:
    """Sizes of a hub checkpoint by its name, and whether they are known or assumed."""
    if checkpoint in KNOWN:
        return dict(KNOWN[checkpoint]), Origin("known checkpoint")
    size = _by_name(checkpoint.lower())
    name = "base" if size is None else size
    return dict(_LARGE_LV60 if name == "large" else {}), Origin(f"assumed: {name}, by its name", assumed=True)


def _by_name(name: str) -> Optional[str]:
    found = re.search(r"large|base|300m|xlsr", name)
    return None if found is None else {"base": "base"}.get(found.group(), "large")
