"""The model that a folder only adds something to: where it is, and by what its weights are known.

base.json   {"checkpoint", "revision", "weights", "config"}, in the folder of a model that is not whole without it
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple

from asrctl.errors import BadData
from asrctl.storage import files, records
from asrctl.storage.hashing import digest, file_sha256

FILE = "base.json"
# Of a model of many languages (language_adapters).
ADAPTERS = ("adapter.{}.safetensors", "adapter.{}.bin")
_FIX = "train it again, or choose another model"


@dataclass(frozen=True)
class BaseModel:
    """checkpoint: a name on the hub, or the path of a folder. weights: `digest_of` it; None where that is not known.

    config: what config.json would hold, where there must be none: transformers takes a folder with one for a whole
    model, and does not look at what PEFT puts beside it.
    """

    checkpoint: str
    revision: Optional[str] = None
    weights: Optional[str] = None
    config: Optional[Mapping[str, Any]] = None

    def require(self, folder: Path) -> None:
        """Raises BadData where the weights in `folder`, which is the base, are not those that were added to."""
        if self.weights is not None and digest_of(folder) != self.weights:
            raise BadData(
                f"the weights of {folder} are not those that this model was trained on top of",
                fix=f"bring back the weights that {folder} had, or train again",
            )


def of(folder: Path) -> Optional[BaseModel]:
    """The base of a folder; None where it needs none. Raises BadData."""
    path = folder / FILE
    if not path.exists():
        return None
    return records.read(BaseModel, files.read_json(path, fix=_FIX), f"{path} names no model", fix=_FIX)


def named(checkpoint: str, revision: Optional[str], folder: Path) -> BaseModel:
    """The base that a recipe names and that lies in `folder`; one that adds to another itself stands for that one."""
    below = of(folder)
    if below is not None:
        return below
    path = files.expanded(checkpoint)
    return BaseModel(str(path.resolve()) if path.is_dir() else checkpoint, revision, digest_of(folder))


def write(folder: Path, base: BaseModel) -> None:
    files.write_json(folder / FILE, records.as_dict(base))


def adapter_file(folder: Path, language: str) -> Optional[Path]:
    """The file of a language's adapter, in the folder of a base or of what was added to it; None where none is."""
    base = of(folder)
    below = [] if base is None or not files.expanded(base.checkpoint).is_dir() else [files.expanded(base.checkpoint)]
    places = [place / pattern.format(language) for place in (folder, *below) for pattern in ADAPTERS]
    return next((path for path in places if path.is_file()), None)


def digest_of(folder: Path) -> str:
    """Over the weights of a folder, whatever else lies beside them: languages may come, and cards change."""
    found = [*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin")]
    return _digest([(path, path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(found)])


def _digest(found: List[Tuple[Path, int, int]]) -> str:
    return digest({path.name: _sha256(path, changed, size) for path, changed, size in found})


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, changed: int, size: int) -> str:
    """Of gigabytes, which one command may ask for several times."""
    return file_sha256(path)
