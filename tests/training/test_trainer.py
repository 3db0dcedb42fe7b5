"""The host loop's arithmetic, against the plainest torch that says the same."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
from torch.nn import functional

from asrctl.config.recipe import Augment, BatchesSection, HostSection, ModelSection, OptimSection, Recipe, SpecAugment
from asrctl.data.dataset import PreparedSplit
from asrctl.data.shard_files import PreparedUtterance, write_shard
from asrctl.errors import BadData
from asrctl.models import ctc, loading
from asrctl.runtime import devices, free_memory
from asrctl.training.dataloader import Limits
from asrctl.training.job import StartPoint, TrainingJob
from asrctl.training.optim import AdamW
from asrctl.training.schedule import learning_rate
from asrctl.training.trainer import HostTrainer

from ..helpers.tiny import QUIET, VOCABULARY, geometry, write_noise_split

TINY = geometry(24, 12, intermediate_size=32)


def recipe(*, norm="layer", optim=None, batches=None, **model):
    config = dict(TINY, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")
    return Recipe(
        model=ModelSection(config=config, freeze_feature_encoder=False, **dict(QUIET, **model)),
        optim=OptimSection(**dict({"global_batch": 32, "learning_rate": 1e-3}, **(optim or {}))),
        batches=BatchesSection(**(batches or {})),
        cpu=HostSection(precision="fp32", workers=0),
    )


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """32 utterances of noise, 0.3 to 1.2 s, with random labels."""
    return write_noise_split(tmp_path_factory.mktemp("split"), 32, (4800, 19200))


def trainer(split, wanted, folder, *, limits=None):
    recognizer = loading.build(wanted.model, VOCABULARY, seed=3, sample_rate=16000).recognizer
    job = TrainingJob(wanted, folder, split, None, devices.choose("cpu"), "fp32", 20)
    made = HostTrainer(job, StartPoint(recognizer), lambda event: None)
    if limits is not None:
        made.loader = dataclasses.replace(made.loader, limits=limits)
    return made


def gradient(made):
    batch = next(made.loader.steps(0, 1, 0))
    made.model.train()
    loss = sum(
        made._backward(micro, total_weight=float(batch.utterances), key=(0, index))
        for index, micro in enumerate(batch.micro_batches)
    )
    grads = {name: p.grad.clone() for name, p in made.model.named_parameters() if p.grad is not None}
    return loss, grads, [len(micro.weights) for micro in batch.micro_batches]


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_32_utterances_in_any_split_give_the_same_loss_and_gradient(split, tmp_path, norm, reduction):
    wanted = recipe(norm=norm, ctc_loss_reduction=reduction)
    whole_loss, whole, sizes = gradient(trainer(split, wanted, tmp_path, limits=Limits(None, None, None)))
    assert sizes == [32]
    for limits in (Limits(None, 5, None), Limits(40000, None, None), Limits(None, 1, None)):
        loss, grads, sizes = gradient(trainer(split, wanted, tmp_path, limits=limits))
        assert sum(sizes) == 32
        assert len(set(sizes)) > 1 or sizes[0] == 1
        assert loss == pytest.approx(whole_loss, rel=1e-5)
        scale = max(float(grad.abs().max()) for grad in whole.values())
        for name, grad in whole.items():
            torch.testing.assert_close(grads[name], grad, atol=2e-5 * scale, rtol=1e-3, msg=name)


def test_the_loss_is_the_mean_over_utterances_of_plain_ctc(split, tmp_path):
    made = trainer(split, recipe(), tmp_path)
    loss, _, _ = gradient(made)
    expected = []
    with torch.no_grad():
        for utterance in split:
            samples = torch.from_numpy(utterance.pcm.astype(np.float32) / 32768)
            samples = (samples - samples.mean()) / (samples.var(unbiased=False) + 1e-7).sqrt()
            log_probs = functional.log_softmax(made.model(samples[None]).logits, -1).transpose(0, 1)
            labels = torch.from_numpy(utterance.labels.astype(np.int64))
            one = functional.ctc_loss(
                log_probs, labels[None], [len(log_probs)], [len(labels)], blank=VOCABULARY.blank_id, reduction="sum"
            )
            expected.append(float(one) / len(labels))
    assert loss == pytest.approx(np.mean(expected), rel=1e-4)


def test_static_shapes_pad_everything_to_the_same_length(split, tmp_path):
    wanted = recipe(norm="group", batches={"shapes": "static"})
    wanted = dataclasses.replace(wanted, audio=dataclasses.replace(wanted.audio, max_s=1.5))
    batch = next(trainer(split, wanted, tmp_path).loader.steps(0, 1, 0))
    assert {micro.inputs["input_values"].shape[1] for micro in batch.micro_batches} == {24000}


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_adamw_without_bias_correction_is_the_plain_formula(decay):
    optim = OptimSection(
        adam_bias_correction=False, adam_betas=(0.9, 0.98), adam_eps=1e-4, weight_decay=decay, learning_rate=1e-3
    )
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 4)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    adam = AdamW(layer, optim)
    moments = {name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in (("w", weight), ("b", bias))}
    for step in range(25):
        layer.zero_grad()
        layer(torch.randn(3, 5)).square().sum().backward()
        rate = learning_rate(optim, step, 25)
        for name, value, grad, wd in (("w", weight, layer.weight.grad, decay), ("b", bias, layer.bias.grad, 0.0)):
            m, v = moments[name]
            m.mul_(0.9).add_(grad, alpha=0.1)
            v.mul_(0.98).addcmul_(grad, grad, value=0.02)
            value -= rate * (m / (v.sqrt() + 1e-4) + wd * value)
        adam.prepare(step, rate)
        adam.torch_optimizer.step()
        torch.testing.assert_close(layer.weight.detach(), weight, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(layer.bias.detach(), bias, rtol=1e-5, atol=1e-6)


def test_adamw_with_bias_correction_is_torch():
    optim = OptimSection(learning_rate=1e-3, weight_decay=0.02)
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(5, 4, bias=False), torch.nn.Linear(5, 4, bias=False)
    theirs.load_state_dict(ours.state_dict())
    adam, stock = AdamW(ours, optim), torch.optim.AdamW(theirs.parameters(), lr=1e-3, weight_decay=0.02)
    for step in range(10):
        inputs = torch.randn(3, 5)
        for layer in (ours, theirs):
            layer.zero_grad()
            layer(inputs).square().sum().backward()
        adam.prepare(step, 1e-3)
        adam.torch_optimizer.step()
        stock.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-6, atol=1e-7)


def test_schedules():
    linear = OptimSection(learning_rate=1.0, warmup_steps=4)
    assert [learning_rate(linear, step, 12) for step in (0, 2, 4, 8, 11)] == [0.0, 0.5, 1.0, 0.5, 0.125]
    constant = OptimSection(learning_rate=1.0, warmup_steps=4, schedule="constant")
    assert [learning_rate(constant, step, 12) for step in (0, 2, 4, 11)] == [0.0, 0.5, 1.0, 1.0]
    tri = OptimSection(learning_rate=1.0, schedule="tri-stage")
    rates = [learning_rate(tri, step, 100) for step in (0, 10, 49, 50, 75, 100)]
    assert rates == pytest.approx([0.01, 1.0, 1.0, 1.0, 0.05**0.5, 0.05])


@pytest.mark.parametrize("architecture", ["wav2vec2", "hubert", "wavlm", "data2vec-audio"])
@pytest.mark.parametrize("masks", [SpecAugment(), SpecAugment(time_prob=0.5, feature_prob=0.3, feature_length=4)])
def test_every_architecture_trains_with_masks_on_and_off(split, tmp_path, architecture, masks):
    config = dict(TINY, num_conv_pos_embeddings=2) if architecture == "data2vec-audio" else TINY
    model = ModelSection(architecture=architecture, config=config, spec_augment=masks, layerdrop=0.2)
    wanted = dataclasses.replace(recipe(optim={"global_batch": 8}), model=model)
    made = trainer(split, wanted, tmp_path)
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    for batch in made.loader.steps(0, 2, 0):
        step = made._train_step(batch)
        assert step.applied
        assert np.isfinite(step.loss)
    after = made.model.state_dict()
    assert not torch.equal(before["lm_head.weight"], after["lm_head.weight"])
    encoder = [name for name in before if ".feature_extractor." in name]
    assert all(torch.equal(before[name], after[name]) for name in encoder)


@pytest.mark.parametrize("join", [1, 3])
@pytest.mark.parametrize("speed", [0.0, 0.2])
@pytest.mark.parametrize(("seconds", "items"), [(1.9, None), (3.5, None), (30.0, None), (3.5, 2)])
@pytest.mark.parametrize("batch_s", [None, 6.0])
def test_no_micro_batch_is_larger_than_the_one_that_is_tried(split, tmp_path, join, speed, seconds, items, batch_s):
    wanted = recipe(
        batches={"augment": Augment(join=join, speed=speed)},
        optim={"global_batch": 12, "global_batch_s": batch_s},
        ctc_zero_infinity=True,
    )
    wanted = dataclasses.replace(wanted, audio=dataclasses.replace(wanted.audio, max_s=2.0))
    loader = trainer(split, wanted, tmp_path, limits=Limits(int(seconds * 16000), items, None)).loader
    tried = loader.largest()
    rows, samples = loader.largest_shape()
    assert tried.inputs["input_values"].shape == (rows, samples)
    for batch in loader.steps(0, 12, 0):
        for micro in batch.micro_batches:
            made, padded = micro.inputs["input_values"].shape
            assert made * padded <= rows * samples
            assert micro.labels.shape[1] <= tried.labels.shape[1]


def test_a_corpus_of_less_than_two_steps_is_tried_as_the_one_step_that_it_is(tmp_path):
    """Of 12 s, where 6.5 s were wanted, a step has all 12."""
    pcm = (np.random.default_rng(7).standard_normal(16000) * 2000).astype(np.int16)
    rows = [PreparedUtterance(f"u{number}", None, "a", np.array([1], np.int32), pcm) for number in range(12)]
    write_shard(tmp_path / "shard-00000.arrow", rows)
    split = PreparedSplit(tmp_path, name="train", sample_rate=16000)
    wanted = recipe(optim={"global_batch_s": 6.5})
    loader = trainer(split, wanted, tmp_path, limits=Limits(60 * 16000, None, None)).loader
    (batch,) = loader.steps(0, 1, 0)
    (micro,) = batch.micro_batches
    assert micro.inputs["input_values"].shape == (12, 16000)
    assert loader.largest_shape()[0] >= 12


def test_an_encoder_that_learns_has_micro_batches_of_at_most_so_much_padded_audio(split, tmp_path):
    """Where items are padded, equal sums of their lengths would say little of what a micro-batch takes."""
    wanted = dataclasses.replace(recipe(), cpu=HostSection(workers=0))
    wanted = dataclasses.replace(wanted, model=dataclasses.replace(wanted.model, freeze_feature_encoder=False))
    made = trainer(split, wanted, tmp_path)
    assert (made.forward_pass.engine, made.forward_pass.pads) == ("packed", True)
    long_and_short = [20 * 16000] + [16000] * 31
    for cut in made.loader.limits.cut(long_and_short):
        assert len(cut) * max(long_and_short[place] for place in cut) <= 45 * 16000


def test_a_trial_is_made_only_where_it_could_fail(split, tmp_path):
    if free_memory.addresses_are_scarce() or free_memory.free_bytes() < 2 << 30:
        pytest.skip("this machine has little memory, or counts addresses")
    made = trainer(split, recipe(), tmp_path)
    assert made._far_more_is_free()
    few = made.loader
    many = dataclasses.replace(few.plan, global_batch=10**7)
    made.loader = dataclasses.replace(few, limits=Limits(None, None, None), plan=many)
    assert not made._far_more_is_free()
    made.loader, made.forward_pass.engine = few, "plain"
    assert not made._far_more_is_free()


def test_an_error_in_a_feeding_thread_is_the_runs_own_and_no_thread_is_left(split, tmp_path):
    class Unreadable(PreparedSplit):
        def __getitem__(self, index):
            if index == 5:
                raise BadData("utterance 5 can not be read", fix="prepare again")
            return super().__getitem__(index)

    made = trainer(Unreadable(split.folder, name="train", sample_rate=16000), recipe(), tmp_path)
    made.host = dataclasses.replace(made.host, workers=2)
    with pytest.raises(BadData, match="utterance 5"):
        made.run()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asrctl-feed")]


def test_frame_lengths_are_those_of_the_logits(split, tmp_path):
    model = trainer(split, recipe(), tmp_path).model
    for samples in (400, 719, 720, 16000):
        logits = model(torch.zeros(1, samples)).logits
        assert logits.shape[1] == int(ctc.frame_lengths(model, torch.tensor([samples]))[0])
