"""A language model on disk as the workspace keeps it: plain numbers that are mapped, so that loading takes no time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List

import numpy as np

from asrctl.errors import BadData
from asrctl.language_models.ngram import NgramModel, Table
from asrctl.language_models.vocabulary import SPECIAL
from asrctl.storage import files

WORDS = "words.txt"
ARRAYS = {"keys": "<i8", "log10": "<f4", "backoff": "<f4", "suffix": "<i8"}
_FIX = "make the language model again with `asrctl lm SOURCE`"
_MOST_ORDERS = 16
_MOST_BYTES = 1 << 31


def save(model: NgramModel, folder: Path) -> None:
    """Write words.txt and four arrays for each order into a folder."""
    files.write_text(folder / WORDS, "".join(f"{word}\n" for word in model.words))
    for order, table in enumerate(model.tables, 1):
        for name, kind in ARRAYS.items():
            with files.atomic_path(_path(folder, name, order)) as temporary:
                np.asarray(getattr(table, name), dtype=kind).tofile(str(temporary))


def load(folder: Path) -> NgramModel:
    """What `save` wrote, mapped. Raises BadData where a part is missing or does not fit the others."""
    text = files.read_bytes(folder / WORDS, fix=_FIX, most=_MOST_BYTES).decode("utf-8", "replace")
    words = text.split("\n")[:-1]
    tables: List[Table] = []
    while _path(folder, "keys", len(tables) + 1).exists() and len(tables) < _MOST_ORDERS:
        tables.append(_table(folder, len(tables) + 1, len(tables[-1]) if tables else 1, len(words)))
    if tuple(words[: len(SPECIAL)]) != SPECIAL or not tables or len(tables[0]) != len(words):
        raise BadData(f"{folder} holds no whole language model", fix=_FIX)
    return NgramModel(words, tables)


def _table(folder: Path, order: int, below: int, size: int) -> Table:
    """below: n-grams of the order below. size: of the vocabulary."""
    found = {name: _array(_path(folder, name, order), kind) for name, kind in ARRAYS.items()}
    keys, suffix = found["keys"], found["suffix"]
    fits = len({len(array) for array in found.values()}) == 1
    fits = fits and bool(np.isfinite(found["log10"]).all() and np.isfinite(found["backoff"]).all())
    if fits and len(keys):
        fits = keys[0] >= 0 and keys[-1] < below * size and bool((np.diff(keys) > 0).all())
        fits = fits and int(suffix.min()) >= 0 and int(suffix.max()) < max(1, below)
    if not fits:
        raise BadData(f"the {order}-grams in {folder} do not fit together", fix=_FIX)
    return Table(**found)


def _path(folder: Path, name: str, order: int) -> Path:
    return folder / f"{name}-{order}.bin"


def _array(path: Path, kind: str) -> np.ndarray:
    """(numbers,) of the kind that a file is full of."""
    dtype = np.dtype(kind)
    with files.open_regular(path, fix=_FIX) as stream:
        count, rest = divmod(os.fstat(stream.fileno()).st_size, dtype.itemsize)
    if rest:
        raise BadData(f"{path} is damaged (it ends within a number)", fix=_FIX)
    return np.memmap(str(path), dtype, "r", shape=(count,)) if count else np.zeros(0, dtype)
