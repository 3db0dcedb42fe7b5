"""Packed frames give what padded batches give: logits, losses, gradients, learning."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import Wav2Vec2Config

from asrctl.config.recipe import SpecAugment
from asrctl.data.collate import collate
from asrctl.models import ctc
from asrctl.models.packed import fft_conv, fused_attention, layer_norm, linear, positions, shape_rounding, transformer
from asrctl.models.packed.attention import attention
from asrctl.models.packed.weight_cache import Copies
from asrctl.runtime import compat, devices

from ..helpers.sound_bf16 import SOUND_BF16, needs_sound_bf16
from ..helpers.tiny import GROUP, NO_DROPOUT, NO_MASKS, STABLE, VOCABULARY, geometry, noise, tiny_recognizer

SMALL = geometry(32, 16, num_hidden_layers=3, intermediate_size=72, num_conv_pos_embeddings=16)
LAYER = STABLE
# A position embedding that reaches as far as that of the published models: a product of spectra in fp32.
LONG = {**GROUP, "num_conv_pos_embeddings": 128}
CASES = [("wav2vec2", GROUP), ("wav2vec2", LAYER), ("hubert", GROUP), ("hubert", LAYER), ("wav2vec2", LONG)]
LENGTHS = (16000, 9000, 5123, 9000)


def make(architecture="wav2vec2", config=None, **other):
    options = {**NO_DROPOUT, "spec_augment": NO_MASKS, **other}
    return tiny_recognizer({**SMALL, **(config or GROUP)}, architecture, **options)


def features_of(recognizer, rows):
    """What the convolutional encoder gives each utterance alone."""
    extractor = ctc.encoder_of(recognizer.model).feature_extractor
    with torch.no_grad():
        return [extractor(collate([row], recognizer.features)["input_values"])[0].t() for row in rows]


def labels_of(count):
    generator = np.random.default_rng(1)
    lengths = torch.from_numpy(generator.integers(3, 7, count))
    return torch.from_numpy(generator.integers(3, len(VOCABULARY), (count, 6))), lengths


def loss_of(recognizer, logits, frames):
    labels, lengths = labels_of(len(frames))
    losses = ctc.ctc_losses(
        logits, frames, labels, lengths, blank=recognizer.blank, reduction="mean", zero_infinity=True
    )
    return losses.mean()


def packed_loss(recognizer, rows, precision="fp32"):
    packed_logits, frames = transformer.logits(recognizer.model, features_of(recognizer, rows), precision=precision)
    return loss_of(recognizer, transformer.padded(packed_logits, frames), frames)


def plain_loss(recognizer, rows, autocast=False):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits, frames = ctc.forward(recognizer.model, **collate(rows, recognizer.features), exact=True)
    return loss_of(recognizer, logits, frames)


def gradients(recognizer, loss):
    recognizer.model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in recognizer.model.named_parameters() if p.grad is not None}


@pytest.fixture(params=[True, False], ids=["tiles", "no-tiles"])
def either_chip(request, monkeypatch):
    """What a CPU takes in bf16 with a matrix unit, and without one; both run everywhere."""
    monkeypatch.setattr(devices, "cpu_has_tiles", lambda: request.param)


@pytest.mark.parametrize(("architecture", "config"), CASES)
def test_each_utterance_has_the_logits_it_has_alone(architecture, config):
    recognizer = make(architecture, config)
    model = recognizer.model.eval()
    assert transformer.supports(model)
    rows = noise(*LENGTHS)
    with torch.inference_mode():
        logits, frames = transformer.logits(model, features_of(recognizer, rows), precision="fp32")
        for row, part in zip(rows, logits.split(frames.tolist())):
            alone = model(input_values=collate([row], recognizer.features)["input_values"]).logits[0]
            torch.testing.assert_close(part, alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("counts", [[200], [1, 130, 127], [90, 3, 300, 128]])
@pytest.mark.parametrize("spare", [0, 7])
def test_a_position_embedding_that_reaches_far_is_that_of_each_utterance_alone(counts, spare, monkeypatch):
    embedding = make(config=LONG).model.wav2vec2.encoder.pos_conv_embed.eval()
    hidden = torch.randn(sum(counts) + spare, SMALL["hidden_size"], generator=torch.Generator().manual_seed(0))
    assert fft_conv.supports(hidden, positions.kernel(embedding.conv))
    found = positions.embed(hidden, counts, embedding.conv)
    for mine, alone in zip(found[: sum(counts)].split(counts), hidden[: sum(counts)].split(counts)):
        torch.testing.assert_close(mine, embedding(alone[None])[0], atol=1e-5, rtol=1e-5)
    for tiles in (True, False) if SOUND_BF16 else ():
        monkeypatch.setattr(devices, "cpu_has_tiles", lambda tiles=tiles: tiles)
        low = positions.embed(hidden.bfloat16(), counts, embedding.conv)
        torch.testing.assert_close(low.float(), found, atol=3e-2, rtol=3e-2)


@pytest.mark.parametrize(("architecture", "config"), CASES)
def test_loss_and_gradients_are_those_of_the_padded_batch(architecture, config):
    recognizer = make(architecture, config)
    recognizer.model.train()
    rows = noise(*LENGTHS)
    ours, plain = packed_loss(recognizer, rows), plain_loss(recognizer, rows)
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-6)
    found, expected = gradients(recognizer, ours), gradients(recognizer, plain)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=2e-6, rtol=1e-3, msg=name)


@pytest.mark.parametrize(("architecture", "config"), CASES)
def test_rows_that_fill_up_a_shape_change_nothing(architecture, config, either_chip, monkeypatch):
    """In fp32, which does not need them, so that the smallest difference shows; dropout aside, which draws for them."""
    recognizer = make(architecture, config, spec_augment=SpecAugment(time_prob=0.3, feature_prob=0.2, feature_length=4))
    recognizer.model.train()
    rows, found = noise(*LENGTHS), []
    for precisions in (set(), {torch.float32}):
        monkeypatch.setattr(shape_rounding, "MADE_TO_MEASURE", precisions)
        np.random.seed(3)
        loss = packed_loss(recognizer, rows)
        found.append((loss, gradients(recognizer, loss)))
    # Gradients reach 3 and more; sums over other numbers of rows round otherwise, each processor in its own way.
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-3)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("rows", "columns"), [(767, 768), (768, 768), (1535, 768), (700, 768), (300, 256), (1000, 1024)]
)
def test_rows_are_cut_where_one_of_two_threads_would_idle(two_threads, monkeypatch, rows, columns):
    monkeypatch.setattr(devices, "cpu_has_tiles", lambda: True)
    step = linear.rows_at_a_time(rows, columns)
    assert 4 * step < 3 * columns, "below what the library gives to one thread"
    torch.set_num_threads(1)
    assert linear.rows_at_a_time(rows, columns) == rows
    torch.set_num_threads(2)
    monkeypatch.setattr(devices, "cpu_has_tiles", lambda: False)
    assert linear.rows_at_a_time(rows, columns) == rows


@pytest.mark.parametrize(("rows", "columns"), [(0, 768), (500, 768), (1536, 768), (800, 2304)])
def test_other_products_are_made_whole(two_threads, either_chip, rows, columns):
    assert linear.rows_at_a_time(rows, columns) == max(1, rows)


@needs_sound_bf16
@pytest.mark.parametrize("rows", [500, 900, 1300])
def test_a_linear_layer_in_bf16_is_the_same_in_pieces(two_threads, monkeypatch, rows):
    monkeypatch.setattr(devices, "cpu_has_tiles", lambda: True)
    torch.manual_seed(0)
    layer = nn.Linear(768, 768)
    inputs, gradient = torch.randn(rows, 768).bfloat16().requires_grad_(), torch.randn(rows, 768).bfloat16()
    found = linear.linear(inputs, Copies(torch.bfloat16), layer)
    found.backward(gradient)
    weight, bias = (tensor.detach().bfloat16().float() for tensor in (layer.weight, layer.bias))
    close = {"atol": 2e-2, "rtol": 1e-2}
    torch.testing.assert_close(found.float(), functional.linear(inputs.float(), weight, bias), **close)
    torch.testing.assert_close(inputs.grad.float(), gradient.float() @ weight, **close)
    torch.testing.assert_close(layer.weight.grad, gradient.float().t() @ inputs.float(), atol=0.5, rtol=1e-2)


@needs_sound_bf16
@pytest.mark.parametrize(("out", "width"), [(768, 200), (200, 768), (64, 64), (600, 100)])
def test_weight_gradients_in_bf16_are_products_whatever_their_shape(either_chip, out, width):
    torch.manual_seed(0)
    gradient, inputs = torch.randn(50, out).bfloat16(), torch.randn(50, width).bfloat16()
    found = linear.weight_gradient(gradient, inputs)
    torch.testing.assert_close(found, (gradient.float().t() @ inputs.float()).bfloat16(), atol=1e-2, rtol=1e-2)


def test_gradients_add_up_over_micro_batches():
    recognizer = make()
    recognizer.model.train()
    rows = noise(*LENGTHS)
    once = gradients(recognizer, packed_loss(recognizer, rows))
    packed_loss(recognizer, rows).backward()
    for name, parameter in recognizer.model.named_parameters():
        if name in once:
            torch.testing.assert_close(parameter.grad, 2 * once[name])


@pytest.mark.parametrize("lengths", [LENGTHS, (16000, 2000, 9000), (3000, 2000)], ids=["long", "mixed", "short"])
@pytest.mark.parametrize("config", [GROUP, LAYER])
def test_masks_are_those_of_the_padded_batch(config, lengths):
    """Also where some, or all, of the utterances are shorter than a mask over time, ten frames."""
    recognizer = make("wav2vec2", config, spec_augment=SpecAugment(time_prob=0.4, feature_prob=0.2, feature_length=4))
    recognizer.model.train()
    rows = noise(*lengths)
    losses = []
    for loss_of_rows in (packed_loss, plain_loss):
        np.random.seed(5)
        losses.append(loss_of_rows(recognizer, rows))
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-6)
    recognizer.model.eval()
    assert not torch.isclose(packed_loss(recognizer, rows), losses[0])


def test_an_utterance_does_not_hear_its_neighbors():
    recognizer = make()
    recognizer.model.eval()
    first, second, third = features_of(recognizer, noise(9000, 6000, 8000))
    with torch.inference_mode():
        before, frames = transformer.logits(recognizer.model, [first, second, third], precision="bf16")
        after, _ = transformer.logits(recognizer.model, [first.flip(1), second, third.flip(1)], precision="bf16")
    parts = [logits.split(frames.tolist()) for logits in (before, after)]
    assert torch.equal(parts[0][1], parts[1][1])
    assert not torch.equal(parts[0][0], parts[1][0])


def trajectory(loss_of_rows, steps=24, **options):
    """Losses of a few steps of learning the same utterances by heart."""
    recognizer = make(**options)
    recognizer.model.freeze_feature_encoder()
    recognizer.model.train()
    rows = noise(*LENGTHS)
    learning = [p for p in recognizer.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=2e-3, fused=compat.fused_adamw_works("cpu"))
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of_rows(recognizer, rows)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return np.array(losses)


@needs_sound_bf16
@pytest.mark.parametrize("counts", [[200], [1, 130, 127]])
def test_attention_in_bf16_is_that_of_the_library(either_chip, counts):
    joined = torch.randn(sum(counts) + 3, 3 * 96, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = []
    for part in joined[: sum(counts)].float().split(counts):
        query, key, value = part.view(-1, 3, 6, 16).permute(1, 2, 0, 3)
        expected.append(functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).reshape(-1, 96))
    whole = torch.cat([*expected, torch.zeros(3, 96)])
    for learning in (False, True):
        found = attention(joined.clone().requires_grad_(learning), counts, 6, 0.0, None)
        torch.testing.assert_close(found.float(), whole, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("config", [GROUP, LAYER, LONG])
def test_bf16_learns_as_fp32_does(either_chip, config):
    exact = trajectory(plain_loss, config=config)
    assert exact[-1] < 0.7 * exact[0]
    packed_fp32 = trajectory(packed_loss, config=config)
    np.testing.assert_allclose(packed_fp32, exact, rtol=2e-3)
    ours = trajectory(lambda *given: packed_loss(*given, precision="bf16"), config=config)
    stock = trajectory(lambda *given: plain_loss(*given, autocast=True), config=config)
    distance, of_stock = np.abs(ours / exact - 1).mean(), np.abs(stock / exact - 1).mean()
    assert distance < max(1.5 * of_stock, 0.01)


DROPOUT = {"hidden_dropout": 0.2, "attention_dropout": 0.3, "activation_dropout": 0.1, "layerdrop": 0.2}


def test_dropout_depends_on_the_seed_alone_and_stops_in_evaluation():
    recognizer = make(**DROPOUT)
    rows = noise(*LENGTHS)

    def loss(seed):
        torch.manual_seed(seed)
        return float(packed_loss(recognizer, rows).detach())

    recognizer.model.train()
    assert loss(1) == loss(1) != loss(2)
    recognizer.model.eval()
    assert loss(1) == loss(2)


def test_dropout_keeps_the_expected_value():
    torch.manual_seed(0)
    values = torch.ones(300, 200, requires_grad=True)
    dropped = transformer.drop(values, 0.1, transformer.Dice())
    kept = dropped != 0
    assert abs(float(kept.float().mean()) - 0.9) < 0.005
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 1 / 0.9))
    dropped.sum().backward()
    torch.testing.assert_close(values.grad, dropped.detach())


def test_dropped_attention_has_the_gradient_of_its_definition():
    torch.manual_seed(0)
    joined = torch.randn(9, 12, requires_grad=True)
    dice = transformer.Dice()
    again = copy.deepcopy(dice)
    output = transformer.attention(joined, [5, 4], 2, 0.5, dice)
    expected = []
    for part in joined.split([5, 4]):
        query, key, value = part.view(-1, 3, 2, 2).permute(1, 2, 0, 3)
        weights = functional.softmax(query @ key.transpose(1, 2) * 2**-0.5, dim=-1)
        expected.append(((weights * (again.keep(weights, 0.5) != 0) / 0.5) @ value).transpose(0, 1).reshape(-1, 4))
    torch.testing.assert_close(output, torch.cat(expected))
    weight = torch.randn_like(output)
    (ours,) = torch.autograd.grad((output * weight).sum(), joined)
    (theirs,) = torch.autograd.grad((torch.cat(expected) * weight).sum(), joined)
    torch.testing.assert_close(ours, theirs)


def test_what_is_not_plain_is_left_to_the_library():
    assert not transformer.supports(make("wavlm").model)
    assert not transformer.supports(make(config={"hidden_act": "relu"}).model)
    adapted = make().model
    assert transformer.supports(adapted)
    adapted.config.add_adapter = True
    assert not transformer.supports(adapted)
    if hasattr(Wav2Vec2Config(), "adapter_attn_dim"):
        assert not transformer.supports(make(config={"adapter_attn_dim": 4, **LAYER}).model)


@pytest.mark.parametrize("counts", [(40, 7, 23), (12, 12), (9,)])
def test_the_fused_attention_of_a_gpu_gives_the_same(counts):
    torch.manual_seed(0)
    joined = torch.randn(sum(counts), 3 * 16, requires_grad=True)
    gradient = torch.randn(sum(counts), 16)
    found, expected = fused_attention.padded(joined, counts, 2, 0.0), attention(joined, counts, 2, 0.0, None)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    ours, theirs = (torch.autograd.grad(rows, joined, gradient)[0] for rows in (found, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    with torch.inference_mode():
        torch.testing.assert_close(fused_attention.padded(joined, counts, 2, 0.0), found)


def test_the_layer_norm_of_a_gpu_is_that_of_the_library():
    torch.manual_seed(0)
    norm = nn.LayerNorm(16)
    with torch.no_grad():
        norm.weight.add_(0.3 * torch.randn(16))
        norm.bias.add_(0.3 * torch.randn(16))
    values, gradient = torch.randn(9, 16, requires_grad=True), torch.randn(9, 16)
    plain = norm(values)
    expected = torch.autograd.grad(plain, (values, norm.weight, norm.bias), gradient)
    found = layer_norm._LayerNorm.apply(
        values, norm.weight.detach(), norm.bias.detach(), norm.eps, norm.weight, norm.bias
    )
    found.backward(gradient)
    torch.testing.assert_close(found, plain)
    for ours, theirs in zip((values.grad, norm.weight.grad, norm.bias.grad), expected):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_all_copies_are_made_anew_at_once():
    layers = [nn.Linear(4, 3), nn.Linear(4, 3)]
    kept = Copies(torch.bfloat16)
    joined, alone = kept.get(layers[0].weight, layers[1].weight), kept.get(layers[0].bias)
    with torch.no_grad():
        for layer in layers:
            layer.weight.add_(1.0)
            layer.bias.sub_(1.0)
    kept._refresh_all()
    assert torch.equal(joined, torch.cat([layers[0].weight, layers[1].weight]).bfloat16())
    assert torch.equal(alone, layers[0].bias.bfloat16())
    assert kept.get(layers[0].bias) is alone
