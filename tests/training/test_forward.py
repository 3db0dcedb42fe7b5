"""Packed or padded, cached or not: the same is learned."""

import numpy as np
import pytest
import torch

from asrctl.config.recipe import Augment, BatchesSection, HostSection, ModelSection, OptimSection, Recipe
from asrctl.data.sampler import even_micro_batches
from asrctl.events import Note, Warned
from asrctl.models import loading
from asrctl.runtime import devices
from asrctl.storage import files
from asrctl.training import feature_cache
from asrctl.training.forward import ForwardPass
from asrctl.training.job import StartPoint, TrainingJob
from asrctl.training.trainer import HostTrainer

from ..helpers.tiny import VOCABULARY, geometry, write_noise_split

TINY = geometry(24, 12, intermediate_size=32)
STEPS = 8  # two epochs


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """16 utterances of noise, 0.3 to 1.2 s, with random labels."""
    return write_noise_split(tmp_path_factory.mktemp("split"), 16, (4800, 19200))


@pytest.fixture(autouse=True)
def small_reserve(monkeypatch):
    monkeypatch.setattr(feature_cache, "_RESERVE_BYTES", 0)


def recipe(*, norm="group", frozen=True, dropout=0.0, batches=None, **host):
    config = dict(TINY, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")
    dropouts = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout"), dropout)
    return Recipe(
        model=ModelSection(config=config, freeze_feature_encoder=frozen, **dropouts),
        optim=OptimSection(global_batch=4, learning_rate=3e-4),
        batches=BatchesSection(**(batches or {})),
        cpu=HostSection(**dict({"workers": 0, "micro_batch": 3}, **host)),
    )


def run(split, folder, wanted, precision="fp32", before_step=None):
    """(losses, weights, events) of STEPS steps."""
    events, losses = [], []
    recognizer = loading.build(wanted.model, VOCABULARY, seed=3, sample_rate=16000).recognizer
    cached = {"features": folder / "features", "data": "d"}
    job = TrainingJob(wanted, folder, split, None, devices.choose("cpu"), precision, STEPS, **cached)
    trainer = HostTrainer(job, StartPoint(recognizer), events.append)
    for batch in trainer.loader.steps(0, STEPS, 0):
        if before_step is not None:
            before_step(batch.step, trainer)
        losses.append(trainer._train_step(batch).loss)
    trainer.forward_pass.close()
    return losses, {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}, events


def same_weights(left, right):
    return all(torch.equal(tensor, right[name]) for name, tensor in left.items())


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("frozen", [True, False])
def test_packed_frames_learn_what_padded_batches_learn(split, tmp_path, norm, frozen):
    plain, _, notes = run(split, tmp_path / "plain", recipe(norm=norm, frozen=frozen, engine="plain"))
    assert Note("engine: plain, fp32") in notes
    packed, _, notes = run(split, tmp_path / "packed", recipe(norm=norm, frozen=frozen))
    assert Note("engine: packed, fp32") in notes
    assert packed == pytest.approx(plain, rel=2e-3)
    assert packed[0] == pytest.approx(plain[0], rel=1e-5)
    low, _, _ = run(split, tmp_path / "bf16", recipe(norm=norm, frozen=frozen), precision="bf16")
    assert low == pytest.approx(plain, rel=0.03)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_its_cache_a_run_gives_the_very_same_weights(split, tmp_path, precision, monkeypatch):
    wanted = recipe(dropout=0.1)
    losses, kept, notes = run(split, tmp_path / "kept", wanted, precision)
    assert any("the frozen encoder's output is kept" in getattr(note, "message", "") for note in notes)
    assert len(list((tmp_path / "kept" / "features").iterdir())) == 1

    again, same, notes = run(split, tmp_path / "kept", wanted, precision)
    assert any("100 % of the utterances there already" in getattr(note, "message", "") for note in notes)
    assert (again, same_weights(kept, same)) == (losses, True)

    off, same, _ = run(split, tmp_path / "off", recipe(dropout=0.1, cache_features=False), precision)
    assert not (tmp_path / "off").exists()
    assert (off, same_weights(kept, same)) == (losses, True)

    def damage(step, trainer):
        if step == 5:
            data = trainer.forward_pass.cache.folder / "frames.bin"
            damaged = bytes(byte ^ 85 for byte in data.read_bytes())
            with data.open("r+b") as stream:  # in place: cut short, the file would end the process that has it mapped
                stream.write(damaged)
        if step == 6:
            files.remove_tree(trainer.forward_pass.cache.folder)

    damaged, same, _ = run(split, tmp_path / "damaged", wanted, precision, before_step=damage)
    assert (damaged, same_weights(kept, same)) == (losses, True)

    def fill_disk(step, trainer):
        monkeypatch.setattr(feature_cache, "_RESERVE_BYTES", 10**18 if step == 2 else 0)

    full, same, events = run(split, tmp_path / "full", wanted, precision, before_step=fill_disk)
    assert (full, same_weights(kept, same)) == (losses, True)
    assert len([event for event in events if isinstance(event, Warned)]) == 1


def test_the_cache_is_read_while_nothing_else_has_changed(split, tmp_path):
    run(split, tmp_path, recipe())
    found = []

    def look(step, trainer):
        found.append(
            all(item.features is not None for item in trainer.loader.make(0, 0, np.arange(4)).micro_batches[0].items)
        )

    run(split, tmp_path, recipe(), before_step=look)
    assert all(found)
    for other in (recipe(norm="layer"), recipe(batches={"augment": Augment(gain_db=6.0)})):
        found.clear()
        run(split, tmp_path, other, before_step=look)
        assert not found[0]
    found.clear()
    run(split, tmp_path, recipe(), precision="bf16", before_step=look)
    assert not found[0]
    assert len(list((tmp_path / "features").iterdir())) == 3


def test_one_pass_over_the_data_writes_nothing(split, tmp_path):
    recognizer = loading.build(recipe().model, VOCABULARY, seed=3, sample_rate=16000).recognizer
    cached = {"features": tmp_path / "features", "data": "d"}
    job = TrainingJob(recipe(), tmp_path, split, None, devices.choose("cpu"), "fp32", 4, **cached)
    assert job.batches.steps_per_epoch >= 4
    forward_pass = ForwardPass(job, recognizer, lambda event: None)
    assert forward_pass.cache is None
    assert not forward_pass.pads
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_is_not_padded_is_cut_into_even_parts_near_the_best_size():
    lengths = [12, 3, 9, 14, 8, 2, 11, 5]
    for about, parts in ((64, 1), (50, 1), (32, 2), (16, 4)):
        cuts = even_micro_batches(lengths, about_samples=about)
        assert len(cuts) == parts
        assert sorted(np.concatenate(cuts).tolist()) == list(range(8))
        sums = [sum(lengths[place] for place in cut) for cut in cuts]
        assert max(sums) - min(sums) <= max(lengths)
    assert [len(cut) for cut in even_micro_batches(lengths, about_samples=64, max_items=3)] == [3, 3, 2]
    assert all(len(cut) for cut in even_micro_batches([100, 1], about_samples=10))
