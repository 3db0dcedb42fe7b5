"""Checkpoints on disk: what a killed process has left of one does not come into the next."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asrctl.training import checkpoints
from asrctl.training.trainer_state import TrainerState


def saved(folder: Path) -> checkpoints.Checkpoint:
    tensors = {"weight": torch.arange(4.0)}
    return checkpoints.save(folder, 4, model=tensors, optimizer=tensors, state=TrainerState())


@pytest.mark.parametrize("there", [False, True], ids=["first", "again"])
def test_what_safetensors_had_begun_when_it_was_killed_goes(tmp_path: Path, there: bool) -> None:
    if there:
        saved(tmp_path)
    building = tmp_path / ".step-00000004.tmp"
    building.mkdir()
    (building / "model.safetensors").write_bytes(b"half")
    (building / ".tmphbzY7m").touch()
    kept = saved(tmp_path)
    assert sorted(kept.files) == ["model.safetensors", "optimizer.safetensors"]
    assert sorted(path.name for path in kept.path.iterdir()) == [
        "model.safetensors", "optimizer.safetensors", "state.json",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]
