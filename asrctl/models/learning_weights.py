"""Which weights of a model learn, as a recipe has it: the one place that says so, for whatever builds a model."""

from __future__ import annotations

from torch import nn

from asrctl.config.recipe import ModelSection
from asrctl.models.padding import conv_layers_of


def chosen(model: nn.Module, section: ModelSection) -> nn.Module:
    """The model, whose weights learn where the recipe wants that; all others do not."""
    if section.freeze_feature_encoder:
        _freeze_convolutions(model)
    return model


def _freeze_convolutions(model: nn.Module) -> None:
    """Leave the convolutions over samples as they are, where a model has any."""
    layers = conv_layers_of(model)
    if layers is not None and hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()
    elif layers is not None:
        layers.requires_grad_(False)
