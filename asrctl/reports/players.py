"""Players whose sound lies in the page itself, as FLAC, within a number of bytes for the whole page."""

from __future__ import annotations

import base64
import io
from typing import Optional

import numpy as np

from asrctl.reports.page import Html, element

LONGEST_S = 20.0


class Players:
    """left: bytes of the page that players may still take. left_out: how many found no room."""

    def __init__(self, most_bytes: int) -> None:
        self.left = most_bytes
        self.left_out = 0

    def player(self, pcm: np.ndarray, sample_rate: int, called: str) -> Optional[Html]:
        """A player of the first seconds of (time,) int16; None where there is no more room."""
        content = base64.b64encode(flac(pcm[: int(LONGEST_S * sample_rate)], sample_rate)).decode("ascii")
        if len(content) > self.left:
            self.left_out += 1
            return None
        self.left -= len(content)
        # Nothing is decoded before somebody listens.
        return element(
            "audio", controls="", preload="none", src=f"data:audio/flac;base64,{content}", aria_label=f"play {called}"
        )


def flac(pcm: np.ndarray, sample_rate: int) -> bytes:
    """The bytes of a file with (time,) int16 samples."""
    import soundfile

    target = io.BytesIO()
    soundfile.write(target, np.asarray(pcm, dtype=np.int16), sample_rate, format="FLAC", subtype="PCM_16")
    return target.getvalue()
