"""Layers, their IPUs and their cost. (tests/ipu/emulation compares the placement with the real package.)"""

from __future__ import annotations

import numpy as np
import pytest

from asrctl.config.recipe import IpuSection
from asrctl.errors import PresetError
from asrctl.ipu.plan import balance, geometry, layers, memory, placement

BASE = geometry.from_config({}, labels=32)
TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8, 12, 16],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 2, 2],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def on_each_ipu(transformer_layers, layers_per_ipu):
    names = placement.layer_names(7, transformer_layers)
    placed = placement.place(names, layers_per_ipu, len(layers_per_ipu))
    return [[names[index] for index in placed.on(ipu)] for ipu in range(len(layers_per_ipu))]


def test_base_on_four_ipus():
    convolutions = [f"Conv {index}" for index in range(7)]
    assert on_each_ipu(12, [9, 4, 4, 4]) == [
        [*convolutions, "Positional Embedding", "Encoder 0"],
        [f"Encoder {index}" for index in range(1, 5)],
        [f"Encoder {index}" for index in range(5, 9)],
        ["Encoder 9", "Encoder 10", "Encoder 11", "Project Hidden"],
    ]


def test_large_on_eight_ipus():
    found = on_each_ipu(24, [8, 3, 4, 4, 4, 4, 4, 2])
    assert [item[0] for item in found[1:]] == [f"Encoder {index}" for index in (0, 3, 7, 11, 15, 19, 23)]
    assert found[0][-1] == "Positional Embedding" and found[7] == ["Encoder 23", "Project Hidden"]


def test_an_ipu_without_layers_is_no_stage():
    placed = placement.place(placement.layer_names(7, 12), [9, 0, 8, 4], 4)
    assert placed.stages == [0, 2, 3]


@pytest.mark.parametrize("counts", [[9, 4, 4, 3], [22, 0, -1, 0], [9, 4]])
def test_wrong_counts_are_refused(counts):
    with pytest.raises(PresetError, match="layers_per_ipu"):
        placement.place(placement.layer_names(7, 12), counts, 4)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers 4.29 under newer torch
@pytest.mark.parametrize("variant", [{}, LAYER_NORM], ids=["group", "layer"])
def test_parameters_are_those_of_the_real_model(variant):
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2Config(**TINY, **variant, vocab_size=30)
    model = transformers.Wav2Vec2ForCTC(config)
    model.freeze_feature_encoder()
    found = layers.layers_of(geometry.from_config({**TINY, **variant}, labels=30), 16000)
    counts = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    assert sum(layer.trained for layer in found) == sum(count for count, trained in counts if trained)
    assert sum(layer.frozen for layer in found) == sum(count for count, trained in counts if not trained)


def test_base_960h_has_the_parameters_it_is_known_for():
    assert sum(layer.frozen + layer.trained for layer in layers.layers_of(BASE, 16000)) == 94_396_320


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers 4.29 under newer torch
def test_operations_are_those_that_torch_counts():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    counter = pytest.importorskip("torch.utils.flop_counter")
    config = transformers.Wav2Vec2Config(**TINY, vocab_size=30, attn_implementation="eager")
    model = transformers.Wav2Vec2ForCTC(config).eval()
    with counter.FlopCounterMode(display=False) as counted, torch.no_grad():
        model(torch.zeros(1, 16000))
    shape = geometry.from_config(TINY, labels=30)
    found = sum(layer.frozen_flops + layer.trained_flops for layer in layers.layers_of(shape, 16000))
    assert found == pytest.approx(float(layers.total_flops(shape, 16000)))
    # torch counts the extra frame that an even positional kernel makes, and that is cut off again.
    assert found == pytest.approx(counted.get_total_flops(), rel=2e-3)


def test_frames_of_an_array_are_those_of_each():
    lengths = np.array([100, 16000, 320000])
    assert [int(count) for count in BASE.conv_frames(lengths)[-1]] == [0, 49, 999]


@pytest.mark.parametrize(
    ("name", "count", "assumed"),
    [
        ("facebook/wav2vec2-base-960h", 12, False),
        ("facebook/wav2vec2-large-960h-lv60-self", 24, False),
        ("someone/wav2vec2-large-xlsr-53-klingon", 24, True),
        ("someone/my-model", 12, True),
    ],
)
def test_sizes_by_name(name, count, assumed):
    values, origin = geometry.known(name)
    assert (geometry.from_config(values, 32).layers, origin.assumed) == (count, assumed)


@pytest.mark.parametrize("wrong", [{"conv_dim": [8]}, {"hidden_size": None}, {"num_hidden_layers": 0}])
def test_sizes_that_do_not_fit_together_are_refused(wrong):
    with pytest.raises(ValueError, match="configuration|conv_dim|hidden_size"):
        geometry.from_config(wrong, 32)


def search(counts, **changes):
    ipu = IpuSection(
        layers_per_ipu=tuple(counts), ipus_per_replica=len(counts), matmul_proportion=(0.1,) * 4, **changes
    )
    return layers.layers_of(BASE, 320000), ipu


def test_search_is_as_good_as_trying_every_placement():
    from itertools import combinations

    costs, ipu = search([9, 4, 4, 4])
    names = placement.layer_names(7, 12)

    def slowest(counts):
        placed = placement.place(names, counts, 4)
        if any(item.verdict != memory.FITS for item in memory.estimate(costs, placed, ipu, 32)):
            return float("inf")
        own = [[costs[index] for index in placed.on(place)] for place in range(4)]
        return max(sum(memory.stage_flops(part, 1, last=place == 3)) for place, part in enumerate(own))

    every = [(a, b - a, c - b, 21 - c) for a, b, c in combinations(range(1, 21), 3)]
    found = balance.search(costs, ipu, 32).layers_per_ipu
    assert slowest(found) == min(map(slowest, every))


def test_search_finds_nothing_where_nothing_fits():
    costs, ipu = search([9, 4, 4, 4], micro_batch=50)
    assert balance.search(costs, ipu, 32).layers_per_ipu is None
