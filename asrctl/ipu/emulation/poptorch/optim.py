"""Emulated poptorch.optim: hyper-parameters live on the host, state and steps on the (emulated) device."""

from __future__ import annotations

import math
from typing import Any, Dict, Iterable, List, Optional

import torch

from ._errors import NotEmulated, refuse_unknown
from ._rounding import Store

State = Dict[str, torch.Tensor]
"""Optimizer state of one parameter: kind -> tensor, under PopART's names (Accl1, Accl2, Step)."""

_SWITCHED_OFF = (
    "amsgrad",
    "capturable",
    "centered",
    "differentiable",
    "foreach",
    "fused",
    "max_grad_norm",
    "maximize",
    "nesterov",
    "use_combined_accum",
    "use_tf_variant",
    "velocity_scaling",
)
"""poptorch's keywords that are taken only with a value that switches them off."""


class VariableAttributes:
    """Which attributes the device may see change; others are compiled in."""

    def __init__(self, variable_attributes: Iterable[str], allowed_attributes: Iterable[str]) -> None:
        self._variable, self._allowed = list(variable_attributes), list(allowed_attributes)

    def isConstant(self, attr: str) -> bool:
        return attr not in self._variable

    def markAsConstant(self, attr: str) -> None:
        self._check(attr)
        self._variable = [name for name in self._variable if name != attr]

    def markAsVariable(self, attr: str) -> None:
        self._check(attr)
        self._variable.append(attr)

    def _check(self, attr: str) -> None:
        if attr not in self._allowed:
            raise AssertionError(f"Unknown attribute {attr}, allowed values: {self._allowed}")  # as poptorch does


class Optimizer(torch.optim.Optimizer):
    """What all have in common: the way of the state between host and device.

    `ipu_state_is_dirty`: the host holds state (a checkpoint's) that the device has not.
    `host_state_is_dirty`: the device has stepped since its state was last read.
    """

    _defaults: Dict[str, Any] = {}
    """Hyper-parameters that each group has, with poptorch's defaults."""
    _flags: Dict[str, Any] = {}
    """Settings that all groups share."""

    def __init__(self, params: Iterable, lr: Optional[float] = None, **settings: Any) -> None:
        """None stands for the default. Raises NotEmulated for a setting that poptorch may have and this has not."""
        given = {name: value for name, value in {"lr": lr, **settings}.items() if value is not None}
        for name, value in given.items():
            self._refuse(name, value)
        self.loss_scaling = float(given.get("loss_scaling", 1.0))
        for name, default in self._flags.items():
            setattr(self, name, given.get(name, default))
            if name.endswith("accum_type") and getattr(self, name) not in (torch.float16, torch.float32):
                raise AssertionError("Accumulation types must be either torch.float32 or torch.float16")
        self._state_dict: Dict[str, Any] = {"ipu_state": None, "ipu_param": None}
        self.ipu_state_is_dirty = self.host_state_is_dirty = False
        super().__init__(params, {name: given.get(name, default) for name, default in self._defaults.items()})
        self.variable_attrs = VariableAttributes(given, [*self.defaults, "loss_scaling"])

    def _refuse(self, name: str, value: Any) -> None:
        known = name in self._defaults or name in self._flags or name == "loss_scaling"
        off = name in _SWITCHED_OFF and (value is None or value is False or value == math.inf)
        if not known and not off:
            raise NotEmulated(f"poptorch.optim.{type(self).__name__}({name}={value!r})")

    def hyper_parameters(self) -> List[Dict[str, Any]]:
        """What the device is told of each group: its values now."""
        for group in self.param_groups:
            for name in _SWITCHED_OFF:
                if group.get(name) is not None:
                    self._refuse(name, group[name])
        return [{name: group[name] for name in self._defaults} for group in self.param_groups]

    def step(self, closure: Any = None) -> None:
        raise NotEmulated(f"poptorch.optim.{type(self).__name__}.step on the host")

    def state_dict(self) -> Dict[str, Any]:
        return self.get_state_dict()

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        super().load_state_dict(state_dict)  # so that learning rate schedulers work
        self.set_state_dict(state_dict)

    def get_state_dict(self) -> Dict[str, Any]:
        return {**self._state_dict, **torch.optim.Optimizer.state_dict(self)}

    def set_state_dict(self, state_dict: Dict[str, Any]) -> None:
        if not state_dict:
            raise RuntimeError("Cannot load optimizer state dictionary because it is empty.")
        if not {"ipu_state", "ipu_param"} <= set(state_dict):
            raise RuntimeError("Only IPU optimizer states can be loaded onto the IPU.")
        self._state_dict = {name: state_dict[name] for name in ("ipu_state", "ipu_param")}
        self.ipu_state_is_dirty, self.host_state_is_dirty = True, False

    def has_state(self) -> bool:
        return self._state_dict["ipu_state"] is not None

    def device_update(
        self, w: torch.Tensor, g: torch.Tensor, state: State, hyper: Dict[str, Any], store: Store
    ) -> torch.Tensor:
        """The weight after one step, float32.

        `w`: the weight, `g`: its mean gradient, both float32; `state`: empty before the first step, and kept through
        `store`; `hyper`: the group's hyper-parameters.
        """
        raise NotImplementedError


class _Adam(Optimizer):
    """Adam's two moments. IPUTrainer switches bias correction off in AdamW."""

    _defaults = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
    _flags = {
        "accum_type": torch.float32,
        "first_order_momentum_accum_type": torch.float32,
        "second_order_momentum_accum_type": torch.float32,
    }
    bias_correction = True

    def _direction(self, g: torch.Tensor, state: State, hyper: Dict[str, Any], store: Store) -> torch.Tensor:
        beta1, beta2 = hyper["betas"]
        if not state:
            state["Step"] = torch.zeros(())
            state["Accl1"] = torch.zeros_like(g, dtype=self.first_order_momentum_accum_type)
            state["Accl2"] = torch.zeros_like(g, dtype=self.second_order_momentum_accum_type)
        state["Step"] += 1
        m = state["Accl1"].float().mul(beta1).add_(g, alpha=1 - beta1)
        v = state["Accl2"].float().mul(beta2).addcmul_(g, g, value=1 - beta2)
        store(state["Accl1"], m)
        store(state["Accl2"], v)
        if self.bias_correction:
            m, v = m / (1 - beta1 ** state["Step"]), v / (1 - beta2 ** state["Step"])
        return m / v.sqrt().add_(hyper["eps"])


class Adam(_Adam):
    """Adam, with weight decay added to the gradient."""

    def device_update(self, w, g, state, hyper, store):
        return w - hyper["lr"] * self._direction(g + hyper["weight_decay"] * w, state, hyper, store)


class AdamW(_Adam):
    """Adam with decoupled weight decay: w - lr * (m / (sqrt(v) + eps) + weight_decay * w)."""

    _defaults = {**_Adam._defaults, "weight_decay": 1e-2}
    _flags = {**_Adam._flags, "bias_correction": True}

    def device_update(self, w, g, state, hyper, store):
        return w - hyper["lr"] * (self._direction(g, state, hyper, store) + hyper["weight_decay"] * w)


class LAMB(_Adam):
    """Layer-wise adaptive moments (arXiv:1904.00962): AdamW's update, scaled to the norm of the weights."""

    _defaults = {**AdamW._defaults, "max_weight_norm": 65500.0}  # about the largest half
    _flags = AdamW._flags

    def device_update(self, w, g, state, hyper, store):
        update = self._direction(g, state, hyper, store) + hyper["weight_decay"] * w
        weight_norm, update_norm = w.norm().clamp(max=hyper["max_weight_norm"]), update.norm()
        trust = torch.where((weight_norm == 0) | (update_norm == 0), torch.ones(()), weight_norm / update_norm)
        return w - hyper["lr"] * trust * update


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum kept separately from the accumulated gradient."""

    _defaults = {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0}
    _flags = {"accum_type": torch.float32, "velocity_accum_type": torch.float32}

    def device_update(self, w, g, state, hyper, store):
        g = g + hyper["weight_decay"] * w
        if hyper["momentum"]:
            velocity = g
            if state:
                velocity = hyper["momentum"] * state["Accl1"].float() + (1 - hyper["dampening"]) * g
            else:
                state["Accl1"] = torch.zeros_like(g, dtype=self.velocity_accum_type)
            store(state["Accl1"], velocity)
            g = velocity
        return w - hyper["lr"] * g


class RMSprop(Optimizer):
    """RMSprop as torch defines it."""

    _defaults = {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0}
    _flags = _Adam._flags

    def device_update(self, w, g, state, hyper, store):
        g = g + hyper["weight_decay"] * w
        if not state:
            state["Accl1"] = torch.zeros_like(g, dtype=self.first_order_momentum_accum_type)
            state["Accl2"] = torch.zeros_like(g, dtype=self.second_order_momentum_accum_type)
        squares = state["Accl2"].float().mul(hyper["alpha"]).addcmul_(g, g, value=1 - hyper["alpha"])
        velocity = state["Accl1"].float().mul(hyper["momentum"]).add_(g / squares.sqrt().add_(hyper["eps"]))
        store(state["Accl2"], squares)
        store(state["Accl1"], velocity)
        return w - hyper["lr"] * velocity


__getattr__ = refuse_unknown(__name__)
