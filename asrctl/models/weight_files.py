"""Read one file of weights, safetensors or torch's, or say what else the file is. No code of a file ever runs."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

from asrctl.errors import BadData
from asrctl.messages import reasons
from asrctl.runtime import compat, memory
from asrctl.storage import files

_FIX = "fetch or export that model again"
# Where training frameworks put the weights in files that hold more.
_INNER = ("state_dict", "model_state_dict", "model")
_HEAD_BYTES = 512


@dataclass(frozen=True)
class Shape:
    """A tensor that was not read."""

    shape: Tuple[int, ...]

    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


def tensors(path: Path) -> Dict[str, Any]:
    """{name in the file: tensor}. Raises BadData."""
    return _read(path, _all_tensors)


def shapes(path: Path) -> Dict[str, Shape]:
    """{name in the file: shape}, refused where `tensors` is refused; of safetensors only the header is read."""
    return _read(path, _all_shapes)


def _read(path: Path, reader: Any) -> Dict[str, Any]:
    if not path.is_file():
        raise BadData(f"{path} can not be read as weights (it is missing, or not a regular file)", fix=_FIX)
    with files.open_regular(path, fix=_FIX) as stream:  # which knows a git-lfs pointer
        head = stream.read(_HEAD_BYTES)
    try:
        _refuse_others(path, head)
        found = reader(path)
        strange = [name for name, value in found.items() if not isinstance(name, str) or value is None]
    except Exception as error:  # safetensors, zip and pickle readers each raise their own kinds
        memory.raise_shortage(error)
        raise BadData(f"{path} can not be read as weights ({reasons.reason(error)})", fix=_FIX) from None
    if strange:
        raise BadData(f"{path} holds {str(strange[0])[:80]!r} among its weights, which is none", fix=_FIX)
    return dict(found)


def _refuse_others(path: Path, head: bytes) -> None:
    """Raises ValueError for a file that is something else by its first bytes."""
    is_safetensors = path.suffix == ".safetensors"
    start = head.lstrip()[:9].lower()
    if not head:
        raise ValueError("it is empty")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ValueError("it is a web page; what was saved is the page that leads to the file")
    if head.startswith(b"\x89HDF"):
        raise ValueError("it is one of TensorFlow's")
    if is_safetensors and head.startswith((b"PK\x03\x04", b"\x80\x02")):
        raise ValueError("it is one of torch's; its name should be pytorch_model.bin")
    if not is_safetensors and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        raise ValueError("it is one of safetensors'; its name should be model.safetensors")


def _all_tensors(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        found: Mapping[str, Any] = load_file(str(path))
    else:
        _refuse_compressed(path)
        found = _state(compat.torch_load(path))
    return {name: value if compat.is_plain_tensor(value) else None for name, value in found.items()}


def _all_shapes(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(str(path), framework="numpy") as stream:
            return {name: Shape(tuple(stream.get_slice(name).get_shape())) for name in stream.keys()}  # noqa: SIM118
    _refuse_compressed(path)
    found = _state(compat.torch_load(path, mapped=zipfile.is_zipfile(str(path))))
    return {name: Shape(tuple(value.shape)) if compat.is_plain_tensor(value) else None for name, value in found.items()}


def _state(loaded: Any) -> Mapping[str, Any]:
    """The weights of a torch file, from inside where a training framework keeps more beside them."""
    if not isinstance(loaded, Mapping):
        raise ValueError("it holds no tensors by name")
    inner = [loaded[key] for key in _INNER if isinstance(loaded.get(key), Mapping)]
    beside = any(compat.is_plain_tensor(value) for value in loaded.values())
    return inner[0] if len(inner) == 1 and not beside else loaded


def _refuse_compressed(path: Path) -> None:
    """Raises ValueError: torch stores weights as they are, and a few compressed bytes can become many."""
    if zipfile.is_zipfile(str(path)):
        with zipfile.ZipFile(str(path)) as entries:
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries.infolist())
            if not stored or sum(entry.file_size for entry in entries.infolist()) > path.stat().st_size:
                raise ValueError("it holds compressed entries")
