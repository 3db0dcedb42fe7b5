"""Folders with a part of a model only, which another one is needed for: what they hold, and how a whole one is had."""

from __future__ import annotations

from pathlib import Path

from asrctl.errors import BadData
from asrctl.storage import files

_PEFT = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
_MMS = "adapter.*.safetensors"
_NOT_WHOLE = "choose the folder of a whole model"


def refuse(folder: Path) -> None:
    """For a folder that lacks something. Raises BadData where it holds what is to be added to another model."""
    peft = [name for name in _PEFT if (folder / name).is_file()]
    if peft:
        base = _base(folder / _PEFT[0])
        raise BadData(
            f"{folder} holds an adapter (PEFT): {peft[-1]} is only what it adds to {base or 'another model'}",
            fix=f"{_NOT_WHOLE}: merge the adapter into its model (merge_and_unload of PEFT), and save that "
            "(save_pretrained) with its tokenizer",
        )
    mms = sorted(folder.glob(_MMS))
    if mms:
        language = mms[0].name.split(".")[1]
        raise BadData(
            f"{folder} holds adapters of a model of many languages: {mms[0].name} is only what {language} adds to it",
            fix=f"{_NOT_WHOLE}: load model and processor in transformers with target_lang={language!r}, and save both "
            "(save_pretrained)",
        )


def _base(path: Path) -> str:
    """The model that an adapter is for, where its settings say so."""
    values = files.read_json(path, fix=_NOT_WHOLE) if path.is_file() else {}
    name = values.get("base_model_name_or_path") if isinstance(values, dict) else None
    return name if isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable() else ""
