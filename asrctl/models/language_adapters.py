"""Models of many languages (MMS, Pratap et al. 2023): beside one base an adapter, a head and a vocabulary for each.

adapter.LANGUAGE.safetensors   the layers after each attention and the head, under the names of the whole model
vocab.json                     {language: {token: id}}

as transformers' `load_adapter` and `set_target_lang` have them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Mapping, Optional

from asrctl.config.recipe import SCRATCH, ModelSection
from asrctl.errors import BadData, PresetError
from asrctl.messages import suggestions
from asrctl.models import base_model, hf_config, library, weight_matching
from asrctl.runtime import compat
from asrctl.storage import files

_PART = ".adapter_layer."
_SHOWN = 12


def is_part(name: str) -> bool:
    """Whether a weight belongs to a language and not to the base; those of the head do as well."""
    return _PART in name


def names(model: Any) -> FrozenSet[str]:
    """Names on disk of all that belongs to one language: its adapter and its head."""
    return frozenset(filter(is_part, compat.model_names(model))) | weight_matching.head_names(model)


def source(section: ModelSection) -> Optional[str]:
    """The language whose adapter training starts from; None where there is none, or it is drawn anew."""
    found = section.language_from or section.language
    return None if found == SCRATCH else found


def is_drawn(section: ModelSection) -> bool:
    """Whether the adapter is drawn anew."""
    return section.language is not None and section.language_from == SCRATCH


def notes(section: ModelSection) -> List[str]:
    """What is worth saying of where an adapter starts."""
    if section.language is None:
        return []
    start = "is drawn anew" if is_drawn(section) else f"starts from that of {source(section)}"
    return [f"language {section.language}: its adapter {start}; adapter and head learn, and only these are kept"]


def require_file(folder: Path, language: str) -> Path:
    """The file of a language's adapter. Raises PresetError where there is none, with what there is."""
    found = base_model.adapter_file(folder, language)
    if found is not None:
        return found
    known = known_languages(folder)
    if not known:
        raise PresetError(f"{folder.name} has no adapters of languages", fix="set model.language=null")
    some = ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
    meant = suggestions.question(language, known)
    start = known[0] if len(known) == 1 else "LANGUAGE"
    raise PresetError(
        f"{folder.name} has no adapter of the language {language!r}; it has {some}",
        fix=f"{meant + ' ' if meant else ''}A new language starts from another one: add "
        f"`--set model.language_from={start} --set model.head=reinit`, or `--set model.language_from={SCRATCH}`",
    )


def known_languages(folder: Path) -> List[str]:
    """Of those that a folder has an adapter for; of a model of the hub those that its vocabulary names."""
    here = {path.name.split(".", 1)[1].rsplit(".", 1)[0] for path in folder.glob("adapter.*.*")}
    here = {language for language in here if base_model.adapter_file(folder, language) is not None}
    return sorted(here) or _named(folder)


def _named(folder: Path) -> List[str]:
    path = folder / "vocab.json"
    found = files.read_json(path, fix="choose another checkpoint") if path.is_file() else {}
    nested = isinstance(found, dict) and bool(found) and all(isinstance(value, dict) for value in found.values())
    return sorted(found) if nested else []


def overlaid(base: Mapping[str, Any], own: Mapping[str, Any], path: Path) -> Dict[str, Any]:
    """Weights of a base with those of a language in their place. path: where these were read. Raises BadData."""
    heads = weight_matching.HEAD
    strange = [name for name in own if not is_part(name) and name not in heads]
    missing = [name for name in (*heads, *filter(is_part, base)) if name not in own]
    if strange or missing:
        what = f"{strange[0]} belongs to no adapter" if strange else f"{missing[0]} is missing"
        raise BadData(f"{path} is not the adapter of a language: {what}", fix="fetch or export that adapter again")
    return {**base, **own}


def without(weights: Mapping[str, Any]) -> Dict[str, Any]:
    """The weights of a base alone."""
    return {name: tensor for name, tensor in weights.items() if not is_part(name)}


def refuse(section: ModelSection, folder: Path, values: Mapping[str, Any]) -> None:
    """Raises PresetError where a recipe names a language of a model that has none. values: of its configuration."""
    if section.language is None:
        return
    if hf_config.ADAPTERS not in hf_config.known_keys("wav2vec2"):
        raise PresetError(
            f"model.language is set, and transformers {library.version()} knows no adapters of languages",
            fix=f"install transformers {hf_config.ADAPTERS_SINCE} or later, or set model.language=null",
        )
    if values.get(hf_config.ADAPTERS) is None or not values.get("do_stable_layer_norm"):
        raise PresetError(
            f"{folder.name} has no adapters of languages",
            fix="set model.language=null, or draw one anew where model.config.do_stable_layer_norm is true: add "
            f"`--set model.config.adapter_attn_dim=16 --set model.language_from={SCRATCH}`",
        )
