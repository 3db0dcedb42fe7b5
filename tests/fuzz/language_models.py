"""Readers of language models, and valid ones: an ARPA file, plain and packed, and a model of a workspace."""

from __future__ import annotations

import functools
import gzip
import tempfile
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np

from asrctl.language_models import arpa, counts, kneser_ney, stored
from asrctl.language_models.ngram import NgramModel

SENTENCES = [line.split() for line in ("a b c", "a b", "b c a", "c a b c a", "ä b")]


def _asked(model: NgramModel) -> None:
    """Whatever the file says, an answer is a logarithm of something up to 1 or so, for any state that it leads to."""
    words = np.arange(len(model.words))
    states = np.full(len(words), model.begin)
    for _ in range(3):
        logs, states = model.score(states, words)
        if np.isnan(logs).any() or not ((states >= 0) & (states < sum(map(len, model.tables)))).all():
            raise AssertionError("an answer that is none")


def read(place: Path) -> None:
    _asked(arpa.read(place / "lm.arpa"))


def load(place: Path) -> None:
    _asked(stored.load(place))


@functools.lru_cache(maxsize=None)
def _files() -> Dict[str, bytes]:
    """An ARPA file, the same packed, and what a workspace keeps."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = kneser_ney.estimate(counts.count(SENTENCES, 3, place)).model
        for path in place.iterdir():
            path.unlink()
        arpa.write(model, place / "lm.arpa")
        plain = (place / "lm.arpa").read_bytes()
        (place / "lm.arpa").unlink()
        stored.save(model, place)
        kept = {path.name: path.read_bytes() for path in place.iterdir()}
    return {"lm.arpa": plain, "lm.arpa.gz": gzip.compress(plain, mtime=0), **kept}


def arpa_files() -> Tuple[Dict[str, bytes], List[Tuple[str, bytes]]]:
    return {}, [("lm.arpa", _files()["lm.arpa"]), ("lm.arpa", _files()["lm.arpa.gz"])]


def stored_files() -> Tuple[Dict[str, bytes], List[Tuple[str, bytes]]]:
    kept = {name: data for name, data in _files().items() if not name.startswith("lm.arpa")}
    return kept, [(name, kept[name]) for name in ("words.txt", "keys-2.bin", "suffix-3.bin", "log10-1.bin")]
