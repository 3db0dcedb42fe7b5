"""Batches, outputs, shapes, stages, losses and random numbers on the emulated device."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from .toys import Calls, Toy, batch, options


def outputs_of(poptorch, mode, *, period=None, replicas=2, iterations=4):
    """Which of the numbers 0, 1, 2 ... of the micro-batches come back."""
    o = options(poptorch, replicas=replicas, iterations=iterations).outputMode(mode, period)
    model = poptorch.inferenceModel(Calls(lambda module, x: x + 0), o)
    return model(torch.arange(float(replicas * iterations))).tolist()


def test_output_modes_of_inference(poptorch) -> None:
    modes = poptorch.OutputMode
    assert outputs_of(poptorch, modes.All) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert outputs_of(poptorch, modes.Default) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert outputs_of(poptorch, modes.Final) == [6, 7]
    assert outputs_of(poptorch, modes.Sum) == [0 + 2 + 4 + 6, 1 + 3 + 5 + 7]
    assert outputs_of(poptorch, modes.EveryN, period=2) == [2, 3, 6, 7]
    assert outputs_of(poptorch, modes.EveryN, period=4) == [6, 7]
    with pytest.raises(poptorch.Error, match="must divide"):
        outputs_of(poptorch, modes.EveryN, period=3)


@pytest.mark.parametrize(
    ("mode", "period", "expected"),
    [
        ("Final", None, [22, 23]),
        ("Default", None, [22, 23]),
        ("All", None, list(range(24))),
        ("EveryN", 2, [*range(6, 12), *range(18, 24)]),
        ("Sum", None, [sum(range(0, 24, 2)), sum(range(1, 24, 2))]),
    ],
)
def test_output_modes_of_training(poptorch, mode, period, expected) -> None:
    """24 micro-batches: 4 device iterations of 3 accumulated ones on 2 replicas."""
    o = options(poptorch, accumulation=3, replicas=2, iterations=4)
    o.outputMode(getattr(poptorch.OutputMode, mode), period)

    def numbered_loss(module, x):
        return poptorch.identity_loss(x[0] + 0 * module.weight, "none")

    assert poptorch.trainingModel(Calls(numbered_loss), o)(torch.arange(24.0)).tolist() == expected


def test_output_modes_do_not_change_the_training(poptorch) -> None:
    trained = []
    for mode in poptorch.OutputMode:
        host, o = Toy(dropout=0.5), options(poptorch, accumulation=2, replicas=2, iterations=2)
        poptorch.trainingModel(host, o.outputMode(mode, 2))(**batch(8))
        trained.append(torch.cat([p.detach().flatten() for p in host.parameters()]))
    assert all(torch.equal(weights, trained[0]) for weights in trained)


def test_a_single_loss_has_no_dimension(poptorch) -> None:
    loss, y = poptorch.trainingModel(Toy(), options(poptorch, accumulation=3))(**batch(6))
    assert loss.shape == () and y.shape == (2, 1)
    assert not loss.requires_grad and not y.requires_grad


def test_outputs_have_the_device_types(poptorch) -> None:
    model = poptorch.inferenceModel(Calls(lambda module, x: {"argmax": x.argmax(-1), "double": x.double()}))
    out = model(torch.ones(2, 3))
    assert out["argmax"].dtype == torch.int32 and out["double"].dtype == torch.float32


def test_what_the_model_writes_into_its_inputs_stays_on_the_device(poptorch) -> None:
    x = torch.ones(4, 2)
    poptorch.inferenceModel(Calls(lambda module, x: x.mul_(2)), options(poptorch, iterations=2))(x)
    assert torch.equal(x, torch.ones(4, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: {name: tensor[:4] for name, tensor in b.items()}, r"Shape mismatch for x: .* \(8, 2\) .* \(4, 2\)"),
        (lambda b: {**b, "target": b["target"].double()}, "Data type mismatch for target: .*float32.*float64"),
        (lambda b: {"x": b["x"]}, r"Keys mismatch: expected \['x', 'target'\] but got \['x'\]"),
        (lambda b: {**b, "extra": b["x"]}, "unexpected keyword argument 'extra'"),
    ],
)
def test_another_shape_type_or_key_after_compilation_is_an_error(poptorch, change, message) -> None:
    model = poptorch.trainingModel(Toy(), options(poptorch, accumulation=4))
    model(**batch(8))
    with pytest.raises(poptorch.Error, match=message):
        model(**change(batch(8)))
    model(**batch(8))


def test_a_batch_that_does_not_divide_is_an_error(poptorch) -> None:
    model = poptorch.trainingModel(Toy(), options(poptorch, accumulation=4, replicas=2))
    with pytest.raises(AssertionError, match="must be a multiple of 8"):
        model.compile(**batch(12))
    assert not model.isCompiled()


def test_the_model_is_frozen_when_it_is_compiled_but_for_its_weights(poptorch) -> None:
    host = Toy(dropout=0.5).eval()
    x = batch(4)["x"]
    model = poptorch.inferenceModel(host, options(poptorch))
    before = model(x)
    host.train()
    host.second = torch.nn.Identity()
    assert torch.equal(model(x), before)
    with torch.no_grad():
        host.first.weight.add_(1)
    assert not torch.equal(model(x), before)


def test_random_numbers_follow_the_seed_the_call_and_the_micro_batch(poptorch) -> None:
    def run(state=None, calls=2):
        model = poptorch.inferenceModel(Toy(dropout=0.5).train(), options(poptorch, iterations=8))
        x = torch.ones(8, 2)
        model.compile(x)
        model.rng_state = state or model.rng_state
        return [model(x) for _ in range(calls)], model.rng_state

    (first, second), state = run()
    assert len({tuple(row) for row in first.tolist()}) > 1
    assert not torch.equal(first, second)
    (again, _), _ = run()
    assert torch.equal(again, first)
    (continued,), _ = run(state=[state[0], 1], calls=1)
    assert torch.equal(continued, second)


def test_the_hosts_random_numbers_are_left_alone(poptorch) -> None:
    model = poptorch.trainingModel(Toy(dropout=0.5), options(poptorch))
    before = torch.random.get_rng_state()
    model(**batch(2))
    assert torch.equal(torch.random.get_rng_state(), before)


def stages(poptorch, ipus, *, strategy, training=True, depth=1):
    """Compiles a chain of layers on these IPUs; returns (block, IPU, stage) of each."""
    layers = torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in ipus))
    for number, ipu in enumerate(ipus):
        poptorch.BeginBlock(layers[number], f"layer {number}", ipu_id=ipu)

    class Chain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers

        def forward(self, x):
            return poptorch.identity_loss(self.layers(x).sum(), "none")

    o = options(poptorch, **{"accumulation" if training else "iterations": depth}).setExecutionStrategy(strategy)
    model = poptorch.trainingModel(Chain(), o) if training else poptorch.inferenceModel(Chain(), o)
    model.compile(torch.ones(depth, 1))
    return [tuple(placement) for placement in model.placements]


def test_consecutive_blocks_on_an_ipu_are_one_stage(poptorch) -> None:
    pipeline = poptorch.PipelinedExecution(poptorch.AutoStage.AutoIncrement)
    assert stages(poptorch, [0, 0, 1, 1, 0], strategy=pipeline, depth=5) == [
        ("layer 0", 0, 0),
        ("layer 1", 0, 0),
        ("layer 2", 1, 1),
        ("layer 3", 1, 1),
        ("layer 4", 0, 2),
    ]


def test_a_pipeline_needs_as_many_micro_batches_as_it_has_stages(poptorch) -> None:
    def pipeline():
        return poptorch.PipelinedExecution(poptorch.AutoStage.AutoIncrement)

    stages(poptorch, [0, 1, 2, 3], strategy=pipeline(), depth=7)
    with pytest.raises(poptorch.Error, match="gradientAccumulation is 6, but must be at least .* 7"):
        stages(poptorch, [0, 1, 2, 3], strategy=pipeline(), depth=6)
    stages(poptorch, [0, 1, 2, 3], strategy=pipeline(), training=False, depth=4)
    with pytest.raises(poptorch.Error, match="deviceIterations is 3, but must be at least .* 4"):
        stages(poptorch, [0, 1, 2, 3], strategy=pipeline(), training=False, depth=3)
    sharded = poptorch.ShardedExecution(poptorch.AutoStage.AutoIncrement)
    stages(poptorch, [0, 1, 2, 3], strategy=sharded, training=False, depth=1)


def test_stages_that_are_ipus_can_not_go_back(poptorch) -> None:
    with pytest.raises(poptorch.Error, match="goes back to IPU 0"):
        stages(poptorch, [0, 1, 0], strategy=poptorch.PipelinedExecution(), depth=5)


def test_a_block_is_begun_once_and_can_be_removed(poptorch) -> None:
    layer = poptorch.BeginBlock(torch.nn.Linear(1, 1), "layer", ipu_id=1)
    with pytest.raises(poptorch.Error, match="already been assigned"):
        poptorch.BeginBlock(layer, "again", ipu_id=0)
    poptorch.removeBlocks(torch.nn.Sequential(layer))
    poptorch.BeginBlock(layer, "again", ipu_id=0)


def test_a_torch_loss_needs_no_mark(poptorch) -> None:
    marked, plain = Toy(), Toy(marked=False)
    for host in (marked, plain):
        poptorch.trainingModel(host, options(poptorch, accumulation=2))(**batch(4))
    assert torch.equal(marked.first.weight, plain.first.weight)
    assert not torch.equal(marked.first.weight, Toy().first.weight)


def no_loss(poptorch, y):
    return y


def vector_loss(poptorch, y):
    return poptorch.identity_loss(y, "none")


def two_losses(poptorch, y):
    return poptorch.identity_loss(y, "mean"), poptorch.identity_loss(y, "sum")


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (no_loss, "Couldn't find a loss"),
        (vector_loss, r"must be a scalar, not of shape \(3,\)"),
        (two_losses, "not emulated: a model that marks 2 losses"),
    ],
)
def test_a_training_model_has_one_scalar_loss(poptorch, losses, message) -> None:
    model = poptorch.trainingModel(Calls(lambda module, x: losses(poptorch, module.weight * x)))
    with pytest.raises(poptorch.Error, match=message):
        model(torch.ones(3))


@pytest.mark.parametrize(
    "function",
    [
        lambda module, x: x * x.max().item(),
        lambda module, x: x if x.sum() > 0 else -x,
        lambda module, x: x[x > 0],
        lambda module, x: x.nonzero(),
        lambda module, x: torch.masked_select(x, x > 0),
        lambda module, x: x * float(np.asarray(x).max()),
        lambda module, x: x * len(x.tolist()),
        lambda module, x: x * float(np.random.rand()),
        lambda module, x: x * random.random(),
    ],
)
def test_no_model_branches_on_values_or_draws_numbers_on_the_host(poptorch, function) -> None:
    with pytest.raises(poptorch.Error, match="spec-augment"):
        poptorch.inferenceModel(Calls(function))(torch.ones(4))


def test_masked_writing_is_static(poptorch) -> None:
    def silence(module, x):
        x[x < 0] = 0
        return x

    out = poptorch.inferenceModel(Calls(silence))(torch.tensor([-1.0, 2.0]))
    assert out.tolist() == [0, 2]


def test_an_offline_target_only_compiles(poptorch, tmp_path) -> None:
    o = options(poptorch).useOfflineIpuTarget().enableExecutableCaching(str(tmp_path / "cache"))
    model = poptorch.trainingModel(Toy(), o)
    model.compile(**batch(2))
    assert model.isCompiled() and not model.isAttachedToDevice()
    assert len(list((tmp_path / "cache").iterdir())) == 1
    with pytest.raises(AssertionError, match="offline device"):
        model(**batch(2))
    with pytest.raises(AssertionError, match="offline device"):
        model.attachToDevice()


def test_attaching_and_detaching(poptorch) -> None:
    model = poptorch.trainingModel(Toy(), options(poptorch))
    for early in (model.attachToDevice, model.detachFromDevice, model.copyWeightsToHost):
        with pytest.raises(poptorch.Error, match="not been compiled"):
            early()
    model.compile(**batch(2))
    assert model.isAttachedToDevice()
    with pytest.raises(poptorch.Error, match="already attached"):
        model.attachToDevice()
    model.detachFromDevice()
    with pytest.raises(poptorch.Error, match="not attached"):
        model.detachFromDevice()
    model(**batch(2))
    assert model.isAttachedToDevice()


def test_a_training_model_wears_another_class_until_it_is_destroyed(poptorch) -> None:
    host = Toy()
    model = poptorch.trainingModel(host, options(poptorch))
    assert type(host).__name__ == "PoptorchToy" and isinstance(host, Toy)
    with pytest.raises(poptorch.Error, match="already been wrapped"):
        poptorch.trainingModel(host, options(poptorch))
    model(**batch(2))
    model.destroy()
    assert type(host) is Toy and not model.isCompiled()
    poptorch.trainingModel(host, options(poptorch))(**batch(2))


def test_inference_has_no_accumulation(poptorch) -> None:
    with pytest.raises(poptorch.Error, match="gradientAccumulation to 1"):
        poptorch.inferenceModel(Toy(), options(poptorch, accumulation=2))
