"""Values that no model can have, in a recipe and in a stranger's config.json: told in our words before one is made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

WRONG = [
    ("layer_norm_eps", 0),
    ("layer_norm_eps", -1e-5),
    ("layer_norm_eps", 1e9),
    ("layer_norm_eps", True),
    ("layer_norm_eps", None),
    ("initializer_range", -1),
    ("initializer_range", "0.02 or so"),
    ("num_conv_pos_embeddings", 0),
    ("num_conv_pos_embeddings", 2.5),
    ("intermediate_size", 0),
    ("intermediate_size", None),
    ("conv_bias", 1),
    ("conv_bias", None),
    ("do_stable_layer_norm", "yes"),
]


def with_values(model: Path, folder: Path, **values: Any) -> Path:
    """A copy of a model whose config.json says otherwise."""
    shutil.copytree(str(model), str(folder))
    (folder / "SHA256SUMS").unlink()
    known = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(dict(known, **values)), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_what_no_model_can_have_is_told_by_us(asrctl, honest, honest_workspace, tmp_path, key, value) -> None:
    shown = json.dumps(value).replace('"', "'")
    told = f"{key} is {shown}, not "
    (tmp_path / "mine.yaml").write_text(json.dumps({"extends": "tiny-cpu", "model": {"config": {key: value}}}))
    refused = asrctl("presets", "check", tmp_path / "mine.yaml", "--json")
    assert refused.exit_code == 3 and refused.error["problems"][0].startswith(f"model.config.{told}")

    model = with_values(honest_workspace / "runs" / "r" / "model", tmp_path / "m", **{key: value})
    refused = asrctl("eval", "--model", model, "--json")
    assert refused.exit_code == 5 and told in refused.error["message"]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("hidden_dropout", -1, "hidden_dropout is -1, not a number from 0 to 1"),
        ("layerdrop", "much", "layerdrop is 'much', not a number from 0 to 1"),
        ("hidden_act", None, "hidden_act is null, which there is not"),
        ("num_attention_heads", 7, "num_attention_heads is 7, which does not divide hidden_size"),
        ("conv_dim", [32], "conv_dim, conv_kernel, conv_stride must be equally long"),
    ],
)
def test_what_only_a_checkpoint_says(asrctl, honest_workspace, tmp_path, key, value, told) -> None:
    model = with_values(honest_workspace / "runs" / "r" / "model", tmp_path / "m", **{key: value})
    refused = asrctl("eval", "--model", model, "--json")
    assert refused.exit_code == 5 and f"does not fit together ({told}" in refused.error["message"]


def test_a_whole_number_is_a_number(asrctl, honest_workspace, tmp_path) -> None:
    """The newer transformers asks for 0.0 where JSON says 0."""
    model = with_values(honest_workspace / "runs" / "r" / "model", tmp_path / "m", hidden_dropout=0, layerdrop=0)
    asrctl("eval", "--model", model).succeeded()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"num_buckets": 2}, "num_buckets is 2, not a whole number from 4"),
        ({"max_bucket_distance": 0}, "max_bucket_distance is 0, not a whole number from 1"),
        ({"num_buckets": 64, "max_bucket_distance": 16}, "max_bucket_distance is 16, and must be above a quarter"),
    ],
)
def test_buckets_of_wavlm(asrctl, tmp_path, values, told) -> None:
    model = {"architecture": "wavlm", "config": values}
    (tmp_path / "mine.yaml").write_text(json.dumps({"extends": "tiny-cpu", "model": model}))
    refused = asrctl("presets", "check", tmp_path / "mine.yaml", "--json")
    assert refused.exit_code == 3 and told in refused.error["problems"][0]
