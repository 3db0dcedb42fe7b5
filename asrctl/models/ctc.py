"""One forward pass of a CTC model over a padded batch, and the losses of its utterances.

Two ways of padding, two experiments:
- exact: each utterance gives the logits that it gives alone. A group-norm encoder takes its statistics over the real
  frames only; attention is masked. This is what single-utterance inference sees.
- padded: a group-norm encoder sees the padding, as any static-shape device does (attention is still masked).
For a layer-norm encoder the two are the same.
"""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, List, Optional, Tuple

import torch
from torch import nn
from torch.nn import functional

from asrctl.runtime import compat


class MaskedGroupNorm(nn.GroupNorm):
    """Group norm with one channel per group whose statistics leave the padding out.

    lengths: (batch,) frames that are real, or None for all.
    """

    lengths: Optional[torch.Tensor] = None

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """frames (batch, channels, time) -> the same shape."""
        if self.lengths is None:
            return super().forward(frames)
        time = torch.arange(frames.shape[-1], device=frames.device)
        real = (time[None, :] < self.lengths[:, None])[:, None, :]
        count = self.lengths.clamp(min=1).to(torch.float32)[:, None, None]
        values = frames.float()
        mean = (values * real).sum(-1, keepdim=True) / count
        centered = values - mean
        variance = (centered.square() * real).sum(-1, keepdim=True) / count
        normed = centered * torch.rsqrt(variance + self.eps)
        return (normed * self.weight.float()[:, None] + self.bias.float()[:, None]).to(frames.dtype)


def encoder_of(model: nn.Module) -> nn.Module:
    """The speech model under a CTC head: its `feature_extractor`, `feature_projection` and `encoder`."""
    return getattr(model, model.base_model_prefix)


def _masked_norms(model: nn.Module) -> List[MaskedGroupNorm]:
    """The group norms of the convolutional encoder, taught to mask. Parameters and their names stay as they are."""
    found = []
    for layer in encoder_of(model).feature_extractor.conv_layers:
        norm = getattr(layer, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            norm.__class__ = MaskedGroupNorm
            found.append(norm)
    return found


@contextlib.contextmanager
def padding_left_out(model: nn.Module, sample_lengths: torch.Tensor) -> Iterator[None]:
    """Within the block the model leaves padding out of its norms and convolutions. sample_lengths: (batch,).

    Nothing here looks at the values of tensors, so that the block can be exported as a graph.
    """
    norms = _masked_norms(model)
    kernel, stride = int(model.config.conv_kernel[0]), int(model.config.conv_stride[0])
    for norm in norms:
        norm.lengths = torch.div(sample_lengths - kernel, stride, rounding_mode="floor") + 1
    hooks = _silence_positional_layers(model, frame_lengths(model, sample_lengths))
    try:
        yield
    finally:
        for norm in norms:
            norm.lengths = None
        for hook in hooks:
            hook.remove()


def _silence_positional_layers(model: nn.Module, frames: torch.Tensor) -> List[Any]:
    """Hooks that zero the padding after each of data2vec's stacked positional convolutions.

    The library zeroes it before the first only; biases and norms then make it non-zero, and the next convolution
    carries it into the real frames.
    """

    def silence(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        time = torch.arange(output.shape[-1], device=output.device)
        return output * (time[None, :] < frames[:, None])[:, None, :].to(output.dtype)

    layers = getattr(encoder_of(model).encoder.pos_conv_embed, "layers", [])
    return [layer.register_forward_hook(silence) for layer in layers]


def frame_lengths(model: nn.Module, sample_lengths: torch.Tensor) -> torch.Tensor:
    """(batch,) samples -> (batch,) frames of logits."""
    lengths = sample_lengths
    for kernel, stride in zip(model.config.conv_kernel, model.config.conv_stride):
        lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
    return lengths.clamp(min=0)


def masks_fit(config: Any, frames: int) -> bool:
    """Whether SpecAugment's masks over time fit into a micro-batch whose longest utterance has so many frames."""
    return config.mask_time_length <= frames


@contextlib.contextmanager
def _masks_where_they_fit(model: nn.Module, samples: int) -> Iterator[None]:
    """Within the block a batch padded to `samples` that is shorter than one mask over time has none.

    The library refuses such a batch, as if it were a mistake; a corpus of single words is full of them.
    """
    config = model.config
    prob = getattr(config, "mask_time_prob", 0)
    if not (model.training and prob > 0) or masks_fit(config, int(frame_lengths(model, torch.tensor(samples)))):
        yield
        return
    config.mask_time_prob = 0.0
    try:
        yield
    finally:
        config.mask_time_prob = prob


def forward(
    model: nn.Module, input_values: torch.Tensor, attention_mask: torch.Tensor, *, exact: bool
) -> Tuple[torch.Tensor, torch.Tensor]:
    """(batch, time) values and mask -> logits (batch, frames, vocabulary) and real frames (batch,).

    What is too short for one frame has none, and all its logits are padding, whatever else is in the batch.
    """
    sample_lengths = attention_mask.sum(-1)
    frames = frame_lengths(model, sample_lengths)
    has_frames = frames > 0
    if bool(has_frames.all()):
        return _forward(model, input_values, attention_mask, exact=exact), frames
    # The library can neither make a frame of less than one nor mask attention to an utterance without any.
    if not bool(has_frames.any()):
        return no_logits(model, len(frames)), frames
    places = has_frames.nonzero()[:, 0]
    made = _forward(model, input_values[places], attention_mask[places], exact=exact)
    return made.new_zeros(len(frames), *made.shape[1:]).index_copy(0, places, made), frames


def _forward(
    model: nn.Module, input_values: torch.Tensor, attention_mask: torch.Tensor, *, exact: bool
) -> torch.Tensor:
    """The logits of a batch of which each utterance has a frame."""
    sample_lengths = attention_mask.sum(-1)
    # Without padding the stock kernels are used, so that such a batch is bit for bit plain transformers.
    padded = exact and bool((sample_lengths < input_values.shape[-1]).any())
    left_out = padding_left_out(model, sample_lengths) if padded else contextlib.nullcontext()
    with left_out, _masks_where_they_fit(model, input_values.shape[-1]), compat.known_warnings():
        return model(input_values=input_values, attention_mask=attention_mask).logits


def no_logits(model: nn.Module, *rows: int) -> torch.Tensor:
    """Logits of no frames, (*rows, 0, vocabulary), computed by the head so that gradients exist and are 0."""
    return model.lm_head(model.lm_head.weight.new_zeros(*rows, 0, model.lm_head.in_features))


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
