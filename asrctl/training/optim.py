"""AdamW, with or without bias correction, each group of weights at its rate."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple

from asrctl.config.recipe import OptimSection
from asrctl.models import learning_weights
from asrctl.runtime import compat


def decays(name: str, parameter: Any) -> bool:
    """Whether weight decay applies: to matrices and kernels, not to biases, norms and single vectors."""
    return parameter.ndim >= 2 and not name.endswith(("bias", "masked_spec_embed"))


def _groups(
    named: Sequence[Tuple[str, Any]], optim: OptimSection, shares: Mapping[str, float]
) -> Tuple[List[Dict[str, Any]], List[float]]:
    """Groups of weights for torch's optimizer, and of each its learning rate as a share of the schedule's."""
    found: Dict[Tuple[float, bool], List[Any]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in named:
        found.setdefault((shares.get(name, 1.0), decays(name, parameter)), []).append(parameter)
    groups = [
        {"params": parameters, "weight_decay": optim.weight_decay if decayed else 0.0}
        for (_, decayed), parameters in found.items()
    ]
    return groups, [share for share, _ in found]


class AdamW:
    """torch's AdamW over a model's trainable parameters, stepped with a given learning rate.

    Without bias correction (as IPUTrainer's AdamW: m / (sqrt(v) + eps), decay lr * wd) the stock kernel is kept, and
    its own correction is undone by lr' = lr * c1 / sqrt(c2), eps' = eps / sqrt(c2) and wd' = wd * lr / lr', with
    c_i = 1 - beta_i ** step (Kingma and Ba 2015, the end of section 2).

    torch counts the steps of each parameter by itself, and leaves out those in which it has no gradient (a dropped
    layer). A checkpoint therefore holds the counts.
    """

    def __init__(self, model: Any, optim: OptimSection) -> None:
        import torch

        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        self._names = {id(parameter): compat.canonical_name(name) for name, parameter in named}
        self.parameters = [parameter for _, parameter in named]
        self._optim = optim
        self._behind: Set[int] = set()
        self._next = 0
        groups, self._shares = _groups(named, optim, learning_weights.rate_shares(model, optim))
        self._decay = [group["weight_decay"] for group in groups]
        device_type = self.parameters[0].device.type
        self.torch_optimizer = torch.optim.AdamW(
            groups,
            lr=optim.learning_rate,
            betas=tuple(optim.adam_betas),
            eps=optim.adam_eps,
            fused=compat.fused_adamw_works(device_type) or None,
        )

    def zero_grad(self) -> None:
        self.torch_optimizer.zero_grad(set_to_none=True)

    def clip(self, max_norm: float) -> Any:
        """Clip the gradient to `max_norm`; its norm before, as a tensor."""
        import torch

        return torch.nn.utils.clip_grad_norm_(self.parameters, max_norm)

    def grad_norm(self) -> Any:
        return self.clip(math.inf)

    def prepare(self, step: int, rate: float) -> None:
        """Set the hyper-parameters of optimizer step `step` (0-based)."""
        eps: float = self._optim.adam_eps
        scale = 1.0
        if not self._optim.adam_bias_correction:
            self._catch_up(step)
            beta1, beta2 = self._optim.adam_betas
            root = math.sqrt(1 - beta2 ** (step + 1))
            scale, eps = (1 - beta1 ** (step + 1)) / root, eps / root
        for group, decay, share in zip(self.torch_optimizer.param_groups, self._decay, self._shares):
            group["lr"], group["eps"], group["weight_decay"] = rate * scale * share, eps, decay / scale

    def _catch_up(self, step: int) -> None:
        """Give every parameter that takes this step the count that undoing the correction goes by."""
        for parameter in self.parameters:
            if parameter.grad is None:
                self._behind.add(id(parameter))
            elif step != self._next or id(parameter) in self._behind:
                self._set(parameter, step, self.torch_optimizer.state[parameter])
                self._behind.discard(id(parameter))
        self._next = step + 1

    def _set(self, parameter: Any, count: float, moments: Mapping[str, Any]) -> None:
        import torch

        # The fused kernels want the count beside the parameters, the others on the host.
        device = parameter.device if self.torch_optimizer.defaults.get("fused") else "cpu"
        values = {"step": torch.tensor(float(count), device=device)}
        for key in ("exp_avg", "exp_avg_sq"):
            values[key] = moments[key].to(parameter.device) if key in moments else torch.zeros_like(parameter.detach())
        self.torch_optimizer.state[parameter] = values

    def state(self) -> Dict[str, Any]:
        """{"exp_avg/NAME", "exp_avg_sq/NAME": tensors, "step/NAME": scalar} of the parameters that had a step."""
        found = {}
        for parameter, values in self.torch_optimizer.state.items():
            for key in ("exp_avg", "exp_avg_sq", "step") if values else ():
                found[f"{key}/{self._names[id(parameter)]}"] = values[key]
        return found

    def load(self, state: Mapping[str, Any], step: int) -> None:
        """Take back what `state` gave after `step` steps. Raises KeyError, ValueError where it is not this model's."""
        strangers = sorted({name.partition("/")[2] for name in state} - set(self._names.values()))
        if strangers or (step and not state):
            raise KeyError(strangers[0] if strangers else "exp_avg")
        for parameter in self.parameters:
            name = self._names[id(parameter)]
            if f"exp_avg/{name}" not in state:  # it had no step yet
                self._behind.add(id(parameter))
                continue
            moments = {key: state[f"{key}/{name}"] for key in ("exp_avg", "exp_avg_sq")}
            if any(moment.shape != parameter.shape or moment.dtype != parameter.dtype for moment in moments.values()):
                raise ValueError(f"the optimizer's state of {name} has another shape or type")
            count = float(state[f"step/{name}"])
            self._set(parameter, count, moments)
            if count != step:
                self._behind.add(id(parameter))
        self._next = step
