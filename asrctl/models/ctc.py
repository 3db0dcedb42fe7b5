"""One forward pass of a CTC model over a padded batch, and the losses of its utterances.

Two ways of padding, two experiments:
- exact: each utterance gives the logits that it gives alone. A group-norm encoder takes its statistics over the real
  frames only; attention is masked. This is what single-utterance inference sees. Where a model's own passes mix padding
  into utterances in a way that can not be put right from outside, it gets each utterance alone.
- padded: a group-norm encoder sees the padding, as any static-shape device does (attention is still masked).
For a layer-norm encoder the two are the same.
"""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, List, Optional, Tuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from asrctl.models import architectures, library
from asrctl.models.architectures import Architecture
from asrctl.models.padding import encoder_of, norms_masked, temporal_layers_masked
from asrctl.runtime import compat


@contextlib.contextmanager
def padding_left_out(model: nn.Module, sample_lengths: torch.Tensor) -> Iterator[None]:
    """Within the block a model over samples leaves padding out of its norms and convolutions. sample_lengths: (batch,).

    Nothing here looks at the values of tensors, so that the block can be exported as a graph.
    """
    kernel, stride = int(model.config.conv_kernel[0]), int(model.config.conv_stride[0])
    first = torch.div(sample_lengths - kernel, stride, rounding_mode="floor") + 1
    with norms_masked(model, first), temporal_layers_masked(model, frame_lengths(model, sample_lengths)):
        yield


def frame_lengths(model: nn.Module, sample_lengths: torch.Tensor) -> torch.Tensor:
    """(batch,) samples -> (batch,) frames of logits."""
    lengths = sample_lengths
    for kernel, stride in zip(model.config.conv_kernel, model.config.conv_stride):
        lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
    return lengths.clamp(min=0)


def head_of(model: nn.Module) -> nn.Module:
    """The layer that makes logits of a model's last frames."""
    return next(getattr(model, name) for name in ("lm_head", "ctc_head") if hasattr(model, name))


def masks_fit(config: Any, frames: int) -> bool:
    """Whether SpecAugment's masks over time fit into a micro-batch whose longest utterance has so many frames."""
    return getattr(config, "mask_time_length", 0) <= frames


@contextlib.contextmanager
def _masks_where_they_fit(model: nn.Module, frames: int) -> Iterator[None]:
    """Within the block a batch padded to so many frames, fewer than one mask over time takes, has no masks.

    The library refuses such a batch, as if it were a mistake; a corpus of single words is full of them.
    """
    config = model.config
    prob = getattr(config, "mask_time_prob", 0)
    if not (model.training and prob > 0) or masks_fit(config, frames):
        yield
        return
    config.mask_time_prob = 0.0
    try:
        yield
    finally:
        config.mask_time_prob = prob


def forward(
    model: nn.Module,
    input_values: torch.Tensor,
    attention_mask: torch.Tensor,
    lengths: Optional[torch.Tensor] = None,
    *,
    exact: bool,
) -> Tuple[torch.Tensor, torch.Tensor]:
    """(batch, time) values and mask -> logits (batch, frames, vocabulary) and real frames (batch,).

    For a model with a front end values are (batch, rows, channels), and lengths (batch,) says how many rows are real.
    What is too short for one frame has none, and all its logits are padding, whatever else is in the batch.
    """
    found = architectures.find(model.config.model_type)
    own = attention_mask.sum(-1) if lengths is None else lengths
    if found is not None and not found.together:
        real = own if lengths is not None else _counted(model, found, own)
        return _each_alone(model, input_values, attention_mask, own, real)
    frames = frame_lengths(model, own) if lengths is None or found is None else _frames_of_rows(model, found, own)
    has_frames = frames > 0
    if bool(has_frames.all()):
        return _forward(model, input_values, attention_mask, own, frames, exact=exact), frames
    # The library can neither make a frame of less than one nor mask attention to an utterance without any.
    if not bool(has_frames.any()):
        return no_logits(model, len(frames)), frames
    places = has_frames.nonzero()[:, 0]
    chosen = (tensor[places] for tensor in (input_values, attention_mask, own, frames))
    made = _forward(model, *chosen, exact=exact)
    return made.new_zeros(len(frames), *made.shape[1:]).index_copy(0, places, made), frames


def _frames_of_rows(model: nn.Module, found: Architecture, lengths: torch.Tensor) -> torch.Tensor:
    """(batch,) rows of a front end -> (batch,) frames of logits."""
    if found.rows is None:
        return lengths
    rule = found.rows(found.encoder_values(model.config.to_dict()))
    return torch.from_numpy(rule.frames(lengths.cpu().numpy().astype(np.int64))).to(lengths.device)


def _counted(model: nn.Module, found: Architecture, samples: torch.Tensor) -> torch.Tensor:
    """(batch,) samples -> (batch,) frames, of a model of any kind."""
    rule = found.convolutions(model.config.to_dict(), {})
    return torch.from_numpy(rule.frames(samples.cpu().numpy().astype(np.int64)))


def _each_alone(
    model: nn.Module,
    input_values: torch.Tensor,
    attention_mask: torch.Tensor,
    lengths: torch.Tensor,
    frames: torch.Tensor,
) -> Tuple[torch.Tensor, torch.Tensor]:
    """The logits that each utterance gets alone, padded with zeros, and how many those are.

    frames: (batch,) at most so many; 0 for what is too short for one.
    """
    rows = []
    for index, (length, most) in enumerate(zip(lengths.tolist(), frames.tolist())):
        if not most:
            rows.append(no_logits(model))
            continue
        values, mask = input_values[index : index + 1, :length], attention_mask[index : index + 1, :length]
        with _masks_where_they_fit(model, most), compat.known_warnings():
            rows.append(_called(model, values, mask)[0])
    counts = torch.tensor([len(row) for row in rows], device=input_values.device)
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), counts


def _forward(
    model: nn.Module,
    input_values: torch.Tensor,
    attention_mask: torch.Tensor,
    lengths: torch.Tensor,
    frames: torch.Tensor,
    *,
    exact: bool,
) -> torch.Tensor:
    """The logits of a batch of which each utterance has a frame."""
    # Without padding the stock kernels are used, so that such a batch is bit for bit plain transformers.
    padded = exact and bool((lengths < input_values.shape[1]).any())
    left_out: Any = contextlib.nullcontext()
    if padded and input_values.dim() == 2:
        left_out = padding_left_out(model, lengths)
    elif padded:
        left_out = temporal_layers_masked(model, frames)
    most = frames if input_values.dim() == 3 else frame_lengths(model, torch.tensor(input_values.shape[-1]))
    with left_out, _masks_where_they_fit(model, int(most.max())), compat.known_warnings():
        return _called(model, input_values, attention_mask)


def _called(model: nn.Module, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Logits. values (batch, time) or (batch, rows, channels), under the names that the model has for them."""
    name, mask_name = library.inputs_of(model)
    if name == "input_values" and values.dim() == 3:
        values = values.transpose(1, 2)  # samples, in a channel
    return model(**{name: values, mask_name: mask}).logits


def no_logits(model: nn.Module, *rows: int) -> torch.Tensor:
    """Logits of no frames, (*rows, 0, vocabulary), whose gradient exists and is 0."""
    head = head_of(model)
    weight: torch.Tensor = head.weight
    if isinstance(head, nn.Linear):
        return head(weight.new_zeros(*rows, 0, head.in_features))
    return weight.new_zeros(*rows, 0, weight.shape[0]) + 0 * weight.sum()


def encoded(
    model: nn.Module, input_values: torch.Tensor, attention_mask: torch.Tensor
) -> Tuple[List[torch.Tensor], torch.Tensor]:
    """What the convolutional encoder gives each utterance alone: a list of (frames, channels), and frames (batch,).

    With gradients, for an encoder that learns.
    """
    sample_lengths = attention_mask.sum(-1)
    frames = frame_lengths(model, sample_lengths)
    counts = frames.tolist()
    if not any(counts):  # the library can make no frame of less than one
        return list(input_values.new_zeros(len(counts), 0, model.config.conv_dim[-1])), frames
    with padding_left_out(model, sample_lengths):
        rows = encoder_of(model).feature_extractor(input_values).transpose(1, 2)
    return [row[:count] for row, count in zip(rows, counts)], frames


def ctc_losses(
    logits: torch.Tensor,
    frames: torch.Tensor,
    labels: torch.Tensor,
    label_lengths: torch.Tensor,
    *,
    blank: int,
    reduction: str,
    zero_infinity: bool,
) -> torch.Tensor:
    """The loss of each utterance, (batch,) float32 (CTC, Graves et al. 2006).

    logits (batch, frames, vocabulary); frames, label_lengths (batch,); labels (batch, longest) padded with anything.
    reduction mean: over the utterance's labels; sum: as it is. CTC is always computed in fp32. An utterance without a
    frame can not be aligned: its loss is infinite, or 0 with zero_infinity.
    """
    if not logits.shape[1]:  # the kernel wants a frame, if only one that is padding
        logits = functional.pad(logits, (0, 0, 0, 1))
    log_probs = functional.log_softmax(logits.float(), dim=-1).transpose(0, 1)
    # The native kernel, not cuDNN's: that one refuses long labels and is not deterministic.
    with torch.backends.cudnn.flags(enabled=False):
        losses = compat.ctc_loss(
            log_probs, labels, frames, label_lengths, blank=blank, reduction="none", zero_infinity=zero_infinity
        )
    return losses / label_lengths.clamp(min=1) if reduction == "mean" else losses
