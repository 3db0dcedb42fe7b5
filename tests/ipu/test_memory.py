"""The memory estimate, against sums made by hand."""

from __future__ import annotations

import dataclasses

import pytest

from asrctl.config.recipe import IpuSection
from asrctl.ipu.plan import geometry, layers, memory, placement

BASE = geometry.from_config({}, labels=32)
IPU = IpuSection(
    layers_per_ipu=(9, 4, 4, 4), ipus_per_replica=4, matmul_proportion=(0.1,) * 4, replicated_tensor_sharding=True
)
ENCODER = 4 * (768 * 768 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
FRAMES = 999


def estimate(**changes):
    ipu = dataclasses.replace(IPU, **changes)
    placed = placement.place(placement.layer_names(7, 12), ipu.layers_per_ipu, ipu.ipus_per_replica)
    return memory.estimate(layers.layers_of(BASE, 320000), placed, ipu, 32)


def test_a_stage_of_four_transformer_layers():
    second = estimate()[1]
    assert second.weights == 2 * 4 * ENCODER
    assert second.gradients == 2 * 4 * ENCODER
    assert second.optimizer == 6 * 4 * ENCODER
    # Five micro-batches are between their way there and their way back; four layers keep their inputs.
    assert second.stash == 5 * 4 * FRAMES * 768 * 2
    assert second.total == sum(
        getattr(second, part) for part in ["weights", "gradients", "optimizer", "stash", "working", "matmul", "program"]
    )
    assert second.host_optimizer == 0


def test_the_stash_shrinks_towards_the_last_stage():
    assert [round(item.stash / (FRAMES * 2)) for item in estimate()] == [
        7 * (512 + 2 * 768),
        5 * 4 * 768,
        3 * 4 * 768,
        4 * 768,
    ]


def test_frozen_convolutions_have_no_gradients():
    first = estimate()[0]
    assert first.weights - first.gradients == 2 * sum(layer.frozen for layer in layers.layers_of(BASE, 320000))


def test_optimizer_state_off_chip_and_sharded():
    here, away, shared = (estimate(**c)[1] for c in ({}, {"optimizer_state_offchip": True}, {"replication": 4}))
    assert (away.optimizer, away.host_optimizer) == (0, here.optimizer)
    assert shared.optimizer == here.optimizer // 4
    assert estimate(replication=4, replicated_tensor_sharding=False)[1].optimizer == here.optimizer


def test_fp32_doubles_all_but_the_second_moment():
    half, full = estimate()[2], estimate(precision="fp32")[2]
    assert (full.weights, full.stash, full.working) == (2 * half.weights, 2 * half.stash, 2 * half.working)
    assert full.optimizer / half.optimizer == pytest.approx(8 / 6)


def test_the_published_configurations_fit():
    assert {item.verdict for item in estimate()} == {memory.FITS}
    large = geometry.from_config(geometry.known("facebook/wav2vec2-large-960h-lv60-self")[0], 32)
    ipu = IpuSection(
        layers_per_ipu=(8, 3, 4, 4, 4, 4, 4, 2),
        ipus_per_replica=8,
        matmul_proportion=(0.1,) * 8,
        optimizer_state_offchip=True,
    )
    placed = placement.place(placement.layer_names(7, 24), ipu.layers_per_ipu, 8)
    found = memory.estimate(layers.layers_of(large, 320000), placed, ipu, 16)
    assert {item.verdict for item in found} == {memory.FITS}


def test_base_on_one_ipu_does_not_fit():
    only = estimate(layers_per_ipu=(21,), ipus_per_replica=1, matmul_proportion=(0.1,))
    assert [item.verdict for item in only] == [memory.TOO_MUCH]


def test_sram_of_a_mk2():
    assert memory.SRAM_BYTES == 897 * 1024**2
