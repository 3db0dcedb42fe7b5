"""Layers that are computed twice give bit for bit what they give once: losses, gradients, statistics of batch norms."""

from __future__ import annotations

import random
from typing import Any, Callable, Dict, Tuple

import numpy as np
import pytest
import torch

from asrctl.config.recipe import ModelSection, SpecAugment
from asrctl.data.collate import collate
from asrctl.errors import AsrctlError
from asrctl.models import ctc, gradient_checkpointing, loading
from asrctl.models.packed import transformer

from ..helpers import every_model
from ..helpers.tiny import GROUP, STABLE, VOCABULARY, geometry, noise

# transformers 4.29 on current torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
DICE = {"hidden_dropout": 0.2, "attention_dropout": 0.2, "activation_dropout": 0.2}
Outcome = Tuple[torch.Tensor, Dict[str, torch.Tensor]]


def trained(recognizer: loading.Recognizer, logits: Callable[[Any], torch.Tensor], *, recomputed: bool) -> Outcome:
    """(loss, gradients and buffers) after two passes in training."""
    model = recognizer.model.train()
    if recomputed:
        gradient_checkpointing.switch_on(model)
    loss = torch.zeros(())
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        loss = logits(model).float().square().mean()
        loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return loss.detach(), {**found, **dict(model.named_buffers())}


def require_equal(some: Outcome, others: Outcome) -> None:
    assert torch.equal(some[0], others[0])
    assert some[1].keys() == others[1].keys() and any(".1." in name for name in some[1])
    assert [name for name, tensor in some[1].items() if not torch.equal(tensor, others[1][name])] == []


@pytest.mark.parametrize("kind", every_model.kinds())
def test_plain_passes_of_every_type_of_model(kind: str):
    rows = noise(16000, 9000, 5123)

    def outcome(recomputed: bool) -> Outcome:
        section = ModelSection(architecture=kind, config=every_model.config_of(kind), freeze_layers=1, **DICE)
        try:
            recognizer = loading.build(section, VOCABULARY, seed=1, sample_rate=16000).recognizer
        except AsrctlError as error:
            pytest.skip(error.message)
        batch = collate(rows, recognizer.features)
        return trained(recognizer, lambda model: ctc.forward(model, **batch, exact=True)[0], recomputed=recomputed)

    require_equal(outcome(True), outcome(False))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("config", [GROUP, STABLE], ids=["norm last", "norm first"])
def test_packed_passes(config: "Dict[str, Any]", precision: str):
    features = [torch.randn(count, 8, generator=torch.Generator().manual_seed(count)) for count in (30, 7, 12)]

    def outcome(recomputed: bool) -> Outcome:
        masks = SpecAugment(time_prob=0.3, time_length=3)
        section = ModelSection(
            config={**geometry(), **config, "num_hidden_layers": 4}, spec_augment=masks, layerdrop=0.3, **DICE
        )
        recognizer = loading.build(section, VOCABULARY, seed=1, sample_rate=16000).recognizer
        assert transformer.supports(recognizer.model)
        return trained(
            recognizer,
            lambda model: transformer.logits(model, features, precision=precision)[0],
            recomputed=recomputed,
        )

    require_equal(outcome(True), outcome(False))
