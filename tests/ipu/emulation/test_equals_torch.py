"""Weights after training on the emulated IPU are, bit for bit, those of a plain torch loop over the same batches."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List

import pytest
import torch

from . import tiny

SPLITS = {
    "accumulation": {"gradient_accumulation_steps": 4},
    "odd accumulation": {"gradient_accumulation_steps": 5},
    "micro-batch 2": {"gradient_accumulation_steps": 4},
    "replication": {"gradient_accumulation_steps": 4, "replication_factor": 2},
    "device iterations": {"gradient_accumulation_steps": 4, "device_iterations": 2},
    "all": {"gradient_accumulation_steps": 4, "replication_factor": 2, "device_iterations": 2},
    "one IPU": {"gradient_accumulation_steps": 1, "layers_per_ipu": [11], "ipus_per_replica": 1},
}
MODES = ["final", "all", "sum", "default"]


def recording(optimum: Any) -> type:
    """An IPUTrainer that keeps the batches that it is given, and the loss that each gave."""

    class Recording(optimum.IPUTrainer):
        def training_step(self, model: Any, inputs: Dict[str, torch.Tensor]) -> torch.Tensor:
            batch = {name: tensor.clone() for name, tensor in inputs.items()}
            loss = super().training_step(model, inputs)
            self.__dict__.setdefault("seen", []).append((batch, loss.clone()))
            return loss

    return Recording


def micro_batches(batch: Dict[str, torch.Tensor], count: int) -> Iterator[Dict[str, torch.Tensor]]:
    size = len(batch["input_values"]) // count
    for start in range(0, count * size, size):
        yield {name: tensor[start : start + size] for name, tensor in batch.items()}


class AdamWithoutBiasCorrection:
    """What IPUTrainer asks of the device, written down again."""

    def __init__(self, model: torch.nn.Module, weight_decay: float, decayed: List[str]) -> None:
        self.model, self.weight_decay, self.decayed, self.moments = model, weight_decay, decayed, {}

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        for name, p in self.model.named_parameters():
            if p.grad is None:
                continue
            m, v = self.moments.setdefault(name, (torch.zeros_like(p), torch.zeros_like(p)))
            m.mul_(0.9).add_(p.grad, alpha=1 - 0.9)
            v.mul_(0.999).addcmul_(p.grad, p.grad, value=1 - 0.999)
            decay = self.weight_decay if name in self.decayed else 0.0
            p.sub_(learning_rate * (m / (v.sqrt() + 1e-8) + decay * p))
            p.grad = None


def plain_loop(model: torch.nn.Module, batches: List[Dict[str, torch.Tensor]], ipu: Dict[str, Any], mode: str):
    """Trains `model` on the combined batches; returns the loss of each as IPUTrainer would log it."""
    iterations, per_step = ipu.get("device_iterations", 1), ipu["gradient_accumulation_steps"]
    replicas = ipu.get("replication_factor", 1)
    per_step *= replicas
    from transformers.trainer_pt_utils import get_parameter_names

    decayed = [name for name in get_parameter_names(model, [torch.nn.LayerNorm]) if "bias" not in name]
    optimizer = AdamWithoutBiasCorrection(model, 0.01, decayed)
    model.train()
    logged = []
    for step, batch in enumerate(batches):
        losses = []
        for i, micro_batch in enumerate(micro_batches(batch, iterations * per_step)):
            loss = model(**micro_batch).loss
            loss.backward()
            losses.append(loss.detach())
            if (i + 1) % per_step == 0:
                for p in model.parameters():
                    p.grad = None if p.grad is None else p.grad / per_step
                optimizer.step(tiny.LEARNING_RATE * (len(batches) - step) / len(batches))
        if mode in ("final", "default"):
            losses = losses[-replicas:]
        if mode == "sum":
            losses = [sum(losses[replica::replicas]) for replica in range(replicas)]
        logged.append(torch.stack(losses).mean())
    return logged


def compare(optimum: Any, tmp_path: Any, kind: str, ipu: Dict[str, Any], mode: str, micro_batch: int = 1) -> None:
    model = tiny.ctc_model(kind)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    t = tiny.trainer(
        optimum,
        tmp_path,
        model,
        base=recording(optimum),
        ipu={**ipu, "output_mode": mode},
        train=tiny.Speech(40),
        weight_decay=0.01,
        max_steps=2,
        per_device_train_batch_size=micro_batch,
    )
    t.train()
    reference = tiny.ctc_model(kind)
    losses = plain_loop(reference, [batch for batch, _ in t.seen], ipu, mode)
    trained = t.model.state_dict()
    assert [float(loss) for _, loss in t.seen] == [float(loss) for loss in losses]
    assert trained.keys() == reference.state_dict().keys()
    for name, tensor in reference.state_dict().items():
        assert torch.equal(trained[name], tensor), name
    moved = [name for name in before if not torch.equal(before[name], trained[name])]
    assert moved
    assert not any("feature_extractor" in name for name in moved)


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_of_the_batch(optimum, tmp_path, split) -> None:
    compare(optimum, tmp_path, "wav2vec2-group", SPLITS[split], "final", 2 if split == "micro-batch 2" else 1)


@pytest.mark.parametrize("mode", MODES)
def test_every_output_mode(optimum, tmp_path, mode) -> None:
    compare(optimum, tmp_path, "wav2vec2-group", SPLITS["all"], mode)


@pytest.mark.parametrize("kind", [kind for kind in tiny.MODELS if kind != "wav2vec2-group"])
def test_every_kind_of_model(optimum, tmp_path, kind) -> None:
    compare(optimum, tmp_path, kind, SPLITS["accumulation"], "final")
