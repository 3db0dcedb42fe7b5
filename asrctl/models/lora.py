"""LoRA and kin, by PEFT: small matrices beside the frozen ones of a model, which learn together with its head."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Set

import numpy as np
import torch
from torch import nn

from asrctl.config.recipe import LoraSection
from asrctl.data.collate import FeatureRules, collate
from asrctl.errors import MissingDependency, PresetError
from asrctl.messages import reasons, suggestions
from asrctl.messages.command_lines import pip_install
from asrctl.models import ctc, library, lora_weights, weight_matching
from asrctl.models.base_model import BaseModel
from asrctl.models.depths import layers_of
from asrctl.runtime import compat
from asrctl.storage import files

_NAME = "default"
_PARTS = (".lora_A.", ".lora_B.", ".lora_magnitude_vector.")
# Enough for every encoder to make frames of.
_PROBE_S = 0.5
# Of matrices in int8: WavLM's gates have 8 outputs, are given four dimensions, and take no memory to speak of.
_SMALLEST = 16


def require() -> Any:
    """PEFT. Raises MissingDependency where it is not installed, or not for the installed transformers."""
    with compat.quiet_transformers():
        try:
            import peft
        except ImportError as error:
            if library.is_installed("peft"):
                raise MissingDependency(
                    f"model.lora is on, and the installed peft does not work with transformers {library.version()} "
                    f"({reasons.reason(error)})",
                    fix="install a transformers that it works with, or set model.lora.rank=0",
                ) from None
            raise MissingDependency(
                "model.lora is on, and the package peft is not installed", fix=pip_install("asrctl[lora]")
            ) from None
    return peft


def inject(model: nn.Module, section: LoraSection, rules: FeatureRules) -> None:
    """Put the matrices into a model that has its weights, drawn by torch's random numbers. All else is frozen.

    Raises PresetError where a target is not there or would have no effect, MissingDependency.
    """
    peft = require()
    heard = _called(model, _linear(model), rules)
    targets = _targets(model, section, heard)
    if section.base == "bf16":
        _halve(model)
    elif section.base == "int8":
        _quantize(model, heard)
    config = peft.LoraConfig(
        r=section.rank,
        lora_alpha=section.alpha,
        lora_dropout=section.dropout,
        target_modules=targets,
        use_rslora=section.variant == "rslora",
        use_dora=section.variant == "dora",
    )
    peft.inject_adapter_in_model(config, model, adapter_name=_NAME)
    for name, parameter in model.named_parameters():
        learns = is_part(name) or compat.canonical_name(name) in weight_matching.head_names(model)
        parameter.requires_grad_(learns)
        if learns:
            parameter.data = parameter.data.float()


def is_part(name: str) -> bool:
    """Whether a weight of the model in memory is one of these matrices."""
    return any(part in name for part in _PARTS)


def names(model: nn.Module) -> FrozenSet[str]:
    """Names of all that is learned: the matrices and the head."""
    return frozenset(filter(is_part, compat.model_names(model))) | weight_matching.head_names(model)


def _halve(model: nn.Module) -> None:
    """The matrices of linear layers in bf16, which are nearly all of a model; norms and convolutions stay."""
    head = ctc.head_of(model)
    for module in model.modules():
        if type(module) is nn.Linear and module is not head:
            module.weight.data = module.weight.data.to(torch.bfloat16)


def require_int8() -> Any:
    """bitsandbytes, whose matrices of int8 let a gradient through, on a CPU too. Raises MissingDependency."""
    try:
        import bitsandbytes
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingDependency(
            f"model.lora.base is int8, which needs the package bitsandbytes ({reasons.reason(error)})",
            fix=pip_install("asrctl[int8]"),
        ) from None
    # It says for each product that numbers are rounded, which is what it is for.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    return bitsandbytes


def _is_outline(model: nn.Module) -> bool:
    """Whether it has no memory for weights. The mask embedding is made on the CPU all the same, by some releases."""
    return any(parameter.is_meta for parameter in model.parameters())


def _quantize(model: nn.Module, heard: Set[str]) -> None:
    """The linear layers within the transformer layers in int8, but for those whose weights are taken past them.

    What comes before the transformer is masked in place, which results of these can not be. A model without memory for
    weights stays as it is.
    """
    library = require_int8()
    if _is_outline(model):
        return
    below = layers_of(model)[0] + "."
    for name in sorted(name for name in heard if name.startswith(below)):
        module = model.get_submodule(name)
        if min(module.in_features, module.out_features) < _SMALLEST:
            continue
        bias = module.bias is not None
        made = library.nn.Linear8bitLt(module.in_features, module.out_features, bias=bias, has_fp16_weights=False)
        made.load_state_dict(module.state_dict())
        place, _, last = name.rpartition(".")
        setattr(model.get_submodule(place), last, made.to("cpu"))  # which rounds


# -- targets -----------------------------------------------------------------------------------------------------------


def _linear(model: nn.Module) -> Set[str]:
    """Names of the linear layers but for the head."""
    head = ctc.head_of(model)
    return {name for name, module in model.named_modules() if type(module) is nn.Linear and module is not head}


def _targets(model: nn.Module, section: LoraSection, heard: Set[str]) -> List[str]:
    """As PEFT takes them: the ends of names where these are enough, whole names elsewhere."""
    if section.targets:
        return [_checked(target, _linear(model), heard, model) for target in section.targets]
    below = layers_of(model)[0] + "."
    wanted = {name for name in heard if name.startswith(below)}
    ends = {name.rpartition(".")[2] for name in wanted}
    everywhere = {name for name, _ in model.named_modules() if name.rpartition(".")[2] in ends}
    return sorted(ends if everywhere == wanted else wanted)


def _checked(target: str, linear: Set[str], heard: Set[str], model: nn.Module) -> str:
    meant = {name for name in linear if name == target or name.endswith("." + target)}
    if not meant:
        ends = sorted({name.rpartition(".")[2] for name in linear})
        raise PresetError(
            f"model.lora.targets has {target!r}, and no linear layer of this {model.config.model_type} model is "  # type: ignore[union-attr]
            "called so",
            fix=f"{suggestions.question(target, ends)} There are {', '.join(ends)}".strip(),
        )
    deaf = sorted(meant - heard)
    if deaf:
        raise PresetError(
            f"model.lora.targets has {target!r}, and the model takes the weights of {deaf[0]} past the layer, so "
            "nothing beside it would learn",
            fix=f"leave it out; of effect are {', '.join(sorted({name.rpartition('.')[2] for name in heard}))}",
        )
    return target


def _called(model: nn.Module, linear: Set[str], rules: FeatureRules) -> Set[str]:
    """Those layers that a pass goes through. WavLM's attention takes the weights out of its layers, and calls none.

    Of a model without memory for weights all are.
    """
    if _is_outline(model):
        return linear
    found: Set[str] = set()

    def noted(name: str) -> Callable[..., None]:
        return lambda *_: found.add(name)

    hooks = [module.register_forward_hook(noted(name)) for name, module in model.named_modules() if name in linear]
    was_training = model.training
    model.eval()
    try:
        silence = np.zeros(int(_PROBE_S * rules.sample_rate), dtype=np.int16)
        with torch.no_grad():
            ctc.forward(model, exact=True, **collate([silence], rules))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return found


# -- on disk -----------------------------------------------------------------------------------------------------------


def write(folder: Path, model: Any, state: Mapping[str, Any], base: BaseModel, save: Callable[..., None]) -> None:
    """adapter_config.json and adapter_model.safetensors, as PEFT reads them. state: {name in the model: tensor}."""
    settings: Dict[str, Any] = dict(model.peft_config[_NAME].to_dict())
    head = sorted({name.rpartition(".")[0] for name in weight_matching.head_names(model)})
    settings.update(
        base_model_name_or_path=base.checkpoint,
        revision=base.revision,
        inference_mode=True,
        modules_to_save=head,
        auto_mapping={"base_model_class": type(model).__name__, "parent_library": type(model).__module__},
    )
    plain = {name: sorted(value) if isinstance(value, (set, frozenset)) else value for name, value in settings.items()}
    files.write_json(folder / lora_weights.CONFIG, plain)
    save(folder / lora_weights.WEIGHTS, {_on_disk(name): tensor for name, tensor in state.items()})


def _on_disk(name: str) -> str:
    """A name in the model -> PEFT's in the file."""
    for part in _PARTS:
        name = name.replace(f"{part}{_NAME}.weight", f"{part}weight").replace(f"{part}{_NAME}", part.rstrip("."))
    return lora_weights.PREFIX + name.replace(".lora_magnitude_vector.weight", ".lora_magnitude_vector")
