"""How sure a model is of the words that a decoder found, and the calibration that a run keeps for each decoder."""

from __future__ import annotations

from collections import deque
from typing import Any, Deque, Dict, List, Optional, Sequence

import numpy as np

from asrctl.alignment import viterbi
from asrctl.commands.decoder_choice import ChosenDecoder
from asrctl.commands.select import TrainedModel
from asrctl.data.text import Vocabulary
from asrctl.errors import BadData
from asrctl.evaluation import confidence
from asrctl.evaluation.beam_search import log_probabilities
from asrctl.evaluation.calibration import Calibration
from asrctl.evaluation.confidence import ConfidenceTally
from asrctl.evaluation.decoding import Decoder
from asrctl.evaluation.metrics import Scored
from asrctl.storage import files, records
from asrctl.storage.hashing import short_id
from asrctl.training.runs import CONFIDENCE, Run

_FIX = "calibrate again: `asrctl eval --calibrate`"


def of_words(logs: np.ndarray, text: str, vocabulary: Vocabulary) -> Optional[List[float]]:
    """The confidence of each word of a text that was heard. logs: (frames, vocabulary) log-probabilities.

    The text's labels are aligned with the frames, and each word's are judged by confidence.of_word. None where words
    are no sequences of labels (pieces of words, no delimiter), or where the text can not be what was heard.
    """
    if vocabulary.delimiter_id is None or vocabulary.subwords is not None:
        return None
    if not text.split():
        return []
    path = logs.argmax(-1)
    if vocabulary.decode(path.tolist()) != text:
        labels, _ = vocabulary.encoder()(text)
        try:
            states = viterbi.align(logs, viterbi.plain(labels), vocabulary.blank_id)
        except ValueError:
            return None
        # Equal labels in a row are parted by a blank, as CTC has it, so frames of one label are one.
        path = np.where(states % 2 == 1, np.append(labels, 0)[states // 2], -1)
    found = _by_words(logs, path, vocabulary)
    return [confidence.of_word(word) for word in found] if len(found) == len(text.split()) else None


def _by_words(logs: np.ndarray, path: np.ndarray, vocabulary: Vocabulary) -> List[List[float]]:
    """(frames,) labels -> for each word the mean log-probability of each of its labels."""
    words: List[List[float]] = [[]]
    starts = np.flatnonzero(np.diff(path, prepend=-2))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(path)]):
        label = int(path[start])
        if label in (-1, vocabulary.blank_id):
            continue
        if label == vocabulary.delimiter_id or (vocabulary.phones and words[-1]):
            words.append([])
        if label != vocabulary.delimiter_id:
            words[-1].append(float(logs[start:end, label].mean()))
    return [word for word in words if word]


class WatchedDecoder:
    """A decoder that also says how sure the model is of each word of its hypotheses."""

    def __init__(self, decode: Decoder, vocabulary: Vocabulary, calibration: Optional[Calibration]) -> None:
        self._decode, self._vocabulary, self._calibration = decode, vocabulary, calibration
        self._waiting: Deque[Optional[List[float]]] = deque()
        self.tally = ConfidenceTally()

    def __call__(self, logits: Any, frames: Any) -> List[str]:
        texts = self._decode(logits, frames)
        found = zip(log_probabilities(logits, frames), texts)
        self._waiting.extend(of_words(logs, text, self._vocabulary) for logs, text in found)
        return texts

    def of(self, scored: Scored) -> Dict[str, Any]:
        """What hypotheses.jsonl says more of an utterance. They come in the order in which they were decoded."""
        found = self._waiting.popleft()
        if found is None or len(found) != len(scored.hypothesis.split()):
            return {}
        self.tally.add(scored.reference, scored.hypothesis, found)
        if self._calibration is not None:
            found = self._calibration.apply(np.array(found)).tolist()
        return {"confidence": [round(value, 4) for value in found]}


def known(trained: TrainedModel, decoder: ChosenDecoder) -> Optional[Calibration]:
    """What `eval --calibrate` has kept for this model and decoder. Raises BadData."""
    if trained.run is None:
        return None
    kept = _kept(trained.run).get(_key(trained, decoder))
    return None if kept is None else records.read(Calibration, kept, "a kept calibration can not be read", fix=_FIX)


def keep(trained: TrainedModel, decoder: ChosenDecoder, run: Run, calibration: Calibration) -> None:
    """Beside the run; those of models that it has no more go."""
    kept = {key: value for key, value in _kept(run).items() if key.startswith(trained.digest[:12])}
    kept[_key(trained, decoder)] = records.plain(calibration)
    files.write_json(run.folder / CONFIDENCE, kept)


def forget_damaged(run: Run) -> None:
    """Begin anew where what was kept can not be read."""
    try:
        _kept(run)
    except BadData:
        (run.folder / CONFIDENCE).unlink()


def _kept(run: Run) -> Dict[str, Any]:
    path = run.folder / CONFIDENCE
    found = files.read_json(path, fix=_FIX) if path.exists() else {}
    return found if isinstance(found, dict) else {}


def _key(trained: TrainedModel, decoder: ChosenDecoder) -> str:
    return f"{trained.digest[:12]}-{short_id(decoder.parameters)}"


def tally_of(rows: Sequence[Dict[str, Any]]) -> ConfidenceTally:
    """Of the rows of a hypotheses.jsonl."""
    tally = ConfidenceTally()
    for row in rows:
        values = row.get("confidence")
        if isinstance(values, list) and len(values) == len(row["hypothesis"].split()):
            tally.add(row["reference"], row["hypothesis"], values)
    return tally
