"""Padding left out of the layers of transformers' models that would carry it into utterances.

Parameters and their names stay as they are.
"""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, List, Optional
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional


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


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch norm whose statistics, while it learns, leave the padding out.

    lengths: (batch,) frames that are real, or None for all.
    """

    lengths: Optional[torch.Tensor] = None

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """frames (batch, channels, time) -> the same shape, 0 in the padding while it learns."""
        if self.lengths is None or not self.training:
            return super().forward(frames)
        time = torch.arange(frames.shape[-1], device=frames.device)
        real = time[None, :] < self.lengths[:, None]
        # (real frames, channels): as if they were all that there is.
        normed = functional.batch_norm(
            frames.transpose(1, 2)[real],
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=True,
            momentum=self.momentum if self.momentum is not None else 0.1,
            eps=self.eps,
        )
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        made = normed.new_zeros(frames.shape[0], frames.shape[2], frames.shape[1])
        return made.masked_scatter(real[:, :, None].expand_as(made), normed).transpose(1, 2)


def encoder_of(model: nn.Module) -> nn.Module:
    """The speech model under a CTC head: its `feature_extractor`, `feature_projection` and `encoder`."""
    return getattr(model, model.base_model_prefix)


def conv_layers_of(model: nn.Module) -> Optional[nn.Module]:
    """The convolutions over samples, which `model.freeze_feature_encoder` leaves alone; None where there are none."""
    speech = getattr(model, model.base_model_prefix, None)
    extractor: Optional[nn.Module] = getattr(speech, "feature_extractor", None)
    if extractor is not None:
        return extractor
    tower = getattr(speech, "audio_tower", None)
    return getattr(getattr(tower, "subsampling", None), "conv_layers", None)


def is_frozen(model: nn.Module) -> bool:
    """Whether none of these convolutions learns."""
    layers = conv_layers_of(model)
    return layers is not None and not any(parameter.requires_grad for parameter in layers.parameters())


@contextlib.contextmanager
def norms_masked(model: nn.Module, lengths: torch.Tensor) -> Iterator[None]:
    """Within the block the group norms of the convolutional encoder see the first `lengths` (batch,) frames only."""
    found: List[Any] = []
    for layer in encoder_of(model).feature_extractor.conv_layers:
        norm = getattr(layer, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            norm.__class__ = MaskedGroupNorm
            found.append(norm)
    with _lengths_of(found, lengths):
        yield


# {model: (batch,) frames that are real, while layers over time leave the others out}
_masked: "WeakKeyDictionary[nn.Module, torch.Tensor]" = WeakKeyDictionary()


def masked_frames(model: nn.Module) -> Optional[torch.Tensor]:
    """(batch,) what `temporal_layers_masked` was given, within its block."""
    return _masked.get(model)


@contextlib.contextmanager
def temporal_layers_masked(model: nn.Module, frames: torch.Tensor) -> Iterator[None]:
    """Within the block layers over time see the first `frames` (batch,) frames of each utterance only.

    - data2vec's stacked positional convolutions: the library zeroes the padding before the first only; biases and norms
      then make it non-zero, and the next convolution carries it into the real frames;
    - what `layers_masked` is about.
    """

    def silence(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output * _real(frames, output.shape[-1])[:, None, :].to(output.dtype)

    speech = getattr(model, model.base_model_prefix, None)
    positions = getattr(getattr(speech, "encoder", None), "pos_conv_embed", None)
    hooks = [layer.register_forward_hook(silence) for layer in getattr(positions, "layers", [])]
    _masked[model] = frames
    try:
        with layers_masked(model, frames):
            yield
    finally:
        del _masked[model]
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def layers_masked(part: nn.Module, frames: Optional[torch.Tensor]) -> Iterator[None]:
    """Of a model or a part of it, nothing where frames is None:

    - the convolutions of wav2vec 2.0's conformer, before which the padding is not zeroed at all;
    - batch norms that learn, whose statistics it would be part of.
    """

    def silence_input(module: nn.Module, inputs: Any) -> Any:
        return (inputs[0] * _real(frames, inputs[0].shape[-1])[:, None, :].to(inputs[0].dtype),)

    norms: List[Any] = []
    hooks: List[Any] = []
    for name, module in part.named_modules() if frames is not None else ():
        if isinstance(module, nn.BatchNorm1d):
            module.__class__ = MaskedBatchNorm
            norms.append(module)
        elif f".{name}".endswith(".conv_module.depthwise_conv") and module.padding != (0,):
            hooks.append(module.register_forward_pre_hook(silence_input))
    try:
        with _lengths_of(norms, frames):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _real(frames: Any, time: int) -> torch.Tensor:
    """(batch, time) whether a frame is one of the first `frames` (batch,) of its utterance."""
    return torch.arange(time, device=frames.device)[None, :] < frames[:, None]


@contextlib.contextmanager
def _lengths_of(norms: List[Any], lengths: Optional[torch.Tensor]) -> Iterator[None]:
    for norm in norms:
        norm.lengths = lengths
    try:
        yield
    finally:
        for norm in norms:
            norm.lengths = None
