"""The class that a training model takes on while it is wrapped, and whether we are on the (emulated) device."""

from __future__ import annotations

import contextlib
from typing import Iterator

import torch

from ._errors import Error, refuse_unknown

_on_ipu = False


def isRunningOnIpu() -> bool:
    """True inside the forward pass of a wrapped model."""
    return _on_ipu


@contextlib.contextmanager
def on_ipu() -> Iterator[None]:
    global _on_ipu
    _on_ipu = True
    try:
        yield
    finally:
        _on_ipu = False


def host_class(model: torch.nn.Module) -> type:
    """The class that `model` has, or had before it was wrapped for training."""
    return getattr(type(model), "_poptorch_wraps", type(model))


def wrap_model(model: torch.nn.Module) -> None:
    """Renames the model's class as poptorch does: whoever saves it now saves that name."""
    cls = type(model)
    if host_class(model) is not cls:
        raise Error(
            "Model has already been wrapped in 'poptorch.trainingModel'. Call model.destroy() on the model to unwrap "
            "before wrapping again."
        )
    attributes = {"_poptorch_wraps": cls, "__module__": cls.__module__}
    model.__class__ = type("Poptorch" + cls.__name__, (cls,), attributes)


def unwrapModelIfNecessary(model: torch.nn.Module) -> None:
    if host_class(model) is not type(model):
        model.__dict__["_poptorch_class"] = type(model)
        model.__class__ = host_class(model)


def rewrapModelIfNecessary(model: torch.nn.Module) -> None:
    wrapped = model.__dict__.pop("_poptorch_class", None)
    if wrapped is not None:
        model.__class__ = wrapped


__getattr__ = refuse_unknown(__name__)
