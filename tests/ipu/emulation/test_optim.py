"""Steps of the emulated optimizers, their state, half precision and loss scaling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from .toys import Calls, Toy, batch, options

SAME_AS_TORCH = {
    "SGD": {"lr": 0.1},
    "SGD with momentum": {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1},
    "Adam": {"lr": 0.01, "weight_decay": 0.1},
    "AdamW": {"lr": 0.01, "weight_decay": 0.1, "betas": (0.9, 0.98)},
    "RMSprop": {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.1},
}


def train(poptorch, host, optimizer, *, steps=3, accumulation=2):
    model = poptorch.trainingModel(host, options(poptorch, accumulation=accumulation), optimizer)
    for step in range(steps):
        model(**batch(2 * accumulation, seed=step))
    return model


@pytest.mark.parametrize("name", SAME_AS_TORCH)
def test_steps_are_those_of_torch(poptorch, name) -> None:
    kind, settings = name.split()[0], SAME_AS_TORCH[name]
    ours, theirs = Toy(), Toy()
    train(poptorch, ours, getattr(poptorch.optim, kind)(ours.parameters(), **settings))
    optimizer = getattr(torch.optim, kind)(theirs.parameters(), **settings)
    for step in range(3):
        optimizer.zero_grad()
        b = batch(4, seed=step)
        theirs(**b)[0].backward()
        optimizer.step()
    for name, p in theirs.named_parameters():
        torch.testing.assert_close(dict(ours.named_parameters())[name], p, rtol=1e-5, atol=1e-6)


def test_lamb_steps_by_the_norm_of_the_weights(poptorch) -> None:
    host = Toy()
    before = {name: p.detach().clone() for name, p in host.named_parameters()}
    groups = [
        {"params": [host.first.weight, host.second.weight], "weight_decay": 0.0},
        {"params": [host.first.bias, host.second.bias], "weight_decay": 0.0, "max_weight_norm": 0.0},
    ]
    train(poptorch, host, poptorch.optim.LAMB(groups, lr=0.1, bias_correction=False), steps=1)
    for name, p in host.named_parameters():
        moved = float((p.detach() - before[name]).norm())
        # m / sqrt(v) after one step without bias correction: every entry is +-0.1 / sqrt(0.001)
        untrusted = 0.1 * 0.1 / 0.001**0.5 * p.numel() ** 0.5
        expected = 0.1 * float(before[name].norm()) if name.endswith("weight") else untrusted
        assert moved == pytest.approx(expected, rel=1e-3)


def test_gradients_can_be_added_up_instead_of_averaged(poptorch) -> None:
    mean, total = Toy(), Toy()
    train(poptorch, mean, poptorch.optim.SGD(mean.parameters(), lr=0.4), steps=1, accumulation=4)
    o = options(poptorch, accumulation=4)
    o.Training.accumulationAndReplicationReductionType(poptorch.ReductionType.Sum)
    poptorch.trainingModel(total, o, poptorch.optim.SGD(total.parameters(), lr=0.1))(**batch(8))
    assert torch.equal(mean.first.weight, total.first.weight)


def test_a_learning_rate_reaches_the_device_with_set_optimizer(poptorch) -> None:
    host = Toy()
    optimizer = poptorch.optim.SGD(host.parameters(), lr=0.0)
    model = poptorch.trainingModel(host, options(poptorch), optimizer)
    before = host.first.weight.clone()
    optimizer.param_groups[0]["lr"] = 0.1
    model(**batch(2))
    assert torch.equal(host.first.weight, before)
    model.setOptimizer(optimizer)
    model(**batch(2))
    assert not torch.equal(host.first.weight, before)


def test_a_state_taken_and_given_back_continues_the_same(poptorch) -> None:
    def adam(host):
        return poptorch.optim.AdamW(host.parameters(), lr=0.01)

    straight = Toy()
    train(poptorch, straight, adam(straight), steps=3)
    first = Toy()
    optimizer = adam(first)
    assert not optimizer.has_state() and optimizer.state_dict()["ipu_state"] is None
    train(poptorch, first, optimizer, steps=2)
    assert optimizer.host_state_is_dirty
    state = optimizer.state_dict()
    assert not optimizer.host_state_is_dirty
    assert set(state["ipu_state"]) == {
        f"{kind}___{name}" for kind in ("Step", "Accl1", "Accl2") for name, _ in first.named_parameters()
    }
    second = Toy()
    second.load_state_dict(first.state_dict())
    optimizer = adam(second)
    optimizer.load_state_dict(state)
    assert optimizer.ipu_state_is_dirty
    poptorch.trainingModel(second, options(poptorch, accumulation=2), optimizer)(**batch(4, seed=2))
    assert torch.equal(second.first.weight, straight.first.weight)


def test_only_states_of_the_device_are_taken(poptorch) -> None:
    optimizer = poptorch.optim.AdamW(Toy().parameters())
    with pytest.raises(RuntimeError, match="Only IPU optimizer states"):
        optimizer.load_state_dict(torch.optim.AdamW(Toy().parameters()).state_dict())
    with pytest.raises(RuntimeError, match="empty"):
        optimizer.set_state_dict({})


def test_loss_scaling_by_a_power_of_two_changes_nothing_in_float32(poptorch) -> None:
    plain, scaled = Toy(), Toy()
    train(poptorch, plain, poptorch.optim.AdamW(plain.parameters()))
    train(poptorch, scaled, poptorch.optim.AdamW(scaled.parameters(), loss_scaling=1024.0))
    assert torch.equal(plain.first.weight, scaled.first.weight)


def half_step(poptorch, *, loss_scaling: float) -> float:
    """A half weight of 1 after an SGD step of 1/8; the loss of each of 8 micro-batches is the weight."""

    def loss(module, x):
        return poptorch.identity_loss((x * module.weight).sum().float(), "none")

    host = Calls(loss).half()
    optimizer = poptorch.optim.SGD(host.parameters(), lr=1 / 8, loss_scaling=loss_scaling, accum_type=torch.float16)
    poptorch.trainingModel(host, options(poptorch, accumulation=8), optimizer)(torch.ones(8, dtype=torch.float16))
    return float(host.weight.detach())


def test_half_gradients_are_averaged_as_they_come(poptorch) -> None:
    """Their sum, 8 x 16384, would be infinite."""
    assert half_step(poptorch, loss_scaling=16384.0) == 1 - 1 / 8


def test_a_loss_scaled_too_much_overflows_as_on_the_device(poptorch) -> None:
    assert not np.isfinite(half_step(poptorch, loss_scaling=2.0**17))


def test_a_small_loss_underflows_without_scaling(poptorch) -> None:
    """Half weights, float32 loss: the gradient 2**-20 * 2**-5 is less than the least half."""

    def step(loss_scaling):
        def loss(module, x):
            return poptorch.identity_loss((x * module.weight).sum().float() * 2**-15, "none")

        host = Calls(loss).half()
        optimizer = poptorch.optim.SGD(host.parameters(), lr=2.0**20, loss_scaling=loss_scaling)
        poptorch.trainingModel(host, options(poptorch), optimizer)(torch.full((1,), 2.0**-10, dtype=torch.float16))
        return float(host.weight.detach())

    assert step(1.0) == 1.0
    assert step(2.0**10) == 1 - 2.0**-5


def test_stochastic_rounding_keeps_small_updates_of_half_weights_in_the_mean(poptorch) -> None:
    """Each of 400 weights of 1 is to become 1 - 1/8192, a quarter of the way to the next half."""

    def loss(module, x):
        return poptorch.identity_loss((x.float() * module.weights.float()).sum(), "none")

    def step(stochastic):
        host = Calls(loss)
        host.weights = torch.nn.Parameter(torch.ones(400))
        host.half()
        o = options(poptorch)
        o.Precision.enableStochasticRounding(stochastic)
        model = poptorch.trainingModel(host, o, poptorch.optim.SGD(host.parameters(), lr=2.0**-13))
        model(torch.ones(1, dtype=torch.float16))
        return host.weights.detach().float()

    assert set(step(False).tolist()) == {1.0}
    weights = step(True)
    assert set(weights.tolist()) == {1.0, 1 - 2.0**-11}
    assert float(weights.mean()) == pytest.approx(1 - 2.0**-13, abs=2.0**-15)
    assert torch.equal(step(True), weights)


def test_stochastic_rounding_gives_one_of_the_two_neighbors(poptorch) -> None:
    from poptorch._rounding import round_stochastically

    @given(st.floats(min_value=-60000, max_value=60000, width=32))
    def check(value: float) -> None:
        rounded = round_stochastically(torch.full((50,), value), torch.Generator().manual_seed(0)).numpy()
        assert np.array_equal(rounded.astype(np.float16).astype(np.float32), rounded)
        nearest = np.float16(value)
        others = {float(np.nextafter(nearest, np.float16(side))) for side in (-np.inf, np.inf)}
        assert set(map(float, rounded)) <= others | {float(nearest)}
        assert min(rounded) <= value <= max(rounded) or len(set(rounded)) == 1

    check()


def test_rates_that_are_constant_are_told_apart(poptorch) -> None:
    optimizer = poptorch.optim.AdamW(Toy().parameters(), lr=0.1, weight_decay=0.1)
    assert not optimizer.variable_attrs.isConstant("lr") and optimizer.variable_attrs.isConstant("eps")
    optimizer.variable_attrs.markAsConstant("weight_decay")
    assert optimizer.variable_attrs.isConstant("weight_decay")
    with pytest.raises(AssertionError, match="Unknown attribute"):
        optimizer.variable_attrs.markAsConstant("max_weight_norm")
