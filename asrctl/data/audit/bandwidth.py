"""Utterances without high frequencies, and whether that is odd or just what the whole corpus is."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterable, List, Optional

import numpy as np

from asrctl.data.audit.distribution import Histogram
from asrctl.data.utterance import Utterance, split_path
from asrctl.errors import BadData
from asrctl.storage import files

# Resamplers and microphones let the last twentieth of the band fade.
_FULL_BAND = 0.95
# Where more are narrow than this, it is what the corpus is, unless its files claim more.
_USUAL_SHARE = 0.5
_ASKED = 100
# A filter for half of this rate ends somewhat below it.
_CLAIMS_MORE = 1.2


class Bands:
    """Of a corpus: where the bands of its utterances end."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.histogram = Histogram(0.0, sample_rate / 2 + 50, 50.0)
        self._narrow = 0
        self._asked: Dict[str, float] = {}
        # Whether narrow utterances are told: unknown until all are seen.
        self.are_odd = True

    def add(self, edges_hz: np.ndarray, ids: List[str]) -> None:
        self.histogram.add(edges_hz)
        places = np.flatnonzero(self.is_narrow(edges_hz))
        self._narrow += len(places)
        for place in places[: max(0, _ASKED - len(self._asked))]:
            self._asked[ids[place]] = float(edges_hz[place])

    def is_narrow(self, edges_hz: np.ndarray) -> np.ndarray:
        return edges_hz < _FULL_BAND * self.sample_rate / 2

    @property
    def share(self) -> float:
        return self._narrow / max(1, self.histogram.total)

    def decide(self, utterances: Optional[Iterable[Utterance]]) -> None:
        """Whether narrow ones are odd. utterances: of the corpus, where their list is still there.

        Most of a corpus from telephones is narrow, and says so by the rates of its files.
        """
        if self.share <= _USUAL_SHARE or utterances is None:
            self.are_odd = self.share <= _USUAL_SHARE
            return
        claims = [self._claims_more(utterance) for utterance in utterances if utterance.id in self._asked]
        known = [claim for claim in claims if claim is not None]
        self.are_odd = sum(known) > len(known) / 2

    def _claims_more(self, utterance: Utterance) -> Optional[bool]:
        rate = file_rate(utterance.audio)
        return None if rate is None else rate / 2 > _CLAIMS_MORE * self._asked[utterance.id]


def file_rate(path: str) -> Optional[int]:
    """Samples per second, by the header of a file that still lies there; None of any other, and in archives."""
    import soundfile

    if split_path(path)[1] is not None:
        return None
    try:
        with files.open_regular(Path(path), fix="") as stream, soundfile.SoundFile(
            stream.fileno(), closefd=False
        ) as sound:
            return int(sound.samplerate)
    except (BadData, OSError, RuntimeError, TypeError, ValueError):
        return None
