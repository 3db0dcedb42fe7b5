"""A model that hears recordings of any length: its stretches between pauses, and their words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator, List, Optional

import numpy as np

from asrctl.evaluation import word_times
from asrctl.evaluation.calibration import Calibration
from asrctl.evaluation.long_recordings import Grid, Listening, Stretch
from asrctl.evaluation.transcribe import Listener
from asrctl.evaluation.word_times import Word
from asrctl.models.frames import Convolutions
from asrctl.models.loading import Recognizer


def likeliest(logs: np.ndarray) -> np.ndarray:
    """(frames, vocabulary) log-probabilities -> (frames,) the likeliest label of each."""
    return logs.argmax(-1)


@dataclass(frozen=True)
class Hearing:
    """path: (frames, vocabulary) log-probabilities of a stretch -> (frames,) label ids, which are its words.

    calibration: of the words' confidences.
    """

    recognizer: Recognizer
    listening: Listening
    path: Callable[[np.ndarray], np.ndarray]
    calibration: Optional[Calibration]

    @classmethod
    def of(
        cls,
        recognizer: Recognizer,
        rule: Convolutions,
        *,
        device: Any,
        precision: str,
        engine: str,
        window_s: float,
        margin_s: float,
        path: Callable[[np.ndarray], np.ndarray] = likeliest,
        calibration: Optional[Calibration] = None,
    ) -> "Hearing":
        """Puts the model on the device. rule: frames of samples. window_s, margin_s: see Listening."""
        vocabulary = recognizer.vocabulary
        listener = Listener.of(recognizer, device=device, precision=precision, engine=engine)
        nothing = [label for label in (vocabulary.blank_id, vocabulary.delimiter_id) if label is not None]
        grid = Grid.of(rule, recognizer.features.sample_rate)
        ear, labels = _Ear(listener, len(vocabulary)), len(vocabulary)
        listening = Listening(ear, grid, window_s, margin_s, labels, vocabulary.blank_id, nothing)
        return cls(recognizer, listening, path, calibration)

    @property
    def sample_rate(self) -> int:
        return self.recognizer.features.sample_rate

    def stretches(self, blocks: Iterable[np.ndarray]) -> Iterator[Stretch]:
        """blocks: (time,) int16 each, of one recording at `sample_rate`."""
        return self.listening.stretches(blocks)

    def words(self, stretch: Stretch) -> List[Word]:
        """Those of a stretch; see word_times.words."""
        logs, vocabulary = stretch.log_probs, self.recognizer.vocabulary
        return word_times.words(
            logs, self.path(logs), vocabulary, stretch.clock, stretch.levels, calibration=self.calibration
        )


@dataclass(frozen=True)
class _Ear:
    """(time,) int16 -> (frames, vocabulary) float32 log-probabilities."""

    listener: Listener
    labels: int

    def __call__(self, pcm: np.ndarray) -> np.ndarray:
        import torch

        logits, frames = self.listener.logits(self.listener.inputs([pcm]))
        logits = logits.reshape(-1, logits.shape[-1])[: int(frames[0])]
        if not len(logits):
            return np.zeros((0, self.labels), dtype=np.float32)
        return torch.log_softmax(logits.float(), -1).cpu().numpy()
