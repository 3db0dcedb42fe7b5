"""Which keys `model.config` and a downloaded config.json may set, and the limits of their values.

Pure: nothing of transformers is needed, so that a preset is checked at once, and before memory is taken.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional, Tuple

# Twice the largest model that is known (XLS-R, 2.2 billion).
MAX_PARAMETERS = 5_000_000_000
MAX_WIDTH = 1 << 16
MAX_LAYERS = 1000
MAX_CONVOLUTIONS = 64
_WIDTHS = (
    "hidden_size", "intermediate_size", "num_attention_heads", "num_conv_pos_embeddings", "num_buckets",
    "conv_pos_kernel_size", "output_hidden_size", "num_conv_pos_embedding_groups", "adapter_kernel_size",
    "adapter_attn_dim", "max_bucket_distance", "num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel",
    "subsampling_conv_channels", "subsampling_conv_kernel_size", "subsampling_conv_stride", "subsampling_factor",
    "conv_kernel_size", "conv_depthwise_kernel_size", "max_position_embeddings", "max_source_positions",
    "left_max_position_embeddings", "right_max_position_embeddings", "attention_head_dim", "squeeze_factor",
    "num_key_value_heads", "head_dim", "context_size", "conv_expansion_factor", "num_conv_layers", "input_channels",
)  # fmt: skip
_COUNTS = ("num_hidden_layers", "num_adapter_layers")
# Keys below which the configuration of the encoder may stand.
INNER = ("encoder_config", "audio_config")
_LISTS = ("conv_dim", "conv_kernel", "conv_stride")
# What a model may be without.
_OPTIONAL = (
    "num_buckets", "conv_pos_kernel_size", "output_hidden_size", "adapter_kernel_size", "adapter_attn_dim",
    "max_bucket_distance", "num_adapter_layers", "num_key_value_heads", "head_dim",
)  # fmt: skip
# What the width of the model is divided by.
_DIVISORS = ("num_attention_heads", "num_conv_pos_embedding_groups")
# WavLM halves its buckets twice, and divides by what is left.
_LEAST = {**dict.fromkeys(_WIDTHS, 1), **dict.fromkeys(_COUNTS, 0), "num_buckets": 4}
MOST = {**dict.fromkeys(_WIDTHS, MAX_WIDTH), **dict.fromkeys(_COUNTS, MAX_LAYERS)}
_SHARES = (
    "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout", "layerdrop",
    "mask_time_prob", "mask_feature_prob", "initializer_range",
)  # fmt: skip
# Numbers that divide.
_POSITIVE = ("layer_norm_eps",)
_FLAGS = ("conv_bias", "do_stable_layer_norm", "feat_proj_layer_norm", "conv_pos_batch_norm")
_CHECKED = (*MOST, *_LISTS, *_SHARES, *_POSITIVE, *_FLAGS)

# Key of a transformers configuration -> the key of the preset that decides instead, whatever the configuration says.
_DECIDED_BY = {
    **{name: f"model.{name}" for name in (
        "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout", "layerdrop",
        "ctc_loss_reduction", "ctc_zero_infinity",
    )},
    "mask_time_prob": "model.spec_augment.time_prob",
    "mask_time_length": "model.spec_augment.time_length",
    "mask_feature_prob": "model.spec_augment.feature_prob",
    "mask_feature_length": "model.spec_augment.feature_length",
    "dropout": "model.hidden_dropout",
    "hidden_dropout_prob": "model.hidden_dropout",
    "attention_probs_dropout_prob": "model.attention_dropout",
    "model_type": "model.architecture",
}  # fmt: skip
# Keys that are decided by something else, or by nothing -> what to know of them.
_NOT_HERE = {
    "vocab_size": "the vocabulary decides; leave this out",
    "pad_token_id": "the vocabulary decides, where text.pad names the token; leave this out",
    "blank_token_id": "the vocabulary decides, where text.pad names the token; leave this out",
    "bos_token_id": "a CTC vocabulary has no sentence marks; leave this out",
    "eos_token_id": "a CTC vocabulary has no sentence marks; leave this out",
    "apply_spec_augment": "masks are on where model.spec_augment.time_prob or model.spec_augment.feature_prob is above "
    "0; set those instead",
    **dict.fromkeys(
        ("mask_time_min_masks", "mask_feature_min_masks"),
        "there is no least number of masks, as short utterances have too few frames; leave this out",
    ),
    **dict.fromkeys(
        ("num_adapter_layers", "adapter_kernel_size", "adapter_stride", "output_hidden_size"),
        "only an adapter has it, and asrctl trains models without one; leave this out",
    ),
    **dict.fromkeys(
        (
            "num_codevectors_per_group", "num_codevector_groups", "contrastive_logits_temperature", "num_negatives",
            "codevector_dim", "proj_codevector_dim", "diversity_loss_weight", "feat_quantizer_dropout",
            "use_weighted_layer_sum", "classifier_proj_size", "tdnn_dim", "tdnn_kernel", "tdnn_dilation",
            "xvector_output_dim", "num_ctc_classes", "replace_prob",
        ),
        "it belongs to pre-training or to another kind of head; leave this out",
    ),
}  # fmt: skip
NO_ADAPTER = "is true, but an adapter shortens the output, which asrctl does not count"

# What transformers assumes where config.json (or `model.config` of a preset) is silent; this is the base model.
DEFAULTS: Dict[str, Any] = {
    "conv_dim": (512,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "conv_bias": False,
    "feat_extract_norm": "group",
    "do_stable_layer_norm": False,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
}
# Architectures that have these defaults.
_OF_DEFAULTS = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "wav2vec2-conformer")


def merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> Dict[str, Any]:
    """The values with those of `more` in their place, below the keys of an encoder's configuration too."""
    found = {**values, **more}
    for key in INNER:
        if isinstance(values.get(key), Mapping) and isinstance(more.get(key), Mapping):
            found[key] = {**values[key], **more[key]}
    return found


def flat(values: Mapping[str, Any]) -> Dict[str, Any]:
    """The values of both levels; those of the encoder's own configuration win."""
    found = dict(values)
    for key in INNER:
        below = found.pop(key, None)
        found.update(below if isinstance(below, Mapping) else {})
    return found


def problems(values: Mapping[str, Any], *, from_scratch: bool, architecture: str = "wav2vec2") -> List[Tuple[str, str]]:
    """(key, sentence) for each key of a preset's `model.config` that does nothing, or asks for too much.

    from_scratch: no checkpoint adds sizes of its own. architecture: whose defaults hold then.
    """
    keys = [(key, key, value) for key, value in values.items()]
    for outer in INNER:
        below = values.get(outer)
        keys += [(f"{outer}.{key}", key, value) for key, value in below.items()] if isinstance(below, Mapping) else []
    found = [(place, text) for place, key, value in keys for text in [_problem(key, value)] if text]
    if found or not from_scratch:
        return found
    everything = {**(DEFAULTS if architecture in _OF_DEFAULTS else {}), **flat(values)}
    problem = _discord(everything)
    if problem:
        return [problem]
    count = smallest_count(everything)
    if count > MAX_PARAMETERS:
        return [("", f"asks for {count:,} parameters or more, and no model has as many; lower its sizes")]
    return []


def _problem(key: str, value: Any) -> Optional[str]:
    if key in _DECIDED_BY:
        return f"changes nothing; {_DECIDED_BY[key]} decides, so set that instead"
    if key in _NOT_HERE:
        return f"changes nothing: {_NOT_HERE[key]}"
    if key == "add_adapter" and value:
        return f"{NO_ADAPTER}; leave it out"
    return _value_problem(key, value)


def _discord(values: Mapping[str, Any]) -> Optional[Tuple[str, str]]:
    """(key or nothing, sentence) for values that are each those of a model, and not together."""
    if len({len(values[name]) for name in _LISTS if name in values}) > 1:
        return "", f"{', '.join(_LISTS)} must be equally long: each has a number for every convolution"
    width = values.get("hidden_size")
    for key in _DIVISORS:
        if width is not None and key in values and width % values[key]:
            return key, f"is {values[key]}, which does not divide hidden_size ({width})"
    buckets, farthest = values.get("num_buckets"), values.get("max_bucket_distance")
    if buckets is not None and farthest is not None and farthest <= buckets // 4:
        return "max_bucket_distance", f"is {farthest}, and must be above a quarter of num_buckets ({buckets})"
    return None


def _value_problem(key: str, value: Any) -> Optional[str]:
    """Why a value is none of a model, or None; for keys that are not checked always None."""
    if key in _LISTS:
        if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MAX_CONVOLUTIONS:
            return f"is no list of 1 to {MAX_CONVOLUTIONS} numbers"
        wrong = [item for item in value if not _is_whole(item) or not 1 <= item <= MAX_WIDTH]
        return f"holds {shown(wrong[0])}, which is no whole number from 1 to {MAX_WIDTH}" if wrong else None
    if key in _FLAGS:
        return None if isinstance(value, bool) else f"is {shown(value)}, not true or false"
    if key in _SHARES and not (_is_number(value) and 0 <= value <= 1):
        return f"is {shown(value)}, not a number from 0 to 1"
    if key in _POSITIVE and not (_is_number(value) and 0 < value <= 1):
        return f"is {shown(value)}, not a number above 0 and up to 1"
    if key not in MOST or (value is None and key in _OPTIONAL):
        return None
    if not _is_whole(value) or not _LEAST[key] <= value <= MOST[key]:
        return f"is {shown(value)}, not a whole number from {_LEAST[key]} to {MOST[key]}"
    return None


def misfit(values: Mapping[str, Any]) -> Optional[str]:
    """What keeps the values of a config.json from being a model of asrctl's, in a sentence, or None.

    Where it is silent it is not asked for more: `DEFAULTS` may hold.
    """
    values = flat(values)
    for key in _CHECKED:
        problem = _value_problem(key, values[key]) if key in values else None
        if problem:
            return f"{key} {problem}"
    discord = _discord(values)
    if discord:
        return " ".join(filter(None, discord))
    return f"add_adapter {NO_ADAPTER}" if values.get("add_adapter") else None


def shown(value: Any) -> str:
    """A value as a file has it, or its beginning."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def smallest_count(values: Mapping[str, Any]) -> int:
    """A lower bound of the parameters of a model: its large matrices. values: its sizes, none of them a `misfit`."""
    values = flat(values)
    width, channels = values.get("hidden_size", 1), [1, *values.get("conv_dim", ())]
    convolutions = sum(a * b * kernel for a, b, kernel in zip(channels, channels[1:], values.get("conv_kernel", ())))
    layer = 4 * width * width + 2 * width * values.get("intermediate_size", 1)
    position = values.get("conv_pos_kernel_size") or values.get("num_conv_pos_embeddings") or 0
    groups = max(1, values.get("num_conv_pos_embedding_groups") or 1)
    total = convolutions + values.get("num_hidden_layers", 0) * layer + width * (width // groups) * position
    if values.get("adapter_attn_dim"):
        total += 2 * values["num_hidden_layers"] * width * values["adapter_attn_dim"]
    return total + width * (values.get("vocab_size") or 0)
