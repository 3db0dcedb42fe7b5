"""The optimizer where some parameters take no part in some steps: dropped layers have no gradient."""

from __future__ import annotations

import pytest
import torch

from asrctl.config.recipe import OptimSection
from asrctl.training.optim import AdamW

STEPS, RATE = 6, 0.1
# Steps in which each parameter has a gradient.
TAKES_PART = {"always": range(STEPS), "late": (2, 3, 5), "first": (0, 4)}


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name in TAKES_PART:
            self.register_parameter(name, torch.nn.Parameter(torch.ones(3)))


def gradient(step: int) -> torch.Tensor:
    return torch.tensor([0.5, -2.0, 1e-3]) * (step + 1)


def steps(model: Model, adam: AdamW, first: int, end: int) -> None:
    for step in range(first, end):
        for name, parameter in model.named_parameters():
            parameter.grad = gradient(step) if step in TAKES_PART[name] else None
        adam.prepare(step, RATE)
        adam.torch_optimizer.step()


def trained(optim: OptimSection, resume_at: int = 0) -> Model:
    model = Model()
    adam = AdamW(model, optim)
    steps(model, adam, 0, resume_at)
    if resume_at:
        state = {name: tensor.clone() for name, tensor in adam.state().items()}
        adam = AdamW(model, optim)
        adam.load(state, resume_at)
    steps(model, adam, resume_at, STEPS)
    return model


@pytest.mark.parametrize("correction", [True, False])
@pytest.mark.parametrize("resume_at", range(1, STEPS))
def test_resuming_is_exact(correction: bool, resume_at: int) -> None:
    optim = OptimSection(adam_bias_correction=correction)
    straight, resumed = trained(optim), trained(optim, resume_at)
    for name, parameter in straight.named_parameters():
        assert torch.equal(parameter, getattr(resumed, name)), name


def test_without_bias_correction_it_is_the_plain_formula() -> None:
    optim = OptimSection(adam_bias_correction=False, weight_decay=0.0)
    beta1, beta2 = optim.adam_betas
    for name, parameter in trained(optim).named_parameters():
        weight, mean, square = torch.ones(3), torch.zeros(3), torch.zeros(3)
        for step in TAKES_PART[name]:
            mean = beta1 * mean + (1 - beta1) * gradient(step)
            square = beta2 * square + (1 - beta2) * gradient(step) ** 2
            weight = weight - RATE * mean / (square.sqrt() + optim.adam_eps)
        assert torch.allclose(parameter.detach(), weight, rtol=1e-4, atol=1e-6), name
