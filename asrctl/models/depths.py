"""How deep in a model each of its weights lies: before, in or behind the transformer layers."""

from __future__ import annotations

from typing import Dict, Tuple

from torch import nn

from asrctl.models import ctc

# What the lists of transformer layers are called in transformers' models.
_LISTS = ("layers", "layer")
# Parts beside these lists that come after them; all others come before.
_AFTER = ("out_norm", "upsample")
# Types whose last norm, called as the others' first, comes after the layers although no key of theirs says so.
_NORM_AFTER = ("wav2vec2-conformer", "omniasr_ctc")


def layers_of(model: nn.Module) -> Tuple[str, nn.ModuleList]:
    """The model's transformer layers, the first one being next to its input, and the name of their list."""
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and name.rpartition(".")[2] in _LISTS and "pos_conv" not in name
    ]
    return max(lists, key=lambda item: sum(parameter.numel() for parameter in item[1].parameters()))


def depths(model: nn.Module) -> Tuple[Dict[str, int], int]:
    """{name of each weight in this model: its depth}, and that of the head, the largest.

    0: what comes before the transformer layers. 1 and so on: these. What comes between them and the head has that of
    the last.
    """
    prefix, layers = layers_of(model)
    top = len(layers) + 1
    head = {id(parameter) for parameter in ctc.head_of(model).parameters()}
    found = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in head:
            found[name] = top
        elif name.startswith(f"{prefix}."):
            found[name] = 1 + int(name[len(prefix) + 1 :].partition(".")[0])
        else:
            found[name] = len(layers) if _comes_after(model, name, prefix.rpartition(".")[0]) else 0
    return found, top


def _comes_after(model: nn.Module, name: str, around: str) -> bool:
    """Whether a weight beside the layers is used after them. around: the module that holds their list."""
    part = name[len(around) + 1 :].partition(".")[0] if name.startswith(f"{around}.") else ""
    config = model.config
    stable = getattr(config, "do_stable_layer_norm", False) or config.model_type in _NORM_AFTER
    return part in _AFTER or (part == "layer_norm" and stable)
