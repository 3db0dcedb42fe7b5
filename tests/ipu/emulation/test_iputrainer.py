"""The unmodified IPUTrainer trains, evaluates, checkpoints and resumes over the emulated IPU."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Dict, Iterator

import numpy as np
import pytest
import torch

from . import tiny

KINDS = sorted(tiny.MODELS)


@contextlib.contextmanager
def rng_state_allowed() -> Iterator[None]:
    """Lets torch.load take numpy's random state, of which rng_state.pth consists, and nothing else."""
    allowed = [np.ndarray, np.dtype, np.core.multiarray._reconstruct, type(np.dtype(np.uint32))]
    # Torch 2.0 loads it as it is.
    allows = getattr(torch.serialization, "safe_globals", contextlib.nullcontext)
    with allows(allowed):
        yield


def weights(trainer: Any) -> Dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def assert_same(a: Dict[str, torch.Tensor], b: Dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def losses(trainer: Any) -> list:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fp32", [True, False], ids=["fp32", "fp16"])
def test_training_lowers_the_loss_and_leaves_a_checkpoint(optimum, tmp_path, kind, fp32) -> None:
    data = tiny.Speech(4, dtype=np.float32 if fp32 else np.float16)  # one combined batch, over and over
    t = tiny.trainer(
        optimum,
        tmp_path,
        tiny.ctc_model(kind),
        fp32=fp32,
        loss_scaling=None if fp32 else 64.0,
        train=data,
        eval=data,
        ipu={"output_mode": "all"},
        max_steps=12,
        learning_rate=5e-3,
        save_strategy="steps",
        save_steps=12,
        evaluation_strategy="steps",
        eval_steps=12,
    )
    t.train()
    assert losses(t)[-1] < 0.9 * losses(t)[0]
    assert np.isfinite(t.evaluate()["eval_loss"])
    checkpoint = tmp_path / "checkpoint-12"
    saved = torch.load(checkpoint / "pytorch_model.bin")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32 if fp32 else torch.float16}
    assert_same(saved, weights(t))
    name = type(t.original_model).__name__
    pipelined = {"Wav2Vec2ForCTC": "PipelinedWav2Vec2ForCTC", "HubertForCTC": "PipelinedHubertCTC"}[name]
    assert json.loads((checkpoint / "config.json").read_text())["architectures"] == ["Poptorch" + pipelined]


def test_evaluation_gives_what_the_model_gives(optimum, tmp_path) -> None:
    data, model = tiny.Speech(8, seed=9), tiny.ctc_model().eval()
    t = tiny.trainer(optimum, tmp_path, model, eval=data, ipu={"inference_device_iterations": 4})
    predicted = t.predict(data)
    with torch.no_grad():
        for item, logits in zip(data.items, predicted.predictions):
            batch = {name: torch.as_tensor(value)[None] for name, value in item.items()}
            assert np.array_equal(logits, model(**batch).logits[0].numpy())
    assert np.array_equal(predicted.label_ids, np.stack([item["labels"] for item in data.items]))


def test_evaluation_between_steps_changes_nothing(optimum, tmp_path) -> None:
    plain = tiny.trainer(optimum, tmp_path / "plain", tiny.ctc_model(), max_steps=4)
    plain.train()
    broken = tiny.trainer(
        optimum, tmp_path / "eval", tiny.ctc_model(), max_steps=4, evaluation_strategy="steps", eval_steps=1
    )
    broken.train()
    assert_same(weights(broken), weights(plain))


def test_a_partial_last_evaluation_batch_is_an_error(optimum, poptorch, tmp_path) -> None:
    t = tiny.trainer(optimum, tmp_path, tiny.ctc_model(), eval=tiny.Speech(6), ipu={"inference_device_iterations": 4})
    with pytest.raises(poptorch.Error, match=r"Shape mismatch for input_values: expected \(4, 4000\) but got \(2, 4"):
        t.evaluate()


def test_fewer_items_than_a_combined_batch_give_no_sample(optimum, tmp_path) -> None:
    t = tiny.trainer(optimum, tmp_path, tiny.ctc_model(), train=tiny.Speech(3))
    with pytest.raises(ValueError, match="Couldn't get first sample from dataloader"):
        t.train()


def resumable(optimum: Any) -> type:
    """An IPUTrainer whose device draws the same random numbers after a resume as without one."""

    class Resumable(optimum.IPUTrainer):
        def compile_model(self, model: Any, sample_batch: Any, log: bool = False) -> None:
            super().compile_model(model, sample_batch, log)
            if model is self.training_model and self.resumed_at:
                model.rng_state = [model.rng_state[0], self.resumed_at]

        def train(self, resume_from_checkpoint: Any = None) -> Any:
            self.resumed_at = int(Path(resume_from_checkpoint).name.split("-")[1]) if resume_from_checkpoint else 0
            return super().train(resume_from_checkpoint=resume_from_checkpoint)

    return Resumable


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_steps": 9},  # over the end of an epoch of 4 steps
        {"model": {"hidden_dropout": 0.1, "attention_dropout": 0.1, "layerdrop": 0.1}},
        {"lamb": True},
        {"fp32": False, "loss_scaling": 64.0},
    ],
    ids=["", "two epochs", "dropout", "lamb", "fp16"],
)
def test_a_resumed_run_equals_a_straight_one(optimum, tmp_path, changes) -> None:
    def trainer(folder: Path) -> Any:
        settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 3, "weight_decay": 0.01, **changes}
        model = tiny.ctc_model(**settings.pop("model", {}))
        half = settings.get("fp32") is False
        data = tiny.Speech(16, dtype=np.float16 if half else np.float32)
        return tiny.trainer(optimum, folder, model, base=resumable(optimum), train=data, **settings)

    straight = trainer(tmp_path)
    straight.train()
    resumed = trainer(tmp_path / "again")
    with rng_state_allowed():
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert_same(weights(resumed), weights(straight))
    assert losses(resumed) == losses(straight)
    ours, theirs = resumed.optimizer.state_dict()["ipu_state"], straight.optimizer.state_dict()["ipu_state"]
    assert_same(ours, theirs)


def test_the_first_step_has_the_full_learning_rate_whatever_the_warm_up(optimum, tmp_path) -> None:
    """IPUTrainer makes its schedule after it has handed the optimizer over, and hands it over again after the step."""
    before = tiny.ctc_model().state_dict()
    warmed = tiny.trainer(optimum, tmp_path, tiny.ctc_model(), warmup_steps=100, max_steps=1)
    warmed.train()
    plain = tiny.trainer(optimum, tmp_path, tiny.ctc_model(), max_steps=1)
    plain.train()
    assert_same(weights(warmed), weights(plain))
    assert not torch.equal(weights(warmed)["lm_head.weight"], before["lm_head.weight"])


def test_an_optimizer_state_of_another_device_is_refused(optimum, tmp_path) -> None:
    t = tiny.trainer(optimum, tmp_path, tiny.ctc_model())
    t.train()
    state = t.optimizer.state_dict()
    del state["ipu_state"]
    with pytest.raises(RuntimeError, match="Only IPU optimizer states"):
        t.optimizer.load_state_dict(state)


def test_torch_optimizers_are_converted(optimum, tmp_path) -> None:
    for make in (
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
        lambda p: torch.optim.Adam(p, lr=0.001),
        lambda p: torch.optim.AdamW(p, lr=0.001),
        lambda p: torch.optim.RMSprop(p, lr=0.001),
    ):
        model = tiny.ctc_model()
        base = type("Given", (optimum.IPUTrainer,), {})
        t = tiny.trainer(optimum, tmp_path, model, base=base, max_steps=2)
        t.optimizer = t.pytorch_optimizer_to_poptorch(make(model.parameters()), model, t.model)
        before = weights(t)
        t.train()
        assert any(not torch.equal(before[name], tensor) for name, tensor in weights(t).items())


def test_the_same_model_compiled_twice_is_found_in_the_cache(optimum, tmp_path) -> None:
    for _ in range(2):
        ipu = {"executable_cache_dir": str(tmp_path / "cache")}
        tiny.trainer(optimum, tmp_path / "run", tiny.ctc_model(), ipu=ipu, max_steps=1).train()
        (marker,) = (tmp_path / "cache").iterdir()
    document = json.loads(marker.read_text())
    assert document["emulated"]
    assert document["placements"][-1] == ["Project Hidden", 1, 1]
    tiny.trainer(optimum, tmp_path / "run", tiny.ctc_model(), ipu={**ipu, "replication_factor": 2}, max_steps=1).train()
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_compile_only_compiles_offline_and_leaves(optimum, tmp_path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(SystemExit) as leaving:
        tiny.trainer(
            optimum,
            tmp_path / "run",
            tiny.ctc_model(),
            ipu={"executable_cache_dir": str(cache)},
            compile_only=True,
            do_train=True,
            do_eval=True,
        )
    assert leaving.value.code == 0
    assert sorted(json.loads(path.read_text())["training"] for path in cache.iterdir()) == [False, True]


@pytest.mark.parametrize("mode", ["sync", "async", "async_rebatched"])
def test_every_way_of_loading_gives_the_same_weights(optimum, tmp_path, mode) -> None:
    class InOrder(optimum.IPUTrainer):
        def _get_train_sampler(self) -> torch.utils.data.Sampler:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    plain = tiny.trainer(optimum, tmp_path / "plain", tiny.ctc_model(), base=InOrder)
    plain.train()
    workers = {"dataloader_mode": mode, "dataloader_num_workers": 2}
    other = tiny.trainer(optimum, tmp_path / mode, tiny.ctc_model(), base=InOrder, **workers)
    other.train()
    assert_same(weights(other), weights(plain))


def test_what_a_device_can_not_do_fails(optimum, poptorch, tmp_path) -> None:
    model = tiny.ctc_model(apply_spec_augment=True, mask_time_prob=0.5, mask_time_length=2)
    with pytest.raises(poptorch.Error, match="spec-augment"):
        tiny.trainer(optimum, tmp_path, model).train()
    with pytest.raises(poptorch.Error, match="at least the number of pipeline stages, 3"):
        tiny.trainer(optimum, tmp_path, tiny.ctc_model(), ipu={"gradient_accumulation_steps": 2}).train()
    with pytest.raises(poptorch.NotEmulated, match="setAutomaticLossScaling"):
        tiny.trainer(optimum, tmp_path, tiny.ctc_model(), auto_loss_scaling=True)
    with pytest.raises(KeyError, match="pipelined version not found in registry"):
        tiny.trainer(optimum, tmp_path, torch.nn.Linear(2, 2))
