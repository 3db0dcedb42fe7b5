"""Folders of recordings that training audio is changed with: noise, and impulse responses of rooms."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np

from asrctl.data import audio
from asrctl.data.collate import to_float
from asrctl.data.reading.file_names import is_audio, is_hidden
from asrctl.data.reading.walk import Walk
from asrctl.errors import BadData, PresetError
from asrctl.events import Emit, Warned
from asrctl.messages import amounts
from asrctl.storage import files
from asrctl.storage.hashing import digest, file_sha256
from asrctl.storage.stat_cache import StatCache

# More than one draw reads, and no reason to refuse a recording.
_MOST_S = 3600.0


@dataclass(frozen=True)
class Recording:
    """A file of the folder, and its length in seconds."""

    name: str
    length_s: float


@dataclass(frozen=True)
class Recordings:
    """What a folder holds, in the order of names. For any thread."""

    folder: Path
    items: Tuple[Recording, ...]

    def draw(self, generator: np.random.Generator) -> Recording:
        return self.items[int(generator.integers(len(self.items)))]

    def read(
        self, recording: Recording, sample_rate: int, start_s: float, length_s: float, channel: Optional[int] = None
    ) -> Optional[np.ndarray]:
        """A stretch, (time,) float32; None where it is silent or not to be decoded. Raises BadData where it is gone."""
        path = self.folder / recording.name
        rules = audio.AudioRules(sample_rate, 0.0, _MOST_S)
        try:
            return to_float(audio.decode(path, rules, start_s, start_s + length_s, channel=channel))
        except audio.Rejected:
            return None
        except FileNotFoundError:
            raise BadData(
                f"{path} is gone, and training takes noise or rooms from it",
                fix="put it back, then go on with `asrctl train --resume`",
            ) from None

    def digest(self, cache: Optional[StatCache] = None) -> str:
        """sha256 over names and contents. cache: knows the digests of files that have not changed."""
        return digest([[item.name, self._sha256(item, cache)] for item in self.items])

    def _sha256(self, item: Recording, cache: Optional[StatCache]) -> str:
        path = self.folder / item.name
        status = path.stat()
        known = None if cache is None else cache.get(str(path), status)
        found = known or file_sha256(path)
        if cache is not None and known is None:
            cache.put(str(path), status, found)
        return found


def find(folder: str, key: str, emit: Emit) -> Recordings:
    """The recordings below a folder that libsndfile can open. key: of the preset, for messages. Raises PresetError."""
    top = files.expanded(folder).resolve()
    if not top.is_dir():
        raise PresetError(f"{key} is {folder!r}, and there is no such folder", fix=f"set {key} to a folder that exists")
    walk = Walk(top, None)
    names = [
        os.path.relpath(os.path.join(at, name), str(top))
        for at, found in walk.below(top)
        for name in found
        if is_audio(name) and not is_hidden(name)
    ]
    items: List[Recording] = []
    odd: List[str] = []
    for name in sorted(names):
        header = audio.header(top / name)
        if header is None or not header.length_s:
            odd.append(name)
        else:
            items.append(Recording(name, header.length_s))
    if not items:
        raise PresetError(f"{key}: {top} holds no recordings that can be read", fix="give a folder with audio files")
    if odd:
        emit(Warned(f"{key}: {amounts.count(len(odd), 'file')} can not be read and is left out, such as {odd[0]}"))
    return Recordings(top, tuple(items))
