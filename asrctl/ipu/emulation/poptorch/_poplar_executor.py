"""The emulated executor: compiles a model for fixed inputs, and runs combined batches through it."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from types import MethodType
from typing import Any, Dict, List, Optional

import torch

from . import _impl, optim
from ._accumulate import MeanGradient
from ._errors import Error, NotEmulated, refuse_unknown
from ._graph import Graph
from ._inputs import check, describe, micro_batch, name_inputs
from ._outputs import combine
from ._rounding import Store
from ._stages import Placement
from ._trees import map_tensors
from .enums import ConnectionType, OutputMode, ReductionType
from .options import Options

_log = logging.getLogger("poptorch")


class PoplarExecutor:
    """A model wrapped by `trainingModel` or `inferenceModel`.

    A combined batch holds, along the first dimension, device iterations x accumulation x replicas x micro-batch. The
    optimizer steps once per device iteration, on the mean (or sum) of the gradients of its micro-batches, added up in
    the order of the data.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        options: Optional[Options],
        training: bool,
        optimizer: Optional[optim.Optimizer] = None,
    ) -> None:
        options = Options() if options is None else options
        if not isinstance(options, Options):
            raise Error(f"Invalid type: 'options' is of type {type(options)} (Expected poptorch.Options)")
        options._freeze()
        options = options.clone()
        if options.output_mode == OutputMode.Default:
            options.outputMode(OutputMode.Final if training else OutputMode.All)
        if not training and options.Training.gradient_accumulation != 1:
            raise Error(
                "You must set poptorch.Options().Training.gradientAccumulation to 1 or leave it as its default value "
                "(1) when running a poptorch.inferenceModel()."
            )
        self._user_model, self._options, self._training = model, options, training
        self._graph: Optional[Graph] = None
        self._input_specs: Dict[str, Any] = {}
        self._attached = False
        self._seed, self._calls = options.random_seed if options.exists("random_seed") else 0, 0
        self._optimizer: Optional[optim.Optimizer] = None
        self._optimizer_state: Dict[str, optim.State] = {}
        if training:
            self.setOptimizer(optim.SGD(model.parameters(), lr=0.01) if optimizer is None else optimizer)
            _impl.wrap_model(model)
        options._freeze()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_user_model" not in self.__dict__:
            raise AttributeError(name)
        if not hasattr(self._user_model, name):
            raise NotEmulated(f"poptorch.PoplarExecutor.{name}")
        return getattr(self._user_model, name)

    @property
    def model(self) -> torch.nn.Module:
        return self._user_model

    @property
    def options(self) -> Options:
        return self._options

    @property
    def placements(self) -> List[Placement]:
        """The blocks of the compiled model in the order of execution. Only the emulation has this."""
        self._need_executable()
        return list(self._options.execution_strategy.placements)

    @property
    def rng_state(self) -> List[int]:
        """[seed, number of calls so far]: setting it in another process continues the same random numbers there."""
        self._need_executable()
        return [self._seed, self._calls]

    @rng_state.setter
    def rng_state(self, state: List[int]) -> None:
        self._need_executable()
        self._seed, self._calls = state

    # The device

    def isCompiled(self) -> bool:
        return self._graph is not None

    def isAttachedToDevice(self) -> bool:
        return self._attached

    def attachToDevice(self) -> None:
        self._need_executable()
        if self._options.connection_type == ConnectionType.Never:
            raise AssertionError("Trying to attach to an offline device (ConnectionType.Never)")  # poptorch's class
        if self._attached:
            raise Error("Device is already attached")
        self._attached = True
        if self._optimizer is not None and self._optimizer.has_state():
            self._optimizer.ipu_state_is_dirty = True
            self._write_optimizer_state()

    def detachFromDevice(self) -> None:
        self._need_executable()
        if not self._attached:
            raise Error("Device is not attached")
        self._read_optimizer_state()
        self._attached = False

    def copyWeightsToHost(self) -> None:
        """Host and emulated device have the same tensors: there is nothing to copy."""
        self._need_executable()

    def copyWeightsToDevice(self) -> None:
        self._need_executable()

    def load_state_dict(self, state_dict: Dict[str, torch.Tensor], strict: bool = True) -> Any:
        return self._user_model.load_state_dict(state_dict, strict)

    def destroy(self) -> None:
        """Gives up executable and device, and gives the model its class back."""
        if self._graph is None:
            return
        self._read_optimizer_state()
        self._graph, self._attached = None, False
        _impl.unwrapModelIfNecessary(self._user_model)
        self._user_model.__dict__.pop("_poptorch_class", None)

    def _need_executable(self) -> None:
        if self._graph is None:
            raise Error("Model has not been compiled or has been destroyed.")

    # The optimizer

    def setOptimizer(self, optimizer: optim.Optimizer) -> None:
        """Tells the device the optimizer's hyper-parameters; a learning rate changed later needs another call."""
        if not isinstance(optimizer, optim.Optimizer):
            kind = type(optimizer)
            raise NotEmulated(f"{kind.__module__}.{kind.__qualname__} as the optimizer of poptorch.trainingModel")
        if self.isCompiled() and optimizer is not self._optimizer:
            self._read_optimizer_state()
            self._optimizer.state_dict = self._optimizer.get_state_dict
            optimizer.ipu_state_is_dirty = True
        self._optimizer, self._hyper_parameters = optimizer, optimizer.hyper_parameters()
        optimizer.state_dict = MethodType(PoplarExecutor._optimizer_state_dict, self)
        if self._attached:
            self._write_optimizer_state()

    def _optimizer_state_dict(self) -> Dict[str, Any]:
        self._read_optimizer_state()
        return self._optimizer.get_state_dict()

    def _read_optimizer_state(self) -> None:
        if self._optimizer is None or not self._optimizer.host_state_is_dirty:
            return
        state = {
            f"{kind}___{name}": tensor.clone()
            for name, kinds in self._optimizer_state.items()
            for kind, tensor in kinds.items()
        }
        settings = {
            f"{setting}___group{index}": torch.tensor(value)
            for index, group in enumerate(self._hyper_parameters)
            for setting, value in group.items()
        }
        settings["lossScaling"] = torch.tensor(self._optimizer.loss_scaling)
        self._optimizer.set_state_dict({"ipu_state": state, "ipu_param": settings})
        self._optimizer.ipu_state_is_dirty = False

    def _write_optimizer_state(self) -> None:
        if not self._optimizer.ipu_state_is_dirty:
            return
        self._optimizer_state = {}
        if self._optimizer.has_state():
            for key, tensor in self._optimizer._state_dict["ipu_state"].items():
                kind, name = key.split("___", 1)
                self._optimizer_state.setdefault(name, {})[kind] = tensor.clone()
        self._optimizer.ipu_state_is_dirty = False

    # Compiling

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Builds the executable for inputs like these, and attaches to the device unless the target is offline."""
        if self.isCompiled():
            _log.warning("Call to compile() ignored: the executable is already compiled")
            return
        inputs = name_inputs(self._user_model, args, kwargs)
        strategy = self._options.execution_strategy
        first = micro_batch(inputs, 0, self._micro_batches)
        graph = Graph(
            self._user_model, first, training=self._training, strategy=strategy, seed=self._micro_batch_seed(0)
        )
        o = self._options
        strategy.check_depth(
            training=self._training,
            micro_batches=o.Training.gradient_accumulation if self._training else o.device_iterations,
        )
        self._input_specs = describe(inputs)
        if o.executable_cache:
            self._keep_executable(Path(o.executable_cache))
        self._graph = graph
        if o.connection_type != ConnectionType.Never:
            self.attachToDevice()

    def _keep_executable(self, folder: Path) -> None:
        """A file that names what was compiled stands for the executable; compiling is too quick here to be saved."""
        parameters = [(name, str(p.dtype), tuple(p.shape)) for name, p in self._user_model.named_parameters()]
        contents = json.dumps(
            {
                "emulated": True,
                "training": self._training,
                "inputs": repr(self._input_specs),
                "options": self._options.as_dict(),
                "placements": self._options.execution_strategy.placements,
                "parameters": parameters,
            },
            indent=1,
        )
        path = folder / (hashlib.sha256(contents.encode()).hexdigest()[:20] + ".popef")
        if path.exists():
            _log.info("emulated executable found in the cache: %s", path)
            return
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(contents, encoding="utf-8")

    # Running

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """One combined batch. Returns the model's outputs, for as many micro-batches as the output mode says."""
        if self._options.connection_type == ConnectionType.Never:
            raise AssertionError(  # poptorch's class
                "Trying to run a model on an offline device (ConnectionType.Never): use model.compile(inputs) instead "
                "of model(inputs)"
            )
        if not self.isCompiled():
            self.compile(*args, **kwargs)
        if not self._attached:
            self.attachToDevice()
        inputs = name_inputs(self._user_model, args, kwargs)
        check(inputs, self._input_specs)
        outputs = self._train(inputs) if self._training else self._infer(inputs)
        self._calls += 1
        o = self._options
        return combine(
            outputs,
            mode=o.output_mode,
            period=o.output_return_period,
            iterations=o.device_iterations,
            replicas=o.replication_factor,
        )

    def _infer(self, inputs: Dict[str, Any]) -> List[Any]:
        n = self._micro_batches
        with torch.no_grad():
            return [self._graph.run(micro_batch(inputs, i, n), self._micro_batch_seed(i)).outputs for i in range(n)]

    def _train(self, inputs: Dict[str, Any]) -> List[Any]:
        self._write_optimizer_state()
        outputs: List[Any] = []
        n = self._micro_batches
        for iteration in range(self._options.device_iterations):
            per_step = n // self._options.device_iterations
            store = Store(
                stochastic=self._options.Precision.stochastic_rounding,
                seed=_hash("rounding", self._seed, self._calls, iteration),
            )
            gradient = MeanGradient(
                {name: p for name, p in self._user_model.named_parameters() if p.requires_grad},
                micro_batches=per_step,
                dtype=self._optimizer.accum_type,
                mean=self._options.Training.reduction_type == ReductionType.Mean,
                loss_scaling=self._optimizer.loss_scaling,
                store=store,
            )
            for i in range(iteration * per_step, (iteration + 1) * per_step):
                with torch.enable_grad():
                    result = self._graph.run(micro_batch(inputs, i, n), self._micro_batch_seed(i))
                    gradient.add(result.loss)
                outputs.append(map_tensors(result.outputs, torch.Tensor.detach))
            self._step(gradient.result(), store)
        self._optimizer.host_state_is_dirty = True
        # Steps have been taken, though not by optimizer.step(): learning rate schedulers look for this.
        self._optimizer._opt_called = True
        return outputs

    @torch.no_grad()
    def _step(self, gradients: Dict[str, torch.Tensor], store: Store) -> None:
        names = {id(p): name for name, p in self._user_model.named_parameters()}
        for group, hyper in zip(self._optimizer.param_groups, self._hyper_parameters):
            for p in group["params"]:
                name = names.get(id(p))
                if name is None:
                    raise Error("the optimizer holds a parameter that is not the model's")
                if name in gradients:
                    state = self._optimizer_state.setdefault(name, {})
                    store(p, self._optimizer.device_update(p.float(), gradients[name], state, hyper, store))

    @property
    def _micro_batches(self) -> int:
        """In a combined batch."""
        o = self._options
        return o.device_iterations * o.replication_factor * o.Training.gradient_accumulation

    def _micro_batch_seed(self, index: int) -> int:
        return _hash("micro-batch", self._seed, self._calls, index)


def _hash(*key: Any) -> int:
    """63 bits, the same for the same key everywhere."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


__getattr__ = refuse_unknown(__name__)
