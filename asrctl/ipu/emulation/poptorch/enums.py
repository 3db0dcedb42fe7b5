"""Emulated poptorch.enums; the numbers are poptorch's, and end up in optimum-graphcore's pickles."""

from __future__ import annotations

import enum

from ._errors import refuse_unknown


class DataLoaderMode(enum.IntEnum):
    Sync = 0
    Async = 1
    AsyncRebatched = 2


class OutputMode(enum.IntEnum):
    """Which results a call returns; with replicas, each mode returns them for every replica."""

    Final = 0  # of the last micro-batch
    EveryN = 1  # of every Nth device iteration, all its micro-batches
    All = 2
    Sum = 3  # over micro-batches and device iterations
    Default = 4  # All for inference, Final for training


class ConnectionType(enum.IntEnum):
    Always = 0
    OnDemand = 1
    Never = 2


class ReductionType(enum.IntEnum):
    Sum = 0
    Mean = 1
    NoReduction = 2


class AutoStage(enum.IntEnum):
    SameAsIpu = 0
    AutoIncrement = 1


class MatMulSerializationMode(enum.Enum):
    InputChannels = "input_channels"
    ReducingDim = "reducing_dim"
    OutputChannels = "output_channels"
    Disabled = "none"


__getattr__ = refuse_unknown(__name__)
