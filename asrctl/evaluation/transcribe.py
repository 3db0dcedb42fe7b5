"""Transcription of a prepared split, in bounded memory: logits never outlive their batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from asrctl.data.collate import collate, input_values
from asrctl.data.dataset import PreparedSplit
from asrctl.data.sampler import micro_batches
from asrctl.evaluation import decoding
from asrctl.events import Emit, Progress, ignore
from asrctl.models import ctc
from asrctl.models.loading import Recognizer
from asrctl.models.packed import feature_encoder, select, transformer
from asrctl.runtime import memory
from asrctl.runtime.devices import autocast
from asrctl.runtime.threads import in_order


def transcribe(
    recognizer: Recognizer,
    split: PreparedSplit,
    *,
    device: Any,
    precision: str,
    batch_s: float,
    indices: Optional[Sequence[int]] = None,
    pad_to: Optional[int] = None,
    engine: str = "auto",
    emit: Emit = ignore,
    task: str = "transcribe",
    decode: Optional[Callable[[Any, Any], List[Any]]] = None,
    take: Optional[Callable[[Sequence[float]], Sequence[int]]] = None,
) -> Iterator[Tuple[int, Any]]:
    """(index in the split, hypothesis) for each utterance, longest first.

    Batches hold at most `batch_s` seconds of padded audio. indices: only these. pad_to: pad every utterance to this
    many samples and let a group-norm encoder see the padding (the static-shape experiment); without it each utterance
    gets the logits that it gets alone. precision: fp32, bf16 or fp16. engine: auto, packed or plain, see
    asrctl.models.packed.select. decode: what to make of the logits; default is the greedy hypothesis. take: gets
    the seconds of all batches, and says which of them to transcribe, by number; default: all.
    """
    if device.type == "cpu":
        memory.keep_for_reuse()
    chosen = np.arange(len(split)) if indices is None else np.asarray(indices)
    lengths = split.num_samples[chosen]
    batches = micro_batches(lengths, max_samples=int(batch_s * split.sample_rate), pad_to=pad_to)
    if take is not None:
        seconds = [float(lengths[batch].sum(dtype=np.int64)) / split.sample_rate for batch in batches]
        batches = [batches[number] for number in take(seconds)]
    decode = decode or decoding.greedy(recognizer.vocabulary)
    listener = Listener.of(recognizer, device=device, precision=precision, pad_to=pad_to, engine=engine)

    def read(batch: np.ndarray) -> Any:
        return listener.inputs([split[int(row)].pcm for row in chosen[batch]])

    total_s = sum(float(lengths[batch].sum(dtype=np.int64)) for batch in batches) / split.sample_rate
    done_s = 0.0
    made = in_order(read, batches, workers=1, on_stall=lambda batch, waited_s: None)
    for batch, inputs in zip(batches, made):  # one thread reads ahead
        for position, hypothesis in zip(batch, decode(*listener.logits(inputs))):
            yield int(chosen[position]), hypothesis
        done_s += float(lengths[batch].sum(dtype=np.int64)) / split.sample_rate
        emit(Progress(task, round(done_s, 1), round(total_s, 1), "s of audio"))


@dataclass(frozen=True)
class Listener:
    """From speech to the logits and frames that decoders take: packed, or padded."""

    recognizer: Recognizer
    device: Any
    precision: str
    pad_to: Optional[int]
    is_packed: bool

    @classmethod
    def of(
        cls,
        recognizer: Recognizer,
        *,
        device: Any,
        precision: str,
        pad_to: Optional[int] = None,
        engine: str = "auto",
    ) -> "Listener":
        """Puts the model on the device. See `transcribe`."""
        model = recognizer.model.to(device).eval()
        is_packed = select.choose(model, device.type, engine, shapes_free=pad_to is None) == select.PACKED
        return cls(recognizer, device, precision, pad_to, is_packed)

    def inputs(self, utterances: Sequence[np.ndarray]) -> Any:
        """utterances: (time,) int16 each. What `logits` takes; needs no device, so that a thread may make it ahead."""
        import torch

        rules = self.recognizer.features
        if self.is_packed:
            return [torch.from_numpy(input_values(pcm, rules)) for pcm in utterances]
        return collate(utterances, rules, pad_to=self.pad_to)

    def logits(self, inputs: Any) -> Tuple[Any, Any]:
        """(logits, frames) as asrctl.evaluation.decoding.Decoder has them."""
        import torch

        model = self.recognizer.model
        if not self.is_packed:
            inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
            with torch.inference_mode(), autocast(self.device, self.precision):
                return ctc.forward(model, exact=self.pad_to is None, **inputs)
        with torch.inference_mode():
            samples = [row.to(self.device) for row in inputs]
            features = feature_encoder.features(model, samples, precision=self.precision)
            return transformer.logits(model, features, precision=self.precision)
