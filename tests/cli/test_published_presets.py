"""Presets of published recipes: their decisive numbers, and that each trains a model of its type."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest
import yaml

from asrctl.config import presets
from asrctl.config.recipe import ModelSection
from asrctl.errors import AsrctlError
from asrctl.models import architectures, loading

from ..helpers import every_model, many_languages
from ..helpers.program import ROOT, run_here
from ..helpers.tiny import VOCABULARY

# transformers 4.29 on current torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
# {preset: (model type, batch, rate, warm-up, epochs, steps)}; where each is from stands in the preset.
PUBLISHED: Dict[str, Any] = {
    "xlsr-300m": ("wav2vec2", 64, 5e-4, 500, 1.0, 5000),
    "wavlm-large": ("wavlm", 32, 3e-4, 500, 3.0, None),
    "hubert-large": ("hubert", 32, 3e-4, 500, 3.0, None),
    "w2v-bert-2": ("wav2vec2-bert", 32, 5e-5, 500, 10.0, None),
    "parakeet-ctc": ("parakeet_ctc", 16, 1e-4, 5000, 50.0, None),
    "mms-1b-adapter": ("wav2vec2", 32, 1e-3, 100, 4.0, None),
    "lora-xlsr": ("wav2vec2", 64, 1e-3, 500, 1.0, 5000),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_numbers_are_the_published_ones_and_each_says_where_it_is_from(name: str):
    _, batch, rate, warmup, epochs, steps = PUBLISHED[name]
    resolved = presets.load(name)
    optim = resolved.recipe.optim
    found = (optim.global_batch, optim.learning_rate, optim.warmup_steps, optim.epochs, optim.max_steps)
    assert found == (batch, rate, warmup, epochs, steps)
    assert resolved.recipe.model.ctc_zero_infinity and resolved.recipe.audio.sample_rate == 16000
    checked(resolved.path)
    assert f"| `{name}` |" in (ROOT / "README.md").read_text("utf-8")
    decided = [line for line in resolved.path.read_text("utf-8").splitlines() if line.startswith("  learning_rate")]
    assert all("# " in line for line in decided)


def checked(preset: Path) -> None:
    """The preset is a good one; the test is skipped where a package is missing that it says it needs."""
    found = run_here("presets", "check", preset)
    if found.exit_code == 6 and "peft" in found.stderr:
        pytest.skip(found.stderr)
    found.succeeded()


def checkpoint(kind: str, folder: Path) -> Path:
    """A small model of this type, as one from the hub would lie there; the test is skipped where there can be none."""
    try:
        architectures.require(kind)
    except AsrctlError as error:
        pytest.skip(error.message)
    wide = {"hidden_size": 64} if kind == "wav2vec2" else {}  # as masks of 64 channels need
    section = ModelSection(architecture=kind, config={**every_model.config_of(kind), **wide})
    loading.save_recognizer(loading.build(section, VOCABULARY, seed=1, sample_rate=16000).recognizer, folder)
    return folder


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "mms-1b-adapter"])
def test_a_small_model_of_its_type_would_be_trained(name: str, honest_workspace: Path, tmp_path: Path):
    preset = tmp_path / "small.yaml"
    model = {"checkpoint": str(checkpoint(PUBLISHED[name][0], tmp_path / "model")), "head": "reinit"}
    preset.write_text(yaml.safe_dump({"extends": name, "model": model, "cpu": {"precision": "fp32"}}), encoding="utf-8")
    checked(preset)
    planned = run_here("train", "--preset", preset, "--device", "cpu", "--dry-run", "--json").succeeded()
    assert planned.result["memory_bytes"]
    assert "no effect" not in planned.stderr


@pytest.mark.skipif(not many_languages.knows_adapters(), reason="transformers has adapters from 4.30 on")
def test_the_adapter_of_a_language_would_be_trained(honest_workspace: Path, tmp_path: Path):
    many_languages.save(tmp_path / "mms")
    words = ("train", "--preset", "mms-1b-adapter", "--set", f"model.checkpoint={tmp_path / 'mms'}", "--device", "cpu")
    # The preset's own language is English.
    for more in (
        (),
        ("--set", "model.language=deu"),
        ("--set", "model.language=swe", "--set", "model.language_from=scratch"),
    ):
        run_here(*words, *more, "--dry-run").succeeded()
