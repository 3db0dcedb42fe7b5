"""Which weights of a model learn, as a recipe has it: the one place that says so, for whatever builds a model.

What never learns has no `requires_grad` from the start, and optimizer, memory, cache and engine go by that. What learns
from some step on (`Stages`) counts as learning for all of these.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Dict, FrozenSet, List, Optional, Tuple

from torch import nn

from asrctl.config.recipe import ModelSection, OptimSection
from asrctl.data.collate import FeatureRules
from asrctl.errors import PresetError
from asrctl.messages import amounts, suggestions
from asrctl.models import base_model, language_adapters, lora, lora_weights
from asrctl.models.depths import depths
from asrctl.models.padding import conv_layers_of
from asrctl.runtime import compat


def chosen(model: nn.Module, section: ModelSection, rules: FeatureRules) -> nn.Module:
    """The model, whose weights learn where the recipe wants that; all others do not.

    rules: how the model hears. What is added to a model to learn beside it is drawn by torch's random numbers.
    Raises PresetError where a key fits no such model, or nothing is left to learn.
    """
    if section.language is not None:
        _freeze_all_but(model, language_adapters.names(model))
    elif section.lora.rank:
        lora.inject(model, section.lora, rules)
    elif section.freeze_feature_encoder:
        _freeze_convolutions(model)
    _freeze_named(model, section.freeze)
    _freeze_lowest(model, section.freeze_layers)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise PresetError(
            "none of the model's weights is left to learn", fix="leave out some of model.freeze and model.freeze_layers"
        )
    return model


def are_kept_alone(section: ModelSection) -> bool:
    """Whether a run keeps what it learns, and a base has the rest."""
    return section.language is not None or section.lora.rank > 0


def refuse_base(section: ModelSection, folder: Path) -> None:
    """Raises PresetError for a folder that only adds to another model in another way than is to be trained now."""
    is_lora = lora_weights.is_in(folder)
    if is_lora if section.language is not None else section.lora.rank and base_model.of(folder) is not None:
        kind = "a run of model.lora" if is_lora else "one language of a model of many"
        merge = " --merge" if is_lora else ""
        raise PresetError(
            f"{folder} is {kind}, which only adds to its base, and can not be a base itself",
            fix=f"make a whole folder of it (`asrctl export --run NAME{merge} --output FOLDER`), and start from that",
        )


def names_kept(model: nn.Module, language: Optional[str]) -> FrozenSet[str]:
    """The names of what is kept of such a run; in memory, but for halves of a weight norm those on disk."""
    return lora.names(model) if language is None else language_adapters.names(model)


def _freeze_all_but(model: nn.Module, names: FrozenSet[str]) -> None:
    """names: as they are on disk."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(compat.canonical_name(name) in names)


def _freeze_convolutions(model: nn.Module) -> None:
    """Leave the convolutions over samples as they are, where a model has any."""
    layers = conv_layers_of(model)
    if layers is not None and hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()
    elif layers is not None:
        layers.requires_grad_(False)


def _freeze_named(model: nn.Module, patterns: Tuple[str, ...]) -> None:
    named = {compat.canonical_name(name): parameter for name, parameter in model.named_parameters()}
    for pattern in patterns:
        found = [parameter for name, parameter in named.items() if fnmatchcase(name, pattern)]
        if not found:
            raise PresetError(
                f"model.freeze has {pattern!r}, and no weight of this {model.config.model_type} model is called so",
                fix=f"correct it; {_example(named, pattern)}",
            )
        for parameter in found:
            parameter.requires_grad_(False)


def _example(named: Dict[str, nn.Parameter], pattern: str) -> str:
    """What would be right: a pattern that is a part of names, or the name of one weight."""
    if any(pattern in name for name in named):
        return f"a pattern is for whole names: *{pattern}*"
    names = list(named)
    return f"names are like {(suggestions.closest(pattern, names) or [names[len(names) // 2]])[0]}"


def _freeze_lowest(model: nn.Module, count: int) -> None:
    if not count:
        return
    depth, top = depths(model)
    if count >= top:
        raise PresetError(
            f"model.freeze_layers is {count}, and the model has {amounts.count(top - 1, 'transformer layer')}",
            fix=f"set it to a number from 0 to {top - 1}",
        )
    for name, parameter in model.named_parameters():
        if depth[name] <= count:
            parameter.requires_grad_(False)


class Stages:
    """Which of the weights that are to learn do so at a step.

    At first the head alone, or what is uppermost of all that learns, for `optim.head_only_steps` (Baevski et al. 2020,
    appendix B; fairseq's freeze_finetune_updates). Then one transformer layer more every `optim.unfreeze_every` steps,
    from the top down, and last what comes before them (Howard and Ruder 2018, section 3.3), or all at once.
    """

    def __init__(self, model: nn.Module, optim: OptimSection) -> None:
        self._model = model
        self._first: List[Tuple[nn.Parameter, int]] = []
        if optim.head_only_steps or optim.unfreeze_every:
            self._first = _first_steps(model, optim)

    def enter(self, step: float) -> None:
        """Let learn what does so at this step (0-based, of the recipe's schedule), and switch to training."""
        for parameter, first in self._first:
            parameter.requires_grad_(step >= first)
        self._model.train()
        for module in self._model.modules():
            # What a frozen batch norm has counted stays as it is, too.
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and _is_frozen(module):
                module.eval()


def _first_steps(model: nn.Module, optim: OptimSection) -> List[Tuple[nn.Parameter, int]]:
    """The weights that learn, each with the first step that it does so in."""
    depth, top = depths(model)
    learning = [(parameter, depth[name]) for name, parameter in model.named_parameters() if parameter.requires_grad]
    uppermost = max(place for _, place in learning)
    wait, every = optim.head_only_steps, optim.unfreeze_every
    return [(parameter, 0 if place == uppermost else wait + every * (top - 1 - place)) for parameter, place in learning]


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def rate_shares(model: nn.Module, optim: OptimSection) -> Dict[str, float]:
    """{name of a weight: its learning rate as a share of the head's}, by `optim.layer_decay`; empty where that is 1.

    Each layer has the rate of the one above it times that (Clark et al. 2020, counted as by Bao et al. 2022: the last
    transformer layer is one below the head, and what comes before the layers one below the first).
    """
    if optim.layer_decay == 1:
        return {}
    depth, top = depths(model)
    return {name: optim.layer_decay ** (top - place) for name, place in depth.items()}
