"""Bytes that a training micro-batch of the packed engine takes on a CPU, counted from above.

Where far more is free, nobody has to try the largest micro-batch before the first step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from asrctl.models.packed.feature_encoder import DTYPES
from asrctl.models.packed.feature_encoder_layers import frames_of_layers
from asrctl.models.padding import encoder_of

# Tensors of a layer's frames that the backward pass needs, or makes, at most at once: of the hidden width (inputs and
# outputs of both norms, sums, queries, keys, values, mixed values ...), of the feed-forward width (before and after the
# activation, its dropout) and of frames by frames for each head (weights, their dropout).
_OF_HIDDEN, _OF_WIDE, _OF_SCORES = 14, 3, 2
# In fp32, once: projections, masks, both ways of the position embedding with its spectra, logits' inputs.
_ONCE_OF_HIDDEN = 24
# Of each convolution's output, in fp32: it, its norm, its activation, casts, and their gradients.
_OF_ENCODED = 8
# fp32 gradients and Adam's two moments; copies of all weights in low precision.
_OF_TRAINED, _OF_COPIED = 12, 4
# Code that is loaded or made, and the steps by which the heap grows.
_BESIDE = 128 << 20


def most_bytes(
    model: nn.Module, rows: int, samples: int, *, precision: str, pads: bool, recomputed: bool = False
) -> int:
    """Of a step whose micro-batches are `rows` items of `samples` each, beside the model's own weights.

    pads: whether the convolutional encoder sees the items together, in a batch, or one after the other. recomputed: by
    gradient checkpointing, which keeps what enters each layer and the inner values of one.
    """
    config: Any = model.config
    frames_of = frames_of_layers(config, samples)
    frames, width = frames_of[-1], torch.finfo(DTYPES[precision]).bits // 8
    per_frame = _OF_HIDDEN * config.hidden_size + _OF_WIDE * config.intermediate_size
    per_frame += _OF_SCORES * config.num_attention_heads * frames
    of_layers = config.num_hidden_layers * (config.hidden_size if recomputed else per_frame)
    layers = rows * frames * (of_layers + per_frame * recomputed) * width
    once = rows * frames * 4 * (_ONCE_OF_HIDDEN * config.hidden_size + 4 * config.vocab_size + 4 * frames)
    learns = any(parameter.requires_grad for parameter in encoder_of(model).feature_extractor.parameters())
    encoded = [count * channels for count, channels in zip(frames_of, config.conv_dim)]
    encoder = (rows if pads else 1) * (sum(encoded) if learns else max(encoded)) * 4 * _OF_ENCODED
    parameters = list(model.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    weights = _OF_TRAINED * trained + _OF_COPIED * sum(parameter.numel() for parameter in parameters)
    return _BESIDE + layers + once + encoder + weights
