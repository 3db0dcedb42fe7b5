"""The encoder as matrix products gives each utterance what transformers' own encoder gives it alone."""

import numpy as np
import pytest
import torch

from asrctl.data.collate import collate
from asrctl.models import ctc
from asrctl.models.packed import feature_encoder, feature_encoder_batched, feature_encoder_layers

from ..helpers.sound_bf16 import needs_sound_bf16
from ..helpers.tiny import GROUP, LAYER, geometry, tiny_recognizer

SMALL = geometry(16, 24, num_hidden_layers=1, num_conv_pos_embeddings=4)
ODD = dict(LAYER, conv_dim=[8, 12, 16], conv_kernel=[64, 4, 3], conv_stride=[40, 4, 1], feat_extract_activation="relu")
CASES = [
    ("wav2vec2", GROUP),
    ("wav2vec2", dict(GROUP, conv_bias=True)),
    ("wav2vec2", LAYER),
    ("wav2vec2", ODD),
    ("hubert", GROUP),
    ("wavlm", GROUP),
    ("wavlm", LAYER),
    ("data2vec-audio", {}),
]
LENGTHS = (16000, 9000, 5123, 640)


def make(architecture="wav2vec2", config=None):
    recognizer = tiny_recognizer(dict(SMALL, **(GROUP if config is None else config)), architecture)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in ctc.encoder_of(recognizer.model).feature_extractor.parameters():
            if parameter.ndim == 1:  # norms and biases that do something
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return recognizer


def samples_of(recognizer, *lengths):
    generator = np.random.default_rng(0)
    rows = [(1000 + generator.standard_normal(length).cumsum() * 100).astype(np.int16) for length in lengths]
    return [collate([row], recognizer.features)["input_values"][0] for row in rows]


def plain(recognizer, samples):
    extractor = ctc.encoder_of(recognizer.model).feature_extractor
    with torch.no_grad():
        return [extractor(row[None])[0].t() for row in samples]


@pytest.mark.parametrize(("architecture", "config"), CASES)
def test_each_utterance_gets_what_it_gets_alone(architecture, config):
    recognizer = make(architecture, config)
    samples = samples_of(recognizer, *LENGTHS)
    assert feature_encoder.supports(recognizer.model)
    found = feature_encoder.features(recognizer.model, samples, precision="fp32")
    for ours, theirs, length in zip(found, plain(recognizer, samples), LENGTHS):
        assert len(ours) == feature_encoder.frame_count(recognizer.model.config, length)
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("most", [10**9, 400_000, 1])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("architecture", "config"), CASES)
def test_in_one_row_each_gets_it_too(architecture, config, precision, most, monkeypatch):
    recognizer = make(architecture, config)
    config = recognizer.model.config
    samples = samples_of(recognizer, *LENGTHS)
    samples[1:1] = [torch.zeros(39)]  # too short for a frame
    monkeypatch.setattr(feature_encoder_batched, "_MOST_NUMBERS", most)
    with torch.no_grad():
        found = feature_encoder_batched.encode(
            samples, feature_encoder_layers.layers_of(recognizer.model, feature_encoder.DTYPES[precision]), config
        )
    alone = feature_encoder.features(recognizer.model, samples, precision=precision)
    tolerance = {"atol": 2e-5, "rtol": 1e-4} if precision == "fp32" else {"atol": 0.02, "rtol": 0.02}
    for ours, theirs in zip(found, alone):
        torch.testing.assert_close(ours, theirs, **tolerance)


@needs_sound_bf16
@pytest.mark.parametrize(("architecture", "config"), CASES)
def test_bf16_stays_as_near_to_fp32_as_autocast_does(architecture, config):
    recognizer = make(architecture, config)
    samples = samples_of(recognizer, *LENGTHS)
    exact = plain(recognizer, samples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = plain(recognizer, samples)
    found = feature_encoder.features(recognizer.model, samples, precision="bf16")
    assert {row.dtype for row in found} == {torch.bfloat16}
    ours, theirs, wanted = (torch.cat(rows).float() for rows in (found, autocast, exact))
    noise, noise_of_autocast = ((rows - wanted).square().mean().sqrt() for rows in (ours, theirs))
    assert noise < 0.02 * wanted.square().mean().sqrt()
    assert noise < 1.25 * noise_of_autocast


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_neither_company_nor_cuts_change_a_number(precision, monkeypatch):
    recognizer = make()
    samples = samples_of(recognizer, *LENGTHS)
    together = feature_encoder.features(recognizer.model, samples, precision=precision)
    for row, expected in zip(samples, together):
        assert torch.equal(feature_encoder.features(recognizer.model, [row], precision=precision)[0], expected)
    monkeypatch.setattr(feature_encoder, "_MOST_NUMBERS", 20_000)
    for cut, expected in zip(feature_encoder.features(recognizer.model, samples, precision=precision), together):
        torch.testing.assert_close(cut, expected, atol=1e-5, rtol=0.01)


def test_a_changed_weight_is_seen():
    recognizer = make()
    samples = samples_of(recognizer, 4000)
    before = feature_encoder.features(recognizer.model, samples, precision="fp32")[0]
    with torch.no_grad():
        ctc.encoder_of(recognizer.model).feature_extractor.conv_layers[3].conv.weight.mul_(1.5)
    after = feature_encoder.features(recognizer.model, samples, precision="fp32")[0]
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, plain(recognizer, samples)[0], atol=2e-5, rtol=1e-4)


def test_too_short_for_a_frame_is_no_frames_and_an_encoder_with_a_hook_of_its_own_is_left_alone():
    recognizer = make()
    assert feature_encoder.features(recognizer.model, [torch.zeros(300)], precision="bf16")[0].shape == (0, 24)
    ctc.encoder_of(recognizer.model).feature_extractor.conv_layers[1].conv = torch.nn.Conv1d(24, 24, 3, 2, 1)
    assert not feature_encoder.supports(recognizer.model)
