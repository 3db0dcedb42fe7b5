"""Which weights learn: frozen ones stay bit for bit, the others learn from their step on and at their rate."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Dict, Set

import pytest
import torch
from safetensors.torch import load_file

from asrctl.config import presets
from asrctl.config.recipe import HostSection, ModelSection, OptimSection, Recipe, RunSection
from asrctl.data.dataset import PreparedSplit
from asrctl.errors import PresetError
from asrctl.ipu import config as ipu_config
from asrctl.models import architectures, loading
from asrctl.models.depths import depths
from asrctl.runtime import compat, devices
from asrctl.training import checkpoints
from asrctl.training.job import StartPoint, TrainingJob
from asrctl.training.trainer import HostTrainer

from ..helpers import every_model
from ..helpers.tiny import LAYER, QUIET, STABLE, VOCABULARY, geometry, write_noise_split

# transformers 4.29 on current torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
ENGINES = ["packed", "plain"]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> PreparedSplit:
    return write_noise_split(tmp_path_factory.mktemp("split") / "train", 8, (4800, 9600))


def recipe(engine: str, optim: "Dict[str, Any]", **model: Any) -> Recipe:
    return Recipe(
        model=ModelSection(**dict(QUIET, config={**geometry(), **STABLE}, ctc_zero_infinity=True, **model)),
        optim=OptimSection(**dict({"global_batch": 4, "learning_rate": 1e-2, "schedule": "constant"}, **optim)),
        cpu=HostSection(precision="fp32", engine=engine, workers=0),
    )


def job(wanted: Recipe, folder: Path, split: PreparedSplit, steps: int) -> TrainingJob:
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingJob(wanted, folder, split, None, devices.choose("cpu"), "fp32", steps)


def weights_of(model: Any) -> "Dict[str, torch.Tensor]":
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def train(wanted: Recipe, folder: Path, split: PreparedSplit, steps: int = 4, *, resumed: bool = False) -> Any:
    """The model after so many steps; resumed: from this folder's newest checkpoint."""
    recognizer = loading.build(wanted.model, VOCABULARY, seed=3, sample_rate=16000).recognizer
    found = checkpoints.latest_valid(folder / "checkpoints").checkpoint if resumed else None
    made = HostTrainer(job(wanted, folder, split, steps), StartPoint(recognizer, found), lambda event: None)
    made.run()
    return made.model


def moved(wanted: Recipe, folder: Path, split: PreparedSplit, steps: int = 4) -> "Set[str]":
    """Names of the weights that have learned."""
    before = weights_of(loading.build(wanted.model, VOCABULARY, seed=3, sample_rate=16000).recognizer.model)
    after = weights_of(train(wanted, folder, split, steps))
    return {name for name, tensor in after.items() if not torch.equal(before[name], tensor)}


def at_depth(wanted: Recipe, *chosen_depths: int) -> "Set[str]":
    model = loading.build(wanted.model, VOCABULARY, seed=3, sample_rate=16000).recognizer.model
    places, _ = depths(model)
    return {name for name, place in places.items() if place in chosen_depths and "masked_spec_embed" not in name}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_frozen_by_name_or_depth_stays_bit_for_bit(engine: str, split: PreparedSplit, tmp_path: Path):
    by_name = recipe(engine, {}, freeze=("*.attention.*", "lm_head.bias"))
    found = moved(by_name, tmp_path / "name", split)
    assert found and not [name for name in found if ".attention." in name or name == "lm_head.bias"]
    assert {"lm_head.weight", "wav2vec2.encoder.layers.0.feed_forward.output_dense.weight"} <= found
    by_depth = recipe(engine, {}, freeze_layers=1)
    # All that a key's bias adds to the scores of a query is the same, so it has no gradient but rounding.
    keys = {name for name in at_depth(by_depth, 2) if name.endswith("k_proj.bias")}
    assert moved(by_depth, tmp_path / "depth", split) | keys == at_depth(by_depth, 2, 3)


@pytest.mark.parametrize("engine", ENGINES)
def test_layers_are_unfrozen_by_step_and_resuming_is_exact(engine: str, split: PreparedSplit, tmp_path: Path):
    wanted = recipe(engine, {"head_only_steps": 2, "unfreeze_every": 1}, freeze_feature_encoder=False)
    assert moved(wanted, tmp_path / "a", split, 2) == at_depth(wanted, 3)
    keys = {name for name in at_depth(wanted, 0, 1, 2) if name.endswith("k_proj.bias")}
    assert moved(wanted, tmp_path / "b", split, 3) | keys == at_depth(wanted, 2, 3) | keys
    straight = weights_of(train(wanted, tmp_path / "straight", split, 6))
    for folder in (tmp_path / "a", tmp_path / "b"):  # before a layer is unfrozen, and between two
        resumed = weights_of(train(wanted, folder, split, 6, resumed=True))
        assert [name for name, tensor in straight.items() if not torch.equal(tensor, resumed[name])] == []


def test_an_encoder_that_learns_later_is_not_taken_for_frozen(split: PreparedSplit, tmp_path: Path):
    """Its output is neither cached nor computed without gradients, not even while it does not learn yet."""
    wanted = recipe("packed", {"head_only_steps": 2}, freeze_feature_encoder=False)
    task = dataclasses.replace(job(wanted, tmp_path / "run", split, 8), features=tmp_path / "features")
    recognizer = loading.build(wanted.model, VOCABULARY, seed=3, sample_rate=16000).recognizer
    before = weights_of(recognizer.model)
    HostTrainer(task, StartPoint(recognizer), lambda event: None).run()
    conv = "wav2vec2.feature_extractor.conv_layers.0.conv.weight"
    assert not torch.equal(before[conv], weights_of(recognizer.model)[conv])
    assert not list(tmp_path.glob("features/*"))


def test_a_layers_rate_is_a_share_of_that_above(split: PreparedSplit, tmp_path: Path):
    """Adam's first step moves each weight by its rate, whatever the gradient: that tells the rates."""
    wanted = recipe("plain", {"layer_decay": 0.5, "weight_decay": 0.1}, freeze_feature_encoder=False)
    before = weights_of(loading.build(wanted.model, VOCABULARY, seed=3, sample_rate=16000).recognizer.model)
    after = weights_of(train(wanted, tmp_path, split, 1))
    for depth, rate in {3: 1e-2, 2: 5e-3, 1: 2.5e-3, 0: 1.25e-3}.items():
        for name in at_depth(wanted, depth):
            if name.endswith("norm.bias"):  # these do not decay, and all have a gradient
                largest = float((after[name] - before[name]).abs().max())
                assert largest == pytest.approx(rate, rel=1e-3), name
    weight = "wav2vec2.encoder.layers.0.feed_forward.output_dense.weight"
    assert float((after[weight] - before[weight] * (1 - 0.1 * 2.5e-3)).abs().max()) == pytest.approx(2.5e-3, rel=1e-3)


def test_a_moving_average_is_kept_beside_the_weights_and_becomes_the_model(split: PreparedSplit, tmp_path: Path):
    plain = dataclasses.replace(recipe("packed", {}), run=RunSection(save_every=1, keep=10))
    wanted = dataclasses.replace(plain, optim=dataclasses.replace(plain.optim, ema_decay=0.15))
    train(wanted, tmp_path / "straight", split, 4)
    train(plain, tmp_path / "plain", split, 4)
    made = [
        checkpoints.open_checkpoint(tmp_path / "straight" / "checkpoints" / f"step-0000000{n}") for n in range(1, 5)
    ]
    assert made[-1].model().keys() == made[-1].result().keys()
    alone = checkpoints.latest_valid(tmp_path / "plain" / "checkpoints").checkpoint
    assert same(made[-1].model(), alone.model()) and not alone.average()
    kept = load_file(str(tmp_path / "straight" / "model" / "model.safetensors"))
    assert same(kept, made[-1].result())
    start = loading.build(wanted.model, VOCABULARY, seed=3, sample_rate=16000).recognizer.model
    average = {name: tensor.clone() for name, tensor in compat.canonical_state(start).items()}
    for decay, found in zip((1 / 10, 0.15, 0.15, 0.15), made):  # 2/11 is more than what was asked for
        model = found.model()
        average = {name: decay * tensor + (1 - decay) * model[name] for name, tensor in average.items()}
        for name, tensor in found.result().items():
            torch.testing.assert_close(tensor, average[name], msg=name)
    train(wanted, tmp_path / "resumed", split, 2)
    train(wanted, tmp_path / "resumed", split, 4, resumed=True)
    resumed = checkpoints.latest_valid(tmp_path / "resumed" / "checkpoints").checkpoint
    assert same(resumed.model(), made[-1].model()) and same(resumed.average(), made[-1].average())


def same(some: "Dict[str, torch.Tensor]", others: "Dict[str, torch.Tensor]") -> bool:
    return some.keys() == others.keys() and all(torch.equal(tensor, others[name]) for name, tensor in some.items())


@pytest.mark.parametrize("kind", every_model.kinds())
def test_every_type_of_model_has_its_layers_in_order(kind: str):
    try:
        architectures.require(kind)
    except Exception as error:
        pytest.skip(str(error))
    section = ModelSection(architecture=kind, config=every_model.config_of(kind))
    model = loading.examine_scratch(section, VOCABULARY, sample_rate=16000).model
    places, top = depths(model)
    assert top == 3 and set(places.values()) == {0, 1, 2, 3}
    assert {name for name, place in places.items() if place == 3} <= {
        f"{head}.{part}" for head in ("lm_head", "ctc_head") for part in ("weight", "bias")
    }


@pytest.mark.parametrize(
    ("changes", "message", "fix"),
    [
        ({"freeze": ("*.atention.*",)}, "'*.atention.*'", "names are like wav2vec2."),
        ({"freeze": ("attention",)}, "'attention'", "*attention*"),
        ({"freeze_layers": 3}, "2 transformer layers", "from 0 to 2"),
        ({"freeze": ("*",)}, "none of the model's weights", "leave out some"),
    ],
)
def test_what_fits_no_model_is_refused(changes: "Dict[str, Any]", message: str, fix: str):
    with pytest.raises(PresetError) as refused:
        section = ModelSection(config={**geometry(), **LAYER}, **changes)
        loading.examine_scratch(section, VOCABULARY, sample_rate=16000)
    assert message in refused.value.message and fix in str(refused.value.fix)


@pytest.mark.parametrize(
    "override",
    [
        "model.freeze=['lm_head.*']",
        "model.freeze_layers=1",
        "optim.layer_decay=0.9",
        "optim.head_only_steps=5",
        "optim.ema_decay=0.9",
    ],
)
def test_an_ipu_refuses_each_by_name(override: str):
    wanted = presets.load("base-4ipu", overrides=[override]).recipe
    problems = ipu_config.unsupported(wanted, ipu_config.ModelFacts("wav2vec2", 7, 12))
    assert len(problems) == 1 and override.partition("=")[0] in problems[0]
