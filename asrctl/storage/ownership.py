"""The names of the files that asrctl writes: a folder that holds any other file is neither replaced nor deleted."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from pathlib import Path
from typing import Iterable, Iterator, List, Optional, Tuple

from asrctl.errors import UsageError
from asrctl.storage import atomic, files

_SHELL = (
    *("config.json", "vocab.json", "special_tokens.json", "special_tokens_map.json"),
    *("tokenizer_config.json", "preprocessor_config.json", "base.json"),
)
_PEFT = ("adapter_config.json", "adapter_model.safetensors")
MODEL_FILES = (*_SHELL, "model.safetensors", "adapter.*.safetensors", *_PEFT, "SHA256SUMS")
_CHECKPOINT = ("state.json", "model.safetensors", "optimizer.safetensors", "average.safetensors", "backend/**")
# What a system or a file manager leaves in every folder that it shows, names of files that are deleted but open, and
# what safetensors writes first and renames then (".tmp" and six characters, as Rust's tempfile names it).
_NOBODYS = re.compile(
    rf"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini|\.directory|\.tmp[A-Za-z0-9]{{6}}|{files.DELETED.pattern}"
)
# A name on its way into place, or out of it (files.beside), stands for the name itself.
_PASSING = re.compile(rf"\.(.+)\.(?:tmp|asrctl-tmp|{atomic.SPARE}|{'|'.join(atomic.ENDINGS)})")
_SHOWN = 3


class OwnFiles:
    """Names of the files that asrctl puts into one kind of folder: paths below it, `*` within a name, `**` at the end
    for everything below."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [tuple(pattern.split("/")) for pattern in patterns]
        # Most are plain names, and prepared speech has thousands.
        self._plain = {pattern for pattern in self._patterns if not any("*" in part for part in pattern)}
        self._above = {pattern[:count] for pattern in self._plain for count in range(1, len(pattern))}
        self._wild = [pattern for pattern in self._patterns if pattern not in self._plain]

    def strangers(self, folder: Path) -> List[str]:
        """Paths below `folder` of what is not ours, sorted; of a folder with nothing of ours only its own."""
        return sorted(self._strangers(folder, ()))

    def _strangers(self, folder: Path, above: Tuple[str, ...]) -> Iterator[str]:
        for entry in _entries(folder):
            path = (*above, entry.name)
            if not entry.is_dir(follow_symlinks=False):
                if entry.is_symlink() or not self._holds(path):
                    yield "/".join(path)
            elif self._leads_on(path):
                yield from self._strangers(folder / entry.name, path)
            else:
                yield "/".join(path)

    def has_all(self, names: Iterable[str]) -> bool:
        """Whether all these files of a folder could be ours, by their names."""
        return all(self._holds((name,)) for name in names)

    def _holds(self, path: Tuple[str, ...]) -> bool:
        path = _in_place(path)
        return path in self._plain or any(_matches(pattern, path, whole=True) for pattern in self._wild)

    def _leads_on(self, path: Tuple[str, ...]) -> bool:
        path = _in_place(path)
        return path in self._above or any(_matches(pattern, path, whole=False) for pattern in self._wild)

    def refuse(self, folder: Path, place: Optional[Path] = None, *, fix: str) -> None:
        """Raises UsageError where `folder` holds what is not ours. place: what people know it by."""
        found = self.strangers(folder) if folder.is_dir() else []
        if found:
            shown = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
            raise UsageError(f"{place or folder} holds what asrctl did not write: {shown}", fix=fix)

    def carry(self, old: Path, new: Path) -> None:
        """Move what is not ours from a folder that is about to go into the one that has taken its place."""
        for name in self.strangers(old) if old.is_dir() and not old.is_symlink() else []:
            if not os.path.lexists(str(new / name)):
                files.make_folder((new / name).parent)
                is_folder = (old / name).is_dir() and not (old / name).is_symlink()
                (atomic.move_tree if is_folder else shutil.move)(old / name, new / name)

    def clear(self, passing: Path, place: Path) -> None:
        """Delete a folder on its way to `place`, or from there, that a killed process has left; what is not ours in it
        goes back to `place`."""
        if place.is_dir():
            self.carry(passing, place)
        self.remove(passing)

    def remove(self, folder: Path) -> None:
        """Delete a folder that may not exist; what is not ours stays where it is, with the folders above it."""
        if folder.is_symlink() or not folder.is_dir() or not self.strangers(folder):
            files.remove_tree(folder)
            return
        kept = {folder / name for name in self.strangers(folder)}
        for path in sorted(folder.rglob("*"), reverse=True):
            if files.DELETED.fullmatch(path.name) or any(stranger in (path, *path.parents) for stranger in kept):
                continue
            if not path.is_dir() or path.is_symlink():
                path.unlink()
            elif not any(path.iterdir()):
                path.rmdir()


def _entries(folder: Path) -> List["os.DirEntry[str]"]:
    """The entries of a folder without what systems leave there (.DS_Store, .nfs*); none where it vanishes meanwhile."""
    try:
        with os.scandir(str(folder)) as entries:
            return [entry for entry in entries if not _NOBODYS.fullmatch(entry.name)]
    except FileNotFoundError:
        return []


def _in_place(path: Tuple[str, ...]) -> Tuple[str, ...]:
    return tuple(_PASSING.sub(r"\1", part) for part in path)


def _matches(pattern: Tuple[str, ...], path: Tuple[str, ...], *, whole: bool) -> bool:
    """whole: it is the path of a file; else that of a folder which may lead to one."""
    if pattern[-1] == "**":
        pattern = pattern[:-1]
        fits = len(path) > len(pattern) or not whole
    else:
        fits = len(path) == len(pattern) if whole else len(path) < len(pattern)
    return fits and all(fnmatch.fnmatchcase(part, wanted) for part, wanted in zip(path, pattern))


def _below(folder: str, patterns: Iterable[str]) -> List[str]:
    return [f"{folder}/{pattern}" for pattern in patterns]


CHECKPOINT = OwnFiles(_CHECKPOINT)
MODEL = OwnFiles(MODEL_FILES)
RUN = OwnFiles(
    [
        "run.json",
        "recipe.yaml",
        "metrics.jsonl",
        "report.html",
        "confidence.json",
        "guard.json",
        "tensorboard/events.out.tfevents.*",
        ".backend/**",
        "cache/**",
    ]
    + _below("start", _SHELL)
    + _below("model", MODEL_FILES)
    + _below("checkpoints/step-*", _CHECKPOINT)
)
_LABELS = ("vocab.json", "special_tokens.json")
EXPORT_FILES = (*MODEL_FILES, "README.md", "model.onnx", "preprocessing.json", "parity.json")
# By kind. A whole one says more exactly what it holds, by its meta.json.
ARTIFACTS = {
    "manifests": OwnFiles(["meta.json", "utterances.jsonl"]),
    "vocab": OwnFiles(["meta.json", *_LABELS]),
    "prepared": OwnFiles(
        ["meta.json", "*/shard-*.arrow", "*/part-*.json", "*/rejects.jsonl", *_below("vocab", _LABELS)]
    ),
    "audits": OwnFiles(["meta.json", "findings.jsonl", "report.json", "report.html"]),
    "evals": OwnFiles(["meta.json", "metrics.json", "hypotheses.jsonl", "report.json", "report.html"]),
    "exports": OwnFiles(["meta.json", *EXPORT_FILES]),
    "lm": OwnFiles(["meta.json", "words.txt", *(f"{name}-*.bin" for name in ("keys", "log10", "backoff", "suffix"))]),
}
# Encoder features of one combination of model and data, and of all.
_FEATURES = ("frames.bin", "marks.bin", "in-use.lock")
FEATURES_OF_ONE, FEATURES = OwnFiles(_FEATURES), OwnFiles(_below("*", _FEATURES))
