"""What the installed transformers has: models with a CTC head, their configurations and feature extractors."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import inspect
from dataclasses import dataclass
from typing import Any, Dict, Optional

from asrctl.runtime import compat


@dataclass(frozen=True)
class Described:
    """What the library says of a model with a CTC head."""

    model_class: str
    extractor: str


@functools.lru_cache(maxsize=None)
def ctc_models() -> Dict[str, str]:
    """{model type: class} of all models with a CTC head."""
    from transformers.models.auto import modeling_auto

    return dict(modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES)


def version() -> str:
    return importlib.metadata.version("transformers")


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def has_model(kind: str) -> bool:
    return kind in ctc_models()


def why_no_model(kind: str) -> str:
    """Why a model of this type has no CTC head to be trained; nothing where the library knows no such type."""
    from transformers.models.auto import configuration_auto

    if kind in ctc_models() or kind not in configuration_auto.CONFIG_MAPPING_NAMES:
        return ""
    return f"transformers {version()} has no model of this type with a CTC head"


def describe(kind: str) -> Optional[Described]:
    """None where the library has no model of this type with a CTC head."""
    if not has_model(kind):
        return None
    from transformers.models.auto import feature_extraction_auto

    extractor = feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING_NAMES.get(kind)
    return Described(ctc_models()[kind], str(extractor)) if extractor else None


def extractor_class(name: str) -> Any:
    """A feature extractor of the library by its name; None where it has none such."""
    with compat.quiet_transformers():
        import transformers

        found = getattr(transformers, name, None)
    is_extractor = inspect.isclass(found) and issubclass(found, transformers.FeatureExtractionMixin)
    return found if is_extractor else None


@functools.lru_cache(maxsize=None)
def extractor_keys(name: str) -> "frozenset[str]":
    """Settings of a feature extractor that decide what it makes."""
    named = frozenset(inspect.signature(extractor_class(name).__init__).parameters)
    return (named | {"return_attention_mask", "do_normalize"}) - {"self", "kwargs"}


def inputs_of(model: Any) -> "tuple[str, str]":
    """(name of the input, name of its mask) in a model's forward pass."""
    names = inspect.signature(type(model).forward).parameters
    return model.main_input_name, "padding_mask" if "padding_mask" in names else "attention_mask"
