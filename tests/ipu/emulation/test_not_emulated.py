"""Whatever the emulation lacks says so by name."""

from __future__ import annotations

import pytest
import torch

from .toys import Toy, batch, options


def training(poptorch, **kwargs):
    return poptorch.trainingModel(Toy(), options(poptorch), **kwargs)


CASES = {
    "poptorch.cycleCount": lambda p: p.cycleCount,
    "poptorch.custom_op": lambda p: p.custom_op,
    "poptorch.optim.Adagrad": lambda p: p.optim.Adagrad,
    "poptorch.enums.SharingStrategy": lambda p: p.enums.SharingStrategy,
    "poptorch.ops.ctc_beam_search_decoder": lambda p: p.ops.ctc_beam_search_decoder,
    "popart.SessionOptions": lambda p: __import__("popart").SessionOptions,
    "poptorch.Options.enableProfiling": lambda p: p.Options().enableProfiling("."),
    "poptorch.Options.deviceIterations = 2": lambda p: setattr(p.Options(), "deviceIterations", 2),
    "poptorch.Options.Training.setConvolutionDithering": lambda p: p.Options().Training.setConvolutionDithering(True),
    "poptorch.Options.Training.setAutomaticLossScaling": lambda p: p.Options().Training.setAutomaticLossScaling(True),
    "poptorch.Options.Distributed": lambda p: p.Options().Distributed,
    "poptorch.Options._Popart.set('enableExplicitIR')": lambda p: p.Options()._Popart.set("enableExplicitIR", True),
    "poptorch.Options._Popart.setPatterns('OpToIdentity')": lambda p: p.Options()._Popart.setPatterns(
        {"OpToIdentity": True}
    ),
    "poptorch.Options.useOfflineIpuTarget(1)": lambda p: p.Options().useOfflineIpuTarget(1),
    "poptorch.TensorLocationSettings.useIOTilesToLoad": lambda p: p.TensorLocationSettings().useIOTilesToLoad(True),
    "poptorch.PipelinedExecution with explicit stages": lambda p: p.PipelinedExecution("encoder", "decoder"),
    "poptorch.BeginBlock without ipu_id": lambda p: p.BeginBlock(torch.nn.Linear(1, 1), "block"),
    "poptorch.PoplarExecutor.getLatency": lambda p: p.inferenceModel(Toy()).getLatency(),
    "poptorch.optim.AdamW(amsgrad=True)": lambda p: p.optim.AdamW(Toy().parameters(), amsgrad=True),
    "poptorch.optim.AdamW(max_grad_norm=1.0)": lambda p: p.optim.AdamW(Toy().parameters(), max_grad_norm=1.0),
    "poptorch.optim.SGD(nesterov=True)": lambda p: p.optim.SGD(Toy().parameters(), nesterov=True),
    "poptorch.optim.AdamW(momentum=0.9)": lambda p: p.optim.AdamW(Toy().parameters(), momentum=0.9),
    "poptorch.optim.AdamW(maximize=True)": lambda p: training(
        p, optimizer=p.optim.AdamW([{"params": Toy().parameters(), "maximize": True}])
    ),
    "poptorch.optim.AdamW.step on the host": lambda p: p.optim.AdamW(Toy().parameters()).step(),
    "torch.optim.sgd.SGD as the optimizer": lambda p: training(p, optimizer=torch.optim.SGD(Toy().parameters(), lr=1)),
    "poptorch.DataLoader(async_options=": lambda p: p.DataLoader(p.Options(), [1], async_options={"buffer_size": 8}),
    "poptorch.DataLoader(batch_sampler=": lambda p: p.DataLoader(p.Options(), [1], batch_sampler=[[0]]),
    "a function as a model": lambda p: p.inferenceModel(lambda x: x),
}


@pytest.mark.parametrize("name", CASES)
def test_a_name_that_is_not_there_is_refused(poptorch, name) -> None:
    with pytest.raises(poptorch.NotEmulated) as refusal:
        CASES[name](poptorch)
    assert str(refusal.value).startswith(f"not emulated: {name}")


def test_an_import_of_it_says_the_name_too(poptorch) -> None:
    with pytest.raises(poptorch.NotEmulated, match="not emulated: poptorch.custom_op"):
        from poptorch import custom_op  # noqa: F401


def test_values_that_can_not_be_are_refused(poptorch) -> None:
    for wrong in (
        lambda: poptorch.Options().deviceIterations(0),
        lambda: poptorch.Options().replicationFactor(1.5),
        lambda: poptorch.Options().Training.gradientAccumulation(True),
        lambda: poptorch.Options().outputMode(poptorch.OutputMode.EveryN),
        lambda: poptorch.Options().setAvailableMemoryProportion({"0": 0.1}),
        lambda: poptorch.Options().setAvailableMemoryProportion({"IPU0": 2}),
        lambda: poptorch.Options().Precision.setPartialsType(torch.bfloat16),
        lambda: poptorch.Options().Training.accumulationAndReplicationReductionType(poptorch.ReductionType.NoReduction),
        lambda: poptorch.setLogLevel("LOUD"),
    ):
        with pytest.raises(ValueError):
            wrong()


def test_options_in_use_are_frozen(poptorch) -> None:
    o = options(poptorch)
    poptorch.trainingModel(Toy(), o)(**batch(2))
    for change in (lambda: o.deviceIterations(2), lambda: o.Training.gradientAccumulation(2)):
        with pytest.raises(AttributeError, match="frozen"):
            change()
    assert o.clone().deviceIterations(2).device_iterations == 2
