"""Checkpoints as they come, from a folder or the hub: configuration and weights as plain data; no code is run."""

from __future__ import annotations

import errno
import os
import re
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional

from asrctl import compat, configs, files, processor
from asrctl.errors import BadData, MissingArtifact
from asrctl.schema import misfit

_FIX_WEIGHTS = "fetch or export that model again"
FIX_FOLDER = "choose a folder that holds config.json and model.safetensors of a CTC or pre-trained speech model"


def find_checkpoint(name: str, revision: Optional[str] = None) -> Path:
    """A local folder, or a hub model fetched to the hub's own cache. Raises MissingArtifact."""
    folder = files.expanded(name)
    if folder.is_dir():
        return folder
    looks_like_hub = name.count("/") <= 1 and not name.startswith((".", "/", "~"))
    if not looks_like_hub:
        raise MissingArtifact(f"there is no checkpoint folder {name}", fix="correct the name of the model")
    from huggingface_hub import snapshot_download

    wanted = ["config.json", *processor.TOKENIZER_FILES, *processor.FEATURE_FILES]
    wanted += ["model*.safetensors", "model.safetensors.index.json"]
    try:
        with compat.quiet_transformers():
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
            if not list(folder.glob("model*.safetensors")):
                folder = Path(
                    snapshot_download(name, revision=revision, allow_patterns=wanted + ["*.json", "pytorch_model*"])
                )
            return folder
    except Exception as error:  # the hub client raises many kinds, from several libraries
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise MissingArtifact(
            f"the checkpoint {name} could not be fetched ({reason})",
            fix="check the name and the network, or name a local folder instead",
        ) from None


def checkpoint_at_hand(name: str, revision: Optional[str] = None) -> Optional[Path]:
    """The folder with the config.json of a checkpoint that lies on this machine; nothing is fetched."""
    folder = files.expanded(name)
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except ValueError:  # a name that can not be one of the hub's
        return None
    return Path(found).parent if isinstance(found, str) else None


def read_config(folder: Path) -> Dict[str, Any]:
    """The values of config.json. Raises BadData, MissingArtifact."""
    if not folder.is_dir():
        raise MissingArtifact(f"there is no model folder {folder}", fix=FIX_FOLDER)
    values = files.read_json(folder / "config.json", fix=FIX_FOLDER)
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise BadData(f"{folder / 'config.json'} does not describe a model", fix=FIX_FOLDER)
    # What a config says about code or how it was saved is of no use here, and auto_map would run a stranger's code.
    for key in ("auto_map", "architectures", "_name_or_path", "transformers_version", "torch_dtype", "dtype"):
        values.pop(key, None)
    return values


def read_convolutions(folder: Path) -> configs.Convolutions:
    """The convolutional encoder that a model folder's config.json describes. Raises BadData, MissingArtifact."""
    try:
        return configs.convolutions(read_config(folder))
    except ValueError as error:
        raise BadData(f"{folder / 'config.json'} does not fit together ({error})", fix=FIX_FOLDER) from None


def read_weights(folder: Path) -> Dict[str, Any]:
    """{name on disk: tensor}: safetensors, or a torch file read without running code.

    Raises BadData, MissingArtifact.
    """
    paths = _weight_files(folder)
    weights: Dict[str, Any] = {}
    for path in paths:
        try:
            weights.update(_read_weight_file(path))
        except Exception as error:  # safetensors, zip and pickle readers each raise their own kinds
            reason = " ".join(str(error).split())[:200]
            raise BadData(f"{path} can not be read as weights ({reason})", fix=_FIX_WEIGHTS) from None
    strange = [name for name, value in weights.items() if not _is_weight(name, value)]
    if strange:
        raise BadData(f"{folder} holds {str(strange[0])[:80]!r} among its weights, which is none", fix=_FIX_WEIGHTS)
    return compat.canonical_weights(weights)


def _is_weight(name: Any, value: Any) -> bool:
    return isinstance(name, str) and compat.is_plain_tensor(value)


def write_tensors(path: Path, tensors: Mapping[str, Any]) -> None:
    """A safetensors file. tensors: {name: contiguous tensor on the host}. Raises OSError, on a full disk too."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), str(path), metadata={"format": "pt"})
    except SafetensorError as error:
        # "Os { code: 28, kind: StorageFull, ... }" in older releases, "(os error 28)" in newer ones.
        found = re.search(r"(?:code: |os error )(\d+)", str(error))
        number = int(found.group(1)) if found else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from None
    if path.stat().st_size <= sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()):
        raise OSError(errno.EIO, "written only in part", str(path))


def _weight_files(folder: Path) -> List[Path]:
    for single, index in (
        ("model.safetensors", "model.safetensors.index.json"),
        ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ):
        if (folder / single).exists():
            return [folder / single]
        if (folder / index).exists():
            values = files.read_json(folder / index, fix=FIX_FOLDER)
            problem = misfit(values, {"weight_map": {"*": str}})
            if problem:
                raise BadData(f"{folder / index} is no list of weights ({problem})", fix=FIX_FOLDER)
            return [folder / Path(name).name for name in sorted(set(values["weight_map"].values()))]
    raise MissingArtifact(f"{folder} holds no weights", fix=FIX_FOLDER)


def _read_weight_file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ValueError("it is missing, or not a regular file")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(str(path))
    _refuse_compressed(path)
    return compat.torch_load(path)


def _refuse_compressed(path: Path) -> None:
    """Raises ValueError: torch stores weights as they are, and a few compressed bytes can become many."""
    if zipfile.is_zipfile(str(path)):
        with zipfile.ZipFile(str(path)) as entries:
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries.infolist())
            if not stored or sum(entry.file_size for entry in entries.infolist()) > path.stat().st_size:
                raise ValueError("it holds compressed entries")


def all_finite(tensors: Iterable[Any]) -> bool:
    """Whether no number in any of the tensors is infinite or not a number."""
    import torch

    with torch.no_grad():
        return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())
