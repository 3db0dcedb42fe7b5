"""Read a checkpoint, from a folder or the hub: configuration and weights as plain data; no code is run."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Set

from asrctl.errors import BadData, MissingArtifact
from asrctl.models import (
    base_model,
    language_adapters,
    lora_weights,
    model_files,
    partial_models,
    processor,
    weight_files,
)
from asrctl.models.weight_names import plain_names
from asrctl.runtime import compat
from asrctl.storage import files, hub, records
from asrctl.storage.names import require_text

# Files in the place of weights, and what they are.
_OTHERS = (
    ("tf_model*.h5", "TensorFlow's"),
    ("flax_model*.msgpack", "Flax's"),
    ("*.onnx", "a graph for inference"),
    ("*.nemo", "NeMo's"),
    ("*.ckpt", "a checkpoint of a training framework"),
    ("*.pt", "a file of torch under another name than pytorch_model.bin"),
    ("*.pth", "a file of torch under another name than pytorch_model.bin"),
    ("*.safetensors", "under another name than model.safetensors"),
)
_FIX_PATH = "rename that folder, or copy the model elsewhere"
FIX_FOLDER = "choose a folder that holds config.json and model.safetensors of a CTC or pre-trained speech model"


def find_checkpoint(name: str, revision: Optional[str] = None, language: Optional[str] = None) -> Path:
    """A local folder, or a hub model fetched to the hub's own cache. Raises MissingArtifact.

    language: of a model of many, whose adapter is fetched as well.
    """
    folder = files.expanded(name)
    if folder.is_dir():
        return require_text(folder, fix=_FIX_PATH)
    _refuse_no_name(name)
    patterns = ["config.json", *model_files.TOKENIZER_FILES, *model_files.FEATURE_FILES]
    patterns += ["model*.safetensors", "model.safetensors.index.json"]
    if language is not None:
        patterns += [pattern.format(language) for pattern in base_model.ADAPTERS]
    return hub.snapshot(name, revision, patterns, more=["*.json", "pytorch_model*"], wanted="model*.safetensors")


def _refuse_no_name(name: str) -> None:
    """Raises MissingArtifact for what can not be the name of a model on the hub."""
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise MissingArtifact(f"there is no checkpoint folder {name}", fix="correct the name of the model")


def local_checkpoint(name: str, revision: Optional[str] = None, language: Optional[str] = None) -> Optional[Path]:
    """The folder of a checkpoint that is whole on this machine; None for one that the hub would have to give.

    Raises MissingArtifact where `find_checkpoint` does so without asking the hub.
    """
    folder = checkpoint_at_hand(name, revision)
    if folder is None:
        _refuse_no_name(name)
        return None
    has_language = language is None or base_model.adapter_file(folder, language) is not None
    return folder if files.expanded(name).is_dir() or (has_language and _is_whole(folder)) else None


def _is_whole(folder: Path) -> bool:
    try:
        return all(path.is_file() for path in _weight_files(folder))
    except (BadData, MissingArtifact):
        return False


def checkpoint_at_hand(name: str, revision: Optional[str] = None) -> Optional[Path]:
    """The folder with the config.json of a checkpoint that lies on this machine; nothing is fetched."""
    folder = files.expanded(name)
    if folder.is_dir():
        return require_text(folder, fix=_FIX_PATH)
    return hub.cached_folder(name, "config.json", revision)


def read_config(folder: Path) -> Dict[str, Any]:
    """The values of config.json. Raises BadData, MissingArtifact."""
    if not folder.is_dir():
        raise MissingArtifact(f"there is no model folder {folder}", fix=FIX_FOLDER)
    base = base_model.of(folder)
    if base is not None and base.config is not None:
        values: Any = dict(base.config)
    else:
        if not (folder / "config.json").exists():
            partial_models.refuse(folder)
        values = files.read_json(folder / "config.json", fix=FIX_FOLDER)
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise BadData(f"{folder / 'config.json'} does not describe a model", fix=FIX_FOLDER)
    # What a config says about code or how it was saved is of no use here, and auto_map would run a stranger's code.
    for key in ("auto_map", "architectures", "_name_or_path", "transformers_version", "torch_dtype", "dtype"):
        values.pop(key, None)
    return values


def read_weights(folder: Path, language: Optional[str] = None) -> Dict[str, Any]:
    """{name on disk: tensor}: safetensors, or a torch file read without running code.

    Names are those of the plain model, whatever wrapped it. What only adds to a base is read together with that.
    language: of a model of many; default: the one that it is set to. Raises BadData, MissingArtifact, PresetError.
    """
    return _read(folder, weight_files.tensors, language)


def read_shapes(folder: Path, language: Optional[str] = None) -> Dict[str, weight_files.Shape]:
    """The same without reading the weights: {name on disk: shape}. Raises what `read_weights` raises."""
    return _read(folder, weight_files.shapes, language)


def _read(folder: Path, read: Callable[[Path], Mapping[str, Any]], language: Optional[str]) -> Dict[str, Any]:
    base = base_model.of(folder)
    if base is None:
        found = _read_whole(folder, read)
    else:
        language = language or processor.language_of(folder)
        found = _read(base_folder(base), read, None)
        if lora_weights.is_in(folder):
            found = lora_weights.merged(found, read(folder / lora_weights.WEIGHTS), folder)
    if language is None:
        return found
    path = language_adapters.require_file(folder, language)
    return language_adapters.overlaid(found, read(path), path)


def base_folder(base: base_model.BaseModel) -> Path:
    """Where a base lies. Raises MissingArtifact, BadData where it is another one than it was."""
    folder = find_checkpoint(base.checkpoint, base.revision)
    base.require(folder)
    return folder


def _read_whole(folder: Path, read: Callable[[Path], Mapping[str, Any]]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for path in _weight_files(folder):
        found.update(read(path))
    try:
        plain = plain_names(found)
    except ValueError as error:
        raise BadData(
            f"the weights of {folder} can not be used as they are: {error}", fix=f"convert them, or {FIX_FOLDER}"
        ) from None
    return compat.canonical_weights({plain[name]: value for name, value in found.items()})


def write_tensors(path: Path, tensors: Mapping[str, Any]) -> None:
    """A safetensors file. tensors: {name: contiguous tensor on the host}. Raises OSError, on a full disk too."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: Set[int] = set()
    plain = {}
    for name, tensor in tensors.items():  # the library refuses one memory under two names
        place = tensor.data_ptr()
        plain[name] = tensor.clone() if place and place in seen else tensor
        seen.add(place)
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)  # as the user's mask says; the library's own files are for the user alone
    try:
        save_file(plain, str(path), metadata={"format": "pt"})
        if stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)
    except SafetensorError as error:
        # "Os { code: 28, kind: StorageFull, ... }" in older releases, "(os error 28)" in newer ones.
        found = re.search(r"(?:code: |os error )(\d+)", str(error))
        number = int(found.group(1)) if found else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from None
    if path.stat().st_size <= sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()):
        raise OSError(errno.EIO, "written only in part", str(path))


@dataclass(frozen=True)
class _Index:
    """What *.index.json holds of weights in several files. weight_map: {tensor: file}."""

    weight_map: Mapping[str, str]


def _weight_files(folder: Path) -> List[Path]:
    for single, index in (
        ("model.safetensors", "model.safetensors.index.json"),
        ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ):
        if (folder / single).exists():
            return [folder / single]
        if (folder / index).exists():
            values = files.read_json(folder / index, fix=FIX_FOLDER)
            found = records.read(_Index, values, f"{folder / index} is no list of weights", fix=FIX_FOLDER)
            return [folder / Path(name).name for name in sorted(set(found.weight_map.values()))]
    partial_models.refuse(folder)
    raise MissingArtifact(f"{folder} holds no weights{_others(folder)}", fix=FIX_FOLDER)


def _others(folder: Path) -> str:
    """What a folder has in the place of weights, where that is known."""
    for pattern, what in _OTHERS:
        for path in sorted(folder.glob(pattern)):
            return f" that asrctl reads: {path.name} is {what}"
    return ""


def all_finite(tensors: Iterable[Any]) -> bool:
    """Whether no number in any of the tensors is infinite or not a number."""
    import torch

    with torch.no_grad():
        return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())
