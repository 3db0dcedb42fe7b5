"""What a model heard in a whole recording, kept for alignment: of each frame the labels that are asked for."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import IO, Any, Iterable, Iterator, List, Tuple

import numpy as np


class Heard:
    """log_probs: (frames, labels asked for + 1) float32, mapped from a file; the last column is the best of all other
    labels. labels: (columns - 1,) sorted ids. best: (frames,) the likeliest id. db: (steps,) levels, see
    word_times.Levels.
    """

    def __init__(self, log_probs: Any, labels: np.ndarray, best: np.ndarray, db: np.ndarray) -> None:
        self.log_probs, self.labels, self.best, self.db = log_probs, labels, best, db

    def __len__(self) -> int:
        return len(self.best)

    def columns(self, labels: Any) -> np.ndarray:
        """Ids, each of which was asked for -> columns."""
        return np.searchsorted(self.labels, np.asarray(labels, dtype=np.int64))


@contextmanager
def kept(parts: Iterable[Tuple[np.ndarray, np.ndarray]], labels: Iterable[int]) -> Iterator[Heard]:
    """parts: (log-probabilities (frames, vocabulary), levels (steps,)), one behind the other. labels: asked for.

    They lie in a temporary file without a name, which goes when the block ends. Raises OSError.
    """
    wanted = np.array(sorted(set(labels)), dtype=np.int64)
    best: List[np.ndarray] = [np.zeros(0, dtype=np.int32)]
    db: List[np.ndarray] = [np.zeros(0)]
    with tempfile.TemporaryFile(prefix="asrctl-") as spool:
        for logs, levels in parts:
            spool.write(_columns(logs, wanted).tobytes())
            best.append(logs.argmax(-1).astype(np.int32))
            db.append(levels)
        spool.flush()
        found = np.concatenate(best)
        yield Heard(_mapped(spool, (len(found), len(wanted) + 1)), wanted, found, np.concatenate(db))


def _columns(logs: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    found = np.empty((len(logs), len(wanted) + 1), dtype=np.float32)
    found[:, :-1] = logs[:, wanted]
    others = np.delete(logs, wanted, axis=1)
    found[:, -1] = others.max(axis=1) if others.shape[1] else -np.inf
    return found


def _mapped(spool: IO[bytes], shape: Tuple[int, int]) -> Any:
    if not shape[0]:
        return np.zeros(shape, dtype=np.float32)
    return np.memmap(spool, dtype=np.float32, mode="r", shape=shape)
