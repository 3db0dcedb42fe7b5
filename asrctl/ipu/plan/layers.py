"""What each layer of a model costs at one length of audio: parameters, floating-point operations, activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List

from asrctl.ipu.plan.geometry import Geometry

# CTC walks through the frames one by one, twice (alphas, betas): waiting counts there, not arithmetic. What such a step
# is worth is assumed: about as much as Graphcore's 9,4,4,4 leaves free on the last IPU of the base model.
CTC_STEP_FLOPS = 5e7


@dataclass(frozen=True)
class Layer:
    """One layer that can be placed.

    frozen, trained: parameters without and with gradients. frozen_flops, trained_flops: operations of the forward pass
    of one utterance (2 for each multiply-add of convolutions and matrix products; the rest is small). input_elements:
    numbers of the first tensor that a trained part reads. working_elements: numbers alive while it is computed.
    loss_flops: what the CTC loss behind the head is worth, forward and back together.
    """

    name: str
    frozen: int
    trained: int
    frozen_flops: float
    trained_flops: float
    input_elements: int
    working_elements: int
    loss_flops: float = 0.0


def layers_of(geometry: Geometry, num_samples: int, *, frozen_encoder: bool = True) -> List[Layer]:
    """The layers in their order, with the cost of one utterance of `num_samples`.

    The feature projection carries no block of its own and runs where the last convolution does, so it is counted there.
    The transformer's own layer norm runs after the positional embedding, or after the last layer (stable variant).
    """
    frames = [int(count) for count in geometry.conv_frames(num_samples)]
    layers = [_convolution(geometry, index, frames, num_samples, frozen_encoder) for index in range(len(frames))]
    layers[-1] = _with_projection(layers[-1], geometry, frames[-1])
    layers.append(_positional(geometry, frames[-1]))
    layers.extend(_transformer(geometry, index, frames[-1]) for index in range(geometry.layers))
    layers.append(_head(geometry, frames[-1]))
    return layers


def total_flops(geometry: Geometry, num_samples: Any) -> Any:
    """Operations of a forward pass over an utterance; a number, or an array of (utterances,) samples."""
    frames = geometry.conv_frames(num_samples)
    channels = (1,) + geometry.conv_dim
    flops = sum(2.0 * frames[i] * k * channels[i] * channels[i + 1] for i, k in enumerate(geometry.conv_kernel))
    return flops + _linear_flops(geometry) * frames[-1] + 4.0 * geometry.layers * geometry.hidden * frames[-1] ** 2


def _linear_flops(geometry: Geometry) -> float:
    hidden = geometry.hidden
    per_layer = 8.0 * hidden**2 + 4.0 * hidden * geometry.intermediate
    positional = 2.0 * geometry.positional_kernel * hidden**2 / geometry.positional_groups
    ends = 2.0 * hidden * (geometry.conv_dim[-1] + geometry.labels)
    return geometry.layers * per_layer + positional + ends


def _convolution(geometry: Geometry, index: int, frames: List[int], num_samples: int, frozen: bool) -> Layer:
    before, channels = (geometry.conv_dim[index - 1] if index else 1), geometry.conv_dim[index]
    weights = before * channels * geometry.conv_kernel[index] + channels * geometry.conv_bias
    weights += 2 * channels if geometry.conv_layer_norm or index == 0 else 0
    inputs = before * (frames[index - 1] if index else num_samples)
    outputs = channels * frames[index]
    flops = 2.0 * frames[index] * geometry.conv_kernel[index] * before * channels
    return Layer(
        name=f"Conv {index}",
        frozen=weights if frozen else 0,
        trained=0 if frozen else weights,
        frozen_flops=flops if frozen else 0.0,
        trained_flops=0.0 if frozen else flops,
        input_elements=0 if frozen else inputs,
        # Input, output, and the output after norm and activation.
        working_elements=inputs + 2 * outputs,
    )


def _with_projection(layer: Layer, geometry: Geometry, frames: int) -> Layer:
    channels, hidden = geometry.conv_dim[-1], geometry.hidden
    return Layer(
        name=layer.name,
        frozen=layer.frozen,
        # Layer norm, projection, and the vector that stands for masked frames.
        trained=layer.trained + 2 * channels + channels * hidden + hidden + hidden,
        frozen_flops=layer.frozen_flops,
        trained_flops=layer.trained_flops + 2.0 * frames * channels * hidden,
        input_elements=layer.input_elements or frames * channels,
        working_elements=max(layer.working_elements, frames * (2 * channels + 2 * hidden)),
    )


def _positional(geometry: Geometry, frames: int) -> Layer:
    hidden, kernel = geometry.hidden, geometry.positional_kernel
    per_group = hidden // geometry.positional_groups
    norm = 0 if geometry.stable_layer_norm else 2 * hidden
    return Layer(
        name="Positional Embedding",
        frozen=0,
        # A weight-normalized convolution: direction, one magnitude per tap, bias.
        trained=hidden * per_group * kernel + kernel + hidden + norm,
        frozen_flops=0.0,
        trained_flops=2.0 * frames * kernel * hidden * per_group,
        input_elements=frames * hidden,
        working_elements=4 * frames * hidden,
    )


def _transformer(geometry: Geometry, index: int, frames: int) -> Layer:
    hidden, wide = geometry.hidden, geometry.intermediate
    norm = 2 * hidden if geometry.stable_layer_norm and index == geometry.layers - 1 else 0
    return Layer(
        name=f"Encoder {index}",
        frozen=0,
        trained=4 * (hidden * hidden + hidden) + 2 * hidden * wide + wide + hidden + 4 * hidden + norm,
        frozen_flops=0.0,
        trained_flops=frames * (8.0 * hidden**2 + 4.0 * hidden * wide) + 4.0 * frames**2 * hidden,
        input_elements=frames * hidden,
        # Four matrices frames x frames per head (scores, softmax, dropout, a gradient), ten tensors of the hidden size
        # and three of the feed-forward.
        working_elements=4 * geometry.heads * frames**2 + 10 * frames * hidden + 3 * frames * wide,
    )


def _head(geometry: Geometry, frames: int) -> Layer:
    hidden, labels = geometry.hidden, geometry.labels
    return Layer(
        name="Project Hidden",
        frozen=0,
        trained=hidden * labels + labels,
        frozen_flops=0.0,
        trained_flops=2.0 * frames * hidden * labels,
        input_elements=frames * hidden,
        # Logits, log-probabilities, and CTC's alphas and betas over the extended labels are of this order.
        working_elements=frames * (2 * hidden + 4 * labels),
        loss_flops=2.0 * frames * CTC_STEP_FLOPS,
    )
