"""What a folder of PEFT's holds of LoRA and its kin -> the weights of the whole model.

adapter_config.json, adapter_model.safetensors   as PeftModel.save_pretrained writes them, the head among them

PEFT is not needed to read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from asrctl.errors import BadData
from asrctl.storage import files, records

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What PEFT puts before the names of the model that it wraps.
PREFIX = "base_model.model."
_A, _B, _LENGTHS = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"
_FIX = "train it again, or merge it with PEFT (merge_and_unload) and save that"


@dataclass(frozen=True)
class _Settings:
    """What decides the weights. r: the rank."""

    peft_type: str
    r: int
    lora_alpha: float
    use_rslora: bool = False
    use_dora: bool = False

    @property
    def scale(self) -> float:
        """Of the product (Hu et al. 2021, section 4.1; with use_rslora Kalajdzievski 2023)."""
        return self.lora_alpha / (self.r**0.5 if self.use_rslora else self.r)


def is_in(folder: Path) -> bool:
    """Whether a folder holds what LoRA adds to a base."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def merged(base: Mapping[str, Any], own: Mapping[str, Any], folder: Path) -> Dict[str, Any]:
    """{name on disk: tensor} of the whole model, or shapes where shapes are given. Raises BadData."""
    values = files.read_json(folder / CONFIG, fix=_FIX)
    settings = records.read(_Settings, values, f"{folder / CONFIG} does not describe a LoRA", fix=_FIX)
    if settings.peft_type != "LORA" or settings.r < 1 or values.get("rank_pattern") or values.get("alpha_pattern"):
        raise BadData(f"{folder / CONFIG} is of a kind that asrctl does not read", fix=_FIX)
    found = dict(base)
    for name, tensor in own.items():
        plain = name[len(PREFIX) :] if name.startswith(PREFIX) else name
        if plain.endswith((_B, _LENGTHS)):
            continue
        if not plain.endswith(_A):
            found[plain] = tensor
            continue
        place = _place(base, plain[: -len(_A)] + ".weight")
        parts = [own.get(name[: -len(_A)] + ending) for ending in (_A, _B, _LENGTHS)]
        if place is None or parts[1] is None or (settings.use_dora and parts[2] is None):
            raise BadData(f"{folder / WEIGHTS} does not fit its base: {plain}", fix=_FIX)
        found[place] = _changed(base[place], parts, settings)
    return found


def _place(base: Mapping[str, Any], name: str) -> Optional[str]:
    """What a weight is called in the base's file; that of a model without a head has no name of the encoder before."""
    return next((one for one in (name, name.partition(".")[2]) if one in base), None)


def _changed(weight: Any, parts: List[Any], settings: _Settings) -> Any:
    """A matrix and what was learned beside it, as one matrix of fp32; a shape as it is."""
    down, up, lengths = parts
    if not hasattr(weight, "dtype"):
        return weight
    whole = weight.float() + settings.scale * (up.float() @ down.float())
    if settings.use_dora:  # Liu et al. 2024, equation 5
        whole = whole * (lengths.float() / whole.norm(dim=1))[:, None]
    return whole
