"""Cache of a frozen encoder's output on disk, by utterance: written in the first epoch, read in later ones.

One folder for each combination of encoder weights, configuration, input rules, data and precision:

frames.bin   every utterance's frames at a place that follows from the lengths of those before it; holes where none yet
marks.bin    a uint32 for each utterance: 0, or the CRC-32 of its frames
in-use.lock  a shared lock while somebody works with the folder

What is not there, cut short or does not fit its mark counts as missing, so a crash costs at most what was not yet on
disk, and deleting anything costs time only. Two runs at once write the same bytes to the same places.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
import threading
import zlib
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np
import torch

from asrctl.data import conv_lengths
from asrctl.data.collate import FeatureRules
from asrctl.data.dataset import PreparedSplit
from asrctl.models.packed import feature_encoder
from asrctl.models.padding import encoder_of
from asrctl.runtime import devices
from asrctl.storage import atomic, files, flock
from asrctl.storage.hashing import short_id
from asrctl.storage.ownership import FEATURES_OF_ONE

# Left free for checkpoints and everybody else.
_RESERVE_BYTES = 1_000_000_000
# Of the keys below; also stands for the arithmetic of asrctl.models.packed.feature_encoder.
VERSION = 4
_MARK = np.dtype("<u4")
_CONFIG = ("conv_dim", "conv_kernel", "conv_stride", "conv_bias", "feat_extract_norm", "feat_extract_activation")


def key(model: Any, rules: FeatureRules, split: PreparedSplit, data: str, precision: str) -> str:
    """The folder's name: a digest of everything that decides the frames and their places."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(encoder_of(model).feature_extractor.state_dict().items()):
        hasher.update(name.encode())
        hasher.update(np.ascontiguousarray(tensor.detach().cpu().float().numpy()).tobytes())
    config = {name: getattr(model.config, name, None) for name in _CONFIG}
    known = {
        "version": VERSION,
        "weights": hasher.hexdigest(),
        "config": {name: list(value) if isinstance(value, (list, tuple)) else value for name, value in config.items()},
        "rules": [rules.sample_rate, rules.normalize],
        "data": data,
        "split": split.name,
        "rows": hashlib.sha256(split.rows.astype("<i8").tobytes()).hexdigest(),
        "precision": precision,
        # Other kernels round otherwise, and so do products that are shared out to another number of threads.
        "torch": torch.__version__,
        "device": devices.describe(next(model.parameters()).device.type),
        "threads": torch.get_num_threads(),
        "chip": [platform.machine()] + devices.cpu_flags(),
    }
    return short_id(known)


class FeatureCache:
    """The frames of one split. Reading and writing are safe from several threads.

    limit_bytes: utterances whose place lies beyond are not kept. Raises OSError, StorageError where the folder can not
    be used.
    """

    def __init__(self, folder: Path, config: Any, num_samples: np.ndarray, precision: str, limit_bytes: int) -> None:
        self.folder, self.channels, self.dtype = folder, int(config.conv_dim[-1]), feature_encoder.DTYPES[precision]
        self._frames = frame_counts(config, num_samples)
        self._row_bytes = _row_bytes(config, precision)
        self._ends = np.cumsum(self._frames, dtype=np.int64) * self._row_bytes
        self._limit = limit_bytes
        self._writes = threading.Lock()
        self._full: Optional[str] = None
        files.make_folder(folder)
        os.utime(str(folder))
        self._lock, self._data, self._index = (
            os.open(str(folder / name), os.O_RDWR | os.O_CREAT, 0o666)
            for name in ("in-use.lock", "frames.bin", "marks.bin")
        )
        try:
            flock.take(self._lock, folder, shared=True, wait=True)
            self._marks = self._read_marks()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for descriptor in (self._data, self._index, self._lock):
            os.close(descriptor)

    @property
    def filled(self) -> float:
        """The share of utterances with a mark, 0..1; a mark is only believed once the frames fit it."""
        return float((self._marks != 0).mean()) if len(self._marks) else 0.0

    @property
    def full(self) -> Optional[str]:
        """Why nothing more is written, where that is so."""
        return self._full

    def read(self, index: int) -> Optional[torch.Tensor]:
        """(frames, channels) of an utterance, or None where it is missing or damaged."""
        mark = int(self._marks[index]) or self._written_meanwhile(index)
        if mark == 0:
            return None
        size = int(self._frames[index]) * self._row_bytes
        try:
            data = os.pread(self._data, size, int(self._ends[index]) - size)
        except OSError:
            data = b""
        if len(data) != size or _mark(data) != mark:
            self._marks[index] = 0
            return None
        return torch.frombuffer(bytearray(data), dtype=self.dtype).view(-1, self.channels)

    def _written_meanwhile(self, index: int) -> int:
        """The mark of an utterance that another process has kept since this one began; 0 where none has."""
        if self._frames[index] == 0:
            return 0
        try:
            data = os.pread(self._index, _MARK.itemsize, index * _MARK.itemsize)
        except OSError:
            data = b""
        return int(np.frombuffer(data, dtype=_MARK)[0]) if len(data) == _MARK.itemsize else 0

    def write(self, index: int, frames: torch.Tensor) -> None:
        """Keep the frames of an utterance. A full disk stops all further writing, and nothing else."""
        end = int(self._ends[index])
        if self._full is not None or end > self._limit or self._marks[index] != 0 or len(frames) == 0:
            return
        data = frames.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        with self._writes:
            try:
                self._refuse_to_fill_the_disk()
                _write_at(self._data, data, end - len(data))
                mark = _mark(data)
                _write_at(self._index, np.array([mark], dtype=_MARK).tobytes(), index * _MARK.itemsize)
            except OSError as error:
                self._full = str(error)
                return
            self._marks[index] = mark

    def _refuse_to_fill_the_disk(self) -> None:
        found = os.fstatvfs(self._data)
        if found.f_bavail * found.f_frsize < _RESERVE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _read_marks(self) -> np.ndarray:
        marks = np.zeros(len(self._frames), dtype=_MARK)
        data = os.pread(self._index, marks.nbytes, 0)
        whole = len(data) // _MARK.itemsize
        marks[:whole] = np.frombuffer(data[: whole * _MARK.itemsize], dtype=_MARK)
        marks[self._frames == 0] = 0
        return marks


def frame_counts(config: Any, num_samples: np.ndarray) -> np.ndarray:
    """(utterances,) samples -> (utterances,) frames, int64."""
    return conv_lengths.after_each(num_samples.astype(np.int64), config.conv_kernel, config.conv_stride)[-1]


def size_bytes(config: Any, num_samples: np.ndarray, precision: str) -> int:
    """Of the cache of a whole split."""
    return int(frame_counts(config, num_samples).sum()) * _row_bytes(config, precision)


def _row_bytes(config: Any, precision: str) -> int:
    return int(config.conv_dim[-1]) * torch.empty(0, dtype=feature_encoder.DTYPES[precision]).element_size()


def free_bytes(root: Path) -> int:
    return shutil.disk_usage(str(root)).free


def _mark(data: bytes) -> int:
    return zlib.crc32(data) or 1


def _write_at(descriptor: int, data: bytes, place: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], place + done)


def make_room(root: Path, keep: str, limit_bytes: int, size: int) -> int:
    """Bytes that `keep` may grow to: within the limit over all folders under `root`, and half of the free disk.

    Others' folders go, the longest unused first, while the limit needs it and nobody works with them. Raises
    OSError, StorageError.
    """
    files.make_folder(root)
    for path in root.glob(_doomed(Path("*")).name):
        files.remove_tree(path)
    others = sorted((path for path in root.iterdir() if path.is_dir() and path.name != keep), key=_last_use)
    sizes: Dict[Path, int] = {path: files.disk_bytes(path) for path in others}
    for path in others:
        if sum(sizes.values()) + size > limit_bytes and _remove_unused(path):
            sizes.pop(path)
    room = free_bytes(root) // 2 + files.disk_bytes(root / keep)
    return max(0, min(limit_bytes - sum(sizes.values()), room))


def _doomed(path: Path) -> Path:
    """Where a folder of features lies while it is deleted."""
    return files.beside(path, "tmp")


def _last_use(path: Path) -> float:
    """In seconds since 1970; of a folder that another training has just removed, never."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove_unused(path: Path) -> bool:
    """Whether the folder is gone now; one that somebody works with, or has put something else into, stays."""
    doomed = _doomed(path)
    try:
        with open(path / "in-use.lock", "a") as lock:
            flock.take(lock, path)
            if FEATURES_OF_ONE.strangers(path):
                return False
            atomic.delete_tree(path, doomed)
        files.remove_tree(doomed)  # where a deleted file that is open, as that of the lock was, keeps its folder
    except OSError:
        return not path.exists()  # another training was quicker
    return True
