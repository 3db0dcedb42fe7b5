"""A small model of every class with a CTC head that the installed transformers has, by what its configuration has."""

from __future__ import annotations

from typing import Any, Dict

from asrctl.models import library

# Sizes under the names that configurations give them, on whichever level.
_SIZES: Dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [16] * 5,
    "conv_kernel": [16, 8, 4, 4, 4],
    "conv_stride": [8, 5, 4, 2, 1],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "conv_depthwise_kernel_size": 5,
    "conv_kernel_size": 5,
    "subsampling_conv_channels": 8,
    "num_mel_bins": 16,
    "feature_projection_input_dim": 32,
    "left_max_position_embeddings": 8,
    "right_max_position_embeddings": 4,
    "attention_head_dim": 16,
    "input_feat_per_channel": 16,
    "position_buckets": 8,
    "max_position_embeddings": 600,
    "num_buckets": 16,
    "max_bucket_distance": 32,
}
# What is not as its name says.
_OF_ITS_OWN: Dict[str, Dict[str, Any]] = {
    "mctct": {"conv_kernel": [7], "conv_stride": [3]},
    "data2vec-audio": {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 7},
    "parakeet_ctc": {"encoder_config": {"subsampling_factor": 4}},
    "granite_speech5_ctc": {"encoder_config": {"subsample_layers": [1], "context_size": 16}},
}


def kinds() -> "list[str]":
    """The model types of all of them."""
    return sorted(library.ctc_models())


def config_of(kind: str) -> Dict[str, Any]:
    """`model.config` of a small one."""
    from transformers import AutoConfig

    usual = AutoConfig.for_model(kind).to_dict()
    own = _OF_ITS_OWN.get(kind, {})
    found = {**_small(usual), **own}
    for key, value in usual.items():
        if isinstance(value, dict) and key.endswith("_config") and "hidden_size" in value:
            found[key] = {**_small(value), **own.get(key, {})}
    return found


def _small(usual: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in _SIZES.items() if usual.get(key) is not None}
