"""A file that optimum-graphcore has written itself, imported as a preset, makes the same IPUConfig again."""

from __future__ import annotations

from pathlib import Path

import pytest

from asrctl.config import presets
from asrctl.ipu import config, import_keys
from tests.helpers.program import run_here

ACCUMULATION = {"gradient_accumulation_steps": 16}


@pytest.mark.parametrize(
    "values",
    [
        {"layers_per_ipu": [9, 4, 4, 4]},
        {"layers_per_ipu": [9, 4, 4, 4], "matmul_proportion": [0.1, 0.2, 0.3, 0.4], "replication_factor": 2},
        {"layers_per_ipu": [-1], "ipus_per_replica": 4},
        {"layers_per_ipu": [-1, -1, -1, -1]},
        {"layers_per_ipu": [9, -1, 4, -1], "ipus_per_replica": 4, "replicated_tensor_sharding": True},
        {"layers_per_ipu": [21]},
        {"layers_per_ipu": [-1], "recompute_checkpoint_every_layer": True, "optimizer_state_offchip": True},
        {"layers_per_ipu": [8, 3, 4, 4, 4, 4, 4, 2], "output_mode": "all", "enable_half_partials": False},
        {"layers_per_ipu": [17, 16], "auto_loss_scaling": True, "inference_replication_factor": 4},
    ],
    ids=lambda values: str(values["layers_per_ipu"]),
)
def test_there_and_back_again(optimum, tmp_path, values):
    ipus = values.get("ipus_per_replica", len(values["layers_per_ipu"]))
    theirs = optimum.IPUConfig(**ACCUMULATION, inference_device_iterations=ipus, **values)
    theirs.save_pretrained(str(tmp_path))
    output = tmp_path / "mine.yaml"
    run_here("presets", "import", tmp_path, "--output", output, "--workspace", tmp_path / "w").succeeded()
    resolved = presets.load(str(output))
    ours = optimum.IPUConfig(**config.ipu_config_kwargs(resolved.recipe, cache=Path()))
    plain = {**theirs.to_dict(), "executable_cache_dir": str(Path())}
    # One number for all IPUs, or that number for each: the same.
    for key in ("matmul_proportion", "inference_matmul_proportion"):
        plain[key] = plain[key] if isinstance(plain[key], list) else [plain[key]] * ipus
    assert ours.to_dict() == plain
    assert presets.ipu_problems(resolved) == []


def test_every_key_that_an_ipu_config_takes_is_known(optimum, tmp_path):
    written = optimum.IPUConfig().to_dict()
    known = {
        *import_keys.DEFAULTS,
        *import_keys.WITHOUT_EFFECT,
        *import_keys.REFUSED,
        *import_keys.LIKE_TRAINING,
        *(f"inference_{key}" for key in import_keys.LIKE_TRAINING),
    }
    from optimum.configuration_utils import BaseConfig

    assert set(written) - known == set()
    assert set(BaseConfig().to_dict()) - known == set()
