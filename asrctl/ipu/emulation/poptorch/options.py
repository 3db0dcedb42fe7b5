"""Emulated poptorch.Options: every setting that optimum-graphcore makes for CTC models, checked; others are refused."""

from __future__ import annotations

import copy
from typing import Any, Dict, Optional

import torch

from ._errors import NotEmulated, refuse_unknown
from ._stages import PipelinedExecution, ShardedExecution, Strategy
from .enums import ConnectionType, OutputMode, ReductionType


class _Settings:
    """Named values: read as attributes, changed through methods, and not at all once an executor has taken them."""

    _name = ""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(_values=values, _frozen=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        values = self.__dict__.get("_values", {})
        if name not in values:
            raise NotEmulated(f"poptorch.{self._name}.{name}")
        return values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        raise NotEmulated(f"poptorch.{self._name}.{name} = {value!r}")

    def _set(self, **values: Any):
        if self._frozen:
            raise AttributeError("Can't modify frozen Options")
        self._values.update(values)
        return self

    def _freeze(self, frozen: bool = True) -> None:
        self.__dict__["_frozen"] = frozen
        for value in self._values.values():
            if isinstance(value, _Settings):
                value._freeze(frozen)

    def exists(self, name: str) -> bool:
        return name in self._values

    def as_dict(self) -> Dict[str, Any]:
        """The values as plain data, nested; the same for two equal sets of options."""
        return {
            name: value.as_dict() if isinstance(value, (_Settings, Strategy)) else str(value)
            for name, value in sorted(self._values.items())
        }


class _Precision(_Settings):
    _name = "Options.Precision"

    def enableStochasticRounding(self, enabled: bool):
        return self._set(stochastic_rounding=_flag("enableStochasticRounding", enabled))

    def setPartialsType(self, dtype: torch.dtype):
        """Kept, without effect: how a host matmul accumulates is not ours to choose."""
        if dtype not in (torch.float16, torch.float32):
            raise ValueError("setPartialsType takes torch.float16 or torch.float32")
        return self._set(partials_type=dtype)


class _Training(_Settings):
    _name = "Options.Training"

    def gradientAccumulation(self, gradient_accumulation: int):
        return self._set(gradient_accumulation=_count("gradientAccumulation", gradient_accumulation))

    def accumulationAndReplicationReductionType(self, reduction_type: ReductionType):
        if reduction_type not in (ReductionType.Sum, ReductionType.Mean):
            raise ValueError("accumulationAndReplicationReductionType takes ReductionType.Mean or ReductionType.Sum")
        return self._set(reduction_type=ReductionType(reduction_type))

    def setAutomaticLossScaling(self, enabled: bool):
        """Only off: the device's scaling follows histograms of gradients inside PopART, which nobody else has."""
        if _flag("setAutomaticLossScaling", enabled):
            raise NotEmulated("poptorch.Options.Training.setAutomaticLossScaling(True); use a fixed loss scaling")
        return self


class _Popart(_Settings):
    """PopART's own settings. Those below change speed, memory or files, never results, and have no effect here."""

    _name = "Options._Popart"
    _known = (
        "saveInitializersToFile",
        "disableGradAccumulationTensorStreams",
        "accumulateOuterFragmentSettings.schedule",
        "accumulateOuterFragmentSettings.excludedVirtualGraphs",
        "outlineThreshold",
        "subgraphCopyingStrategy",
        "scheduleNonWeightUpdateGradientConsumersEarly",
        "engineOptions",
    )
    _known_patterns = ("TiedGather", "TiedGatherAccumulate", "UpdateInplacePrioritiesForIpu")

    def set(self, key: str, value: Any):
        if key not in self._known:
            raise NotEmulated(f"poptorch.{self._name}.set({key!r})")
        return self._set(**{key: value})

    def setPatterns(self, patterns: Dict[str, bool]):
        for name in patterns:
            if name not in self._known_patterns:
                raise NotEmulated(f"poptorch.{self._name}.setPatterns({name!r})")
        return self._set(patterns=dict(patterns))

    def as_dict(self) -> Dict[str, Any]:
        # A temporary file, another one in every process.
        return {name: value for name, value in super().as_dict().items() if name != "saveInitializersToFile"}


class TensorLocationSettings(_Settings):
    """Where tensors live on a device; here they all live in the host's memory."""

    _name = "TensorLocationSettings"

    def useOnChipStorage(self, use: bool = True):
        return self._set(on_chip=_flag("useOnChipStorage", use))

    def useReplicatedTensorSharding(self, use: bool = True):
        return self._set(sharded=_flag("useReplicatedTensorSharding", use))


class _TensorLocations(_Settings):
    _name = "Options.TensorLocations"

    def setOptimizerLocation(self, location: TensorLocationSettings):
        if not isinstance(location, TensorLocationSettings):
            raise ValueError("setOptimizerLocation takes poptorch.TensorLocationSettings")
        return self._set(optimizer=location)


class Options(_Settings):
    _name = "Options"

    def __init__(self) -> None:
        super().__init__(
            replication_factor=1,
            device_iterations=1,
            output_mode=OutputMode.Default,
            output_return_period=1,
            connection_type=ConnectionType.Always,
            auto_round_num_ipus=False,
            available_memory_proportion={},
            executable_cache=None,
            execution_strategy=PipelinedExecution(),
            Precision=_Precision(stochastic_rounding=False, partials_type=torch.float32),
            Training=_Training(gradient_accumulation=1, reduction_type=ReductionType.Mean),
            TensorLocations=_TensorLocations(),
            _Popart=_Popart(),
        )

    def autoRoundNumIPUs(self, auto_round_num_ipus: bool = True):
        return self._set(auto_round_num_ipus=_flag("autoRoundNumIPUs", auto_round_num_ipus))

    def replicationFactor(self, replication_factor: int):
        return self._set(replication_factor=_count("replicationFactor", replication_factor))

    def deviceIterations(self, device_iterations: int):
        return self._set(device_iterations=_count("deviceIterations", device_iterations))

    def outputMode(self, output_mode: OutputMode, output_return_period: Optional[int] = None):
        """`output_return_period` is the N of EveryN, and must divide the device iterations."""
        if output_mode == OutputMode.EveryN:
            output_return_period = _count("output_return_period", output_return_period)
        return self._set(output_mode=OutputMode(output_mode), output_return_period=output_return_period or 1)

    def randomSeed(self, random_seed: int):
        return self._set(random_seed=int(random_seed))

    def setExecutionStrategy(self, strategy: Strategy):
        if not isinstance(strategy, (PipelinedExecution, ShardedExecution)):
            raise NotEmulated(f"poptorch.Options.setExecutionStrategy({type(strategy).__name__})")
        return self._set(execution_strategy=strategy)

    def setAvailableMemoryProportion(self, available_memory_proportion: Dict[str, float]):
        for ipu, share in available_memory_proportion.items():
            if not (ipu.startswith("IPU") and ipu[3:].isdigit()):
                raise ValueError(f"setAvailableMemoryProportion takes keys like 'IPU0', not {ipu!r}")
            if not 0 <= share <= 1:
                raise ValueError(f"the memory proportion of {ipu} must lie in [0, 1], not {share}")
        return self._set(available_memory_proportion=dict(available_memory_proportion))

    def enableExecutableCaching(self, path: Optional[str]):
        return self._set(executable_cache=path)

    def useOfflineIpuTarget(self, ipu_version: int = 2):
        """For compiling only: running a model with these options is an error."""
        if ipu_version not in (2, 21):
            raise NotEmulated(f"poptorch.Options.useOfflineIpuTarget({ipu_version})")
        return self._set(connection_type=ConnectionType.Never)

    def clone(self) -> Options:
        twin = copy.deepcopy(self)
        twin._freeze(False)
        return twin

    def as_dict(self) -> Dict[str, Any]:
        # Neither where the cache lies nor the seed changes what is compiled.
        return {k: v for k, v in super().as_dict().items() if k not in ("executable_cache", "random_seed")}


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} takes a whole number of at least 1, not {value!r}")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} takes True or False, not {value!r}")
    return value


__getattr__ = refuse_unknown(__name__)
