"""The transformer of wav2vec2 and HuBERT over packed frames: utterances laid end to end, no padding anywhere.

Linear layers see one long matrix, attention and the position embedding each utterance alone. Weights are the
transformers module's own; gradients land in their `.grad`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import nn
from torch.nn import functional

from asrctl.models import gradient_checkpointing
from asrctl.models.ctc import no_logits
from asrctl.models.packed import positions, shape_rounding, spec_augment, weight_cache
from asrctl.models.packed.attention import attention
from asrctl.models.packed.dropout import Dice, drop
from asrctl.models.packed.feature_encoder import DTYPES
from asrctl.models.packed.layer_norm import layer_norm
from asrctl.models.packed.linear import linear
from asrctl.models.packed.weight_cache import Copies
from asrctl.models.padding import encoder_of
from asrctl.runtime import compat

_CLASSES = {"Wav2Vec2ForCTC", "HubertForCTC"}


def supports(model: nn.Module) -> bool:
    """Whether `logits` computes what this very model would: transformers' own class, nothing added, nothing unusual."""
    kind, config = type(model), model.config
    if kind.__name__ not in _CLASSES or not kind.__module__.startswith("transformers."):
        return False
    encoder = encoder_of(model)
    usual = (
        config.hidden_act == "gelu"
        and config.feat_extract_activation == "gelu"
        and not getattr(config, "add_adapter", False)
        and getattr(config, "adapter_attn_dim", None) is None
        and compat.weight_norm_halves(encoder.encoder.pos_conv_embed.conv) is not None
        and not getattr(encoder.encoder, "gradient_checkpointing", False)
    )
    parts = [model.lm_head, encoder.feature_projection, encoder.encoder.layers]
    linears = [module for part in parts for module in part.modules() if hasattr(module, "in_features")]
    plain = all(type(module) is nn.Linear and module.bias is not None for module in linears)
    return usual and plain and all(parameter.dtype == torch.float32 for parameter in model.parameters())


def logits(model: nn.Module, features: Sequence[torch.Tensor], *, precision: str) -> Tuple[torch.Tensor, torch.Tensor]:
    """Features of utterances, each (frames, channels) -> packed logits (all frames, vocabulary) float32, frames (n,).

    features: what the convolutional encoder gives each utterance alone, before the feature projection; any float
    type; of what is too short for a frame, none. precision: fp32, bf16 or fp16, of the large matrix products and what
    is kept between them. Dropout, layer drop and SpecAugment apply when the model is in training; they depend on the
    seeds of torch and numpy alone.
    """
    with_frames = [utterance for utterance in features if len(utterance)]
    lengths = torch.tensor([len(utterance) for utterance in features], device=features[0].device)
    return (_logits(model, with_frames, precision) if with_frames else no_logits(model)), lengths


def _logits(model: nn.Module, features: Sequence[torch.Tensor], precision: str) -> torch.Tensor:
    """Packed logits of utterances that all have a frame."""
    counts = [len(utterance) for utterance in features]
    config, speech = model.config, encoder_of(model)
    low = weight_cache.of(model, DTYPES[precision])
    run = _Run(counts, low, config.num_attention_heads, Dice() if model.training else None)
    hidden = torch.cat(list(features)) if len(features) > 1 else features[0]
    frames = len(hidden)
    hidden = functional.pad(
        hidden, (0, 0, 0, shape_rounding.spare(frames, shape_rounding.FRAMES, low.dtype, hidden.device))
    )
    with torch.autocast(hidden.device.type, enabled=False):
        hidden = _projected(hidden.float(), speech.feature_projection, run, config)
        hidden = spec_augment.spec_augment(hidden, counts, model, speech)
        hidden = _encoded(hidden, speech.encoder, run, config)
        hidden = drop(hidden.float(), config.final_dropout, run.dice)
        return functional.linear(hidden, model.lm_head.weight, model.lm_head.bias)[:frames]


def padded(packed: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Packed rows -> (utterances, longest, width), zeros behind the end of each."""
    return nn.utils.rnn.pad_sequence(packed.split(frames.tolist()), batch_first=True)


@dataclass(frozen=True)
class _Run:
    """What stays the same through one forward pass. dice: None outside of training."""

    counts: List[int]
    copies: Copies
    heads: int
    dice: Optional[Dice]


def _projected(hidden: torch.Tensor, projection: nn.Module, run: _Run, config: Any) -> torch.Tensor:
    if hasattr(projection, "layer_norm"):
        hidden = layer_norm(hidden, projection.layer_norm, run.copies)
    return drop(linear(hidden, run.copies, projection.projection), config.feat_proj_dropout, run.dice)


def _encoded(hidden: torch.Tensor, encoder: nn.Module, run: _Run, config: Any) -> torch.Tensor:
    hidden = hidden + positions.embed(hidden, run.counts, encoder.pos_conv_embed.conv)
    first = config.do_stable_layer_norm
    if not first:
        hidden = layer_norm(hidden, encoder.layer_norm, run.copies)
    hidden = drop(hidden, config.hidden_dropout, run.dice)
    layer_of = _norm_first_layer if first else _norm_last_layer
    for layer in encoder.layers:
        # Layer drop (Fan et al. 2020), drawn as transformers draws it.
        if run.dice is not None and config.layerdrop > 0 and torch.rand(()) < config.layerdrop:
            continue
        if gradient_checkpointing.is_on(layer):
            hidden = _recomputed(layer_of, hidden, layer, run, config)
        else:
            hidden = layer_of(hidden, layer, run, config)
    return layer_norm(hidden, encoder.layer_norm, run.copies) if first else hidden


def _recomputed(layer_of: Any, hidden: torch.Tensor, layer: nn.Module, run: _Run, config: Any) -> torch.Tensor:
    dice = None if run.dice is None else run.dice.copy()

    def again(hidden: torch.Tensor) -> Any:
        return layer_of(hidden, layer, replace(run, dice=None if dice is None else dice.copy()), config)

    return gradient_checkpointing.twice(lambda hidden: layer_of(hidden, layer, run, config), again, hidden)


def _norm_last_layer(hidden: torch.Tensor, layer: nn.Module, run: _Run, config: Any) -> torch.Tensor:
    hidden = layer_norm(hidden + _attended(hidden, layer.attention, run, config), layer.layer_norm, run.copies)
    return layer_norm(
        hidden + _fed_forward(hidden, layer.feed_forward, run, config), layer.final_layer_norm, run.copies
    )


def _norm_first_layer(hidden: torch.Tensor, layer: nn.Module, run: _Run, config: Any) -> torch.Tensor:
    hidden = hidden + _attended(layer_norm(hidden, layer.layer_norm, run.copies), layer.attention, run, config)
    return hidden + _fed_forward(
        layer_norm(hidden, layer.final_layer_norm, run.copies), layer.feed_forward, run, config
    )


def _attended(hidden: torch.Tensor, module: nn.Module, run: _Run, config: Any) -> torch.Tensor:
    joined = linear(hidden, run.copies, module.q_proj, module.k_proj, module.v_proj)
    dropout = config.attention_dropout
    mixed = attention(joined, run.counts, run.heads, dropout, run.dice if dropout > 0 else None)
    return drop(linear(mixed, run.copies, module.out_proj), config.hidden_dropout, run.dice)


def _fed_forward(hidden: torch.Tensor, module: nn.Module, run: _Run, config: Any) -> torch.Tensor:
    wide = functional.gelu(linear(hidden, run.copies, module.intermediate_dense))
    wide = drop(wide, config.activation_dropout, run.dice)
    return drop(linear(wide, run.copies, module.output_dense), config.hidden_dropout, run.dice)
