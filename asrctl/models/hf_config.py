"""A downloaded config.json -> a transformers configuration: only keys that shape the model, within limits.

What else such a file may hold (code to load, kernels to fetch, a million labels) is left out.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Optional

from asrctl.config import model_config
from asrctl.config.model_config import MAX_PARAMETERS
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
# Of a wav2vec 2.0 with adapters of languages, and the release of transformers that brought them.
ADAPTERS, ADAPTERS_SINCE = "adapter_attn_dim", "4.30"
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

        plain = _known(model_type, values)
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


def inner_type(model_type: str, key: str) -> str:
    """The type of the configuration that stands below a key of another; "" where none does."""
    from transformers import AutoConfig

    below = getattr(AutoConfig.for_model(model_type), key, None) if key in model_config.INNER else None
    return str(getattr(below, "model_type", ""))


def strangers(model_type: str, values: Mapping[str, Any]) -> List[str]:
    """Keys, dotted where they stand below another, that shape no model of this type."""
    found = []
    for key, value in values.items():
        below = inner_type(model_type, key) if isinstance(value, Mapping) else ""
        if key not in known_keys(model_type):
            found.append(key)
        elif below:
            found += [
                f"{key}.{name}" for name in strangers(below, {k: v for k, v in value.items() if k != "model_type"})
            ]
    return found


_SENTENCE_MARKS = ("bos_token_id", "eos_token_id")
# What a recipe calls so -> other names of it, in older and newer models.
_ALIASES = {
    "hidden_dropout": ("dropout", "hidden_dropout_prob"),
    "attention_dropout": ("attention_probs_dropout_prob",),
}


def with_decided(model_type: str, values: Mapping[str, Any], decided: Mapping[str, Any]) -> Dict[str, Any]:
    """The values with what is decided elsewhere, under the names and on the levels that a type has for it."""
    found, inner = dict(values), [key for key in model_config.INNER if inner_type(model_type, key)]
    for key in inner:
        below = found.get(key)
        known = known_keys(inner_type(model_type, key))
        found[key] = {**(below if isinstance(below, Mapping) else {}), **_named(decided, known)}
    found.update(_named(decided, known_keys(model_type)))
    for key in _SENTENCE_MARKS:
        if key in found and found[key] is None and not _takes_none(model_type, key):
            found[key] = found.get("pad_token_id")
    return found


def _named(decided: Mapping[str, Any], known: FrozenSet[str]) -> Dict[str, Any]:
    """What a configuration with these keys has of what is decided."""
    names = {name: value for key, value in decided.items() for name in (key, *_ALIASES.get(key, ()))}
    return {name: value for name, value in names.items() if name in known}


@functools.lru_cache(maxsize=None)
def _takes_none(model_type: str, key: str) -> bool:
    """Whether a configuration can be without the id of a sentence mark."""
    from transformers import AutoConfig

    try:
        AutoConfig.for_model(model_type, **{key: None})
    except Exception:  # the checks of transformers' generations raise many kinds
        return False
    return True


def without_place(model_type: str, keys: Iterable[str]) -> List[str]:
    """Those of the keys of a recipe that a model of this type has nothing for."""
    known = set(known_keys(model_type))
    for key in model_config.INNER:
        below = inner_type(model_type, key)
        known |= known_keys(below) if below else set()
    return [key for key in keys if not {key, *_ALIASES.get(key, ())} & known]


def _known(model_type: str, values: Mapping[str, Any]) -> Dict[str, Any]:
    """The keys that shape a model, on both levels. Raises ValueError for an encoder of another type.

    Raises PresetError for a model that the installed transformers is too old for.
    """
    if model_type == "wav2vec2" and values.get(ADAPTERS) is not None and ADAPTERS not in known_keys(model_type):
        raise ValueError(
            f"{ADAPTERS} is of adapters of languages (MMS), which transformers has from {ADAPTERS_SINCE} on"
        )
    found = {key: value for key, value in values.items() if key in known_keys(model_type)}
    for key, value in found.items():
        below = inner_type(model_type, key)
        if not below or not isinstance(value, Mapping):
            continue
        if value.get("model_type", below) != below:
            raise ValueError(f"{key} is of a {value['model_type']}, and not of a {below}")
        found[key] = {**_of_right_kinds(below, _known(below, value)), "model_type": below}
    return found


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
