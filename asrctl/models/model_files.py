"""The files of a folder that make a model, and the digest that results are published under.

Without numpy or torch: `status` asks for every run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Tuple

from asrctl.data import sentencepiece_model
from asrctl.errors import MissingArtifact
from asrctl.models import base_model, partial_models
from asrctl.storage import files
from asrctl.storage.checksums import SUMS, check_sums, read_sums
from asrctl.storage.hashing import digest, file_sha256

TOKENIZER_FILES = (
    "vocab.json",
    "special_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "tokenizer.json",
    *sentencepiece_model.NAMES,
)
# transformers 4 writes the first, transformers 5 the second, with the same settings under `feature_extractor`.
FEATURE_FILES = ("preprocessor_config.json", "processor_config.json")
_JSON_FILES = ("config.json", *TOKENIZER_FILES, *FEATURE_FILES)
# (name, inode, size, time of the last change in ns) of each file.
Signature = List[Tuple[str, int, int, int]]


def of_folder(folder: Path, language: Optional[str] = None) -> List[Path]:
    """Those that make the model; cards and checksums do not count.

    language: of a model of many, whose adapter counts. What is added to a base counts with the digest of that.
    """
    found = [*folder.glob("model*.safetensors*"), *folder.glob("pytorch_model*.bin*")]
    if base_model.of(folder) is not None:
        found += [folder / base_model.FILE, *folder.glob("adapter*.safetensors"), folder / "adapter_config.json"]
    own = None if language is None else base_model.adapter_file(folder, language)
    found += [] if own is None else [own]
    return sorted({path for path in [folder / name for name in _JSON_FILES] + found if path.is_file()})


def model_digest(folder: Path, language: Optional[str] = None) -> str:
    """sha256 over names and contents of the files that make a model. Raises MissingArtifact where there are none."""
    return digest(_digests(folder, language))


def told_digest(folder: Path) -> str:
    """`model_digest` without reading weights that SHA256SUMS tells the digest of, if they are older than that is."""
    sums = folder / SUMS
    if not files.is_file(sums):
        return model_digest(folder)
    told, written = read_sums(folder, fix="make that model again"), sums.stat().st_mtime_ns
    found = {}
    for path in of_folder(folder):
        is_as_told = path.suffix != ".json" and path.name in told and path.stat().st_mtime_ns <= written
        found[path.name] = told[path.name] if is_as_told else file_sha256(path)
    return digest(found)


def sound_model(folder: Path) -> str:
    """`model_digest` of a model about to be used. Raises BadData where a file is not as its SHA256SUMS says."""
    found = _digests(folder)
    check_sums(folder, found)
    return digest(found)


def _digests(folder: Path, language: Optional[str] = None) -> Dict[str, str]:
    found = {path.name: file_sha256(path) for path in of_folder(folder, language)}
    if not found:
        partial_models.refuse(folder)
        raise MissingArtifact(f"{folder} holds no model", fix="choose a Hugging Face folder of a CTC model")
    return found


def signature(folder: Path) -> Signature:
    """What changes where a file is replaced."""
    found = [(path.name, path.stat()) for path in of_folder(folder)]
    return [(name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found]
