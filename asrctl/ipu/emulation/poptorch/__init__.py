"""Emulated poptorch: what optimum-graphcore's CTC models and IPUTrainer use of it. See asrctl.ipu.emulation."""

from __future__ import annotations

import logging
from typing import Optional, Union

import torch

from . import optim
from ._dataloader import DataLoader  # noqa: F401
from ._errors import Error, NotEmulated, refuse_unknown  # noqa: F401
from ._impl import isRunningOnIpu  # noqa: F401
from ._poplar_executor import PoplarExecutor
from .enums import (  # noqa: F401
    AutoStage,
    ConnectionType,
    DataLoaderMode,
    MatMulSerializationMode,
    OutputMode,
    ReductionType,
)
from .ops import BeginBlock, identity_loss, recomputationCheckpoint, removeBlocks  # noqa: F401
from .options import Options, PipelinedExecution, ShardedExecution, TensorLocationSettings  # noqa: F401

__version__ = "3.3.0+emulated"

_LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARN": 30, "ERR": 40, "OFF": 100}


def trainingModel(
    model: torch.nn.Module, options: Optional[Options] = None, optimizer: Optional[optim.Optimizer] = None
) -> PoplarExecutor:
    """Wraps `model` for training. Its class is renamed until `destroy()`."""
    return PoplarExecutor(_unwrapped(model), options, True, optimizer)


def inferenceModel(model: torch.nn.Module, options: Optional[Options] = None) -> PoplarExecutor:
    """Wraps `model` for inference."""
    return PoplarExecutor(_unwrapped(model), options, False)


def _unwrapped(model: Union[torch.nn.Module, PoplarExecutor]) -> torch.nn.Module:
    if isinstance(model, PoplarExecutor):
        return model.model
    if not isinstance(model, torch.nn.Module):
        raise NotEmulated(f"a {type(model).__name__} as a model")
    return model


def ipuHardwareVersion() -> int:
    """2: a Mk2 IPU."""
    return 2


def setLogLevel(level: Union[str, int]) -> None:
    """TRACE, DEBUG, INFO, WARN, ERR or OFF."""
    if level not in _LEVELS:
        raise ValueError(f"unknown log level {level!r}; use one of {', '.join(_LEVELS)}")
    logging.getLogger("poptorch").setLevel(_LEVELS[level])


__getattr__ = refuse_unknown(__name__)
