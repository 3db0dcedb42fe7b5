"""An encoder that reaches far makes few frames; a checkpoint says so in its config.json, whatever the preset says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ..helpers import tones
from ..helpers.program import copy_workspace, run_here

# Of so many samples the usual encoder makes 7 and 15 frames, and the tones' one 3 and 9; the text wants 5.
_SHORT, _LONG, _TEXT = 2500, 5000, "abcab"


def write_corpus(folder: Path, *, short: int, long: int) -> Path:
    """A manifest of noise: so many short and long clips for training, and a long one for evaluation."""
    noise = np.random.default_rng(0)
    folder.mkdir()
    rows = ["path,text,split"]
    for number, samples in enumerate([_SHORT] * short + [_LONG] * (long + 1)):
        soundfile.write(str(folder / f"{number}.wav"), noise.normal(0, 0.1, samples), 16000)
        rows.append(f"{number}.wav,{_TEXT},{'train' if number < short + long else 'eval'}")
    (folder / "corpus.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "corpus.csv"


@pytest.fixture(scope="module")
def far_reaching(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the run `far`, whose model makes few frames, and data of which that is too few for some or all.

    The data is prepared without a preset: as the usual encoder can align it.
    """
    folder = tmp_path_factory.mktemp("reach")
    workspace = tones.prepare(folder)
    tones.train(folder, "--run", "far", "--max-steps", 2)
    for name, counts in (("some", {"short": 2, "long": 58}), ("all", {"short": 2, "long": 0})):
        manifest = write_corpus(folder / name, **counts)
        run_here("prepare", "manifest", manifest, "--name", name, "--workspace", workspace).succeeded()
    return workspace


@pytest.fixture
def ready(far_reaching: Path, workspace: Path) -> Path:
    return copy_workspace(far_reaching, workspace)


@pytest.fixture
def preset(ready: Path, tmp_path: Path) -> Path:
    """A preset that starts from the checkpoint `base`, and leaves its configuration to it."""
    shutil.copytree(str(ready / "runs" / "far" / "model"), str(tmp_path / "base"))
    values = {
        "model": {"checkpoint": str(tmp_path / "base"), "freeze_feature_encoder": False},
        "optim": {"global_batch": 8, "max_steps": 2, "learning_rate": 1e-4},
        "cpu": {"precision": "fp32"},
    }
    (tmp_path / "base.yaml").write_text(json.dumps(values), encoding="utf-8")
    return tmp_path / "base.yaml"


def train(asrctl, *words: Any) -> Any:
    return asrctl("train", "--device", "cpu", "--run", "next", *words)


def test_utterances_that_a_checkpoint_can_not_align_are_refused_or_left_out(asrctl, ready: Path, preset: Path) -> None:
    refused = train(asrctl, "--preset", preset, "--data", "all", "--json")
    assert refused.exit_code == 3
    assert refused.error["problems"] == ["2 of 2 utterances of train have more labels than this model has frames"]
    begun = train(asrctl, "--preset", preset, "--data", "some", "--json").succeeded()
    assert "2 of 60 training utterances are left out: more labels than this model has frames" in begun.stderr

    shutil.rmtree(str(preset.parent / "base"))  # the run itself says what its model is
    resumed = asrctl("train", "--resume", "--run", "next", "--device", "cpu", "--max-steps", 4).succeeded()
    assert "2 of 60 training utterances are left out" in resumed.stderr


def test_so_are_those_that_the_model_of_a_run_can_not_align(asrctl, ready: Path, preset: Path) -> None:
    usual = preset.with_name("usual.yaml")
    usual.write_text(preset.read_text(encoding="utf-8").replace(str(preset.parent / "base"), "nowhere/base"))
    refused = train(asrctl, "--preset", usual, "--from-run", "far", "--data", "all")
    assert refused.exit_code == 3 and "more labels than this model has frames" in refused.stderr


def test_prepare_drops_what_the_checkpoint_of_its_preset_can_not_align(asrctl, ready: Path, preset: Path) -> None:
    manifest = write_corpus(preset.with_name("corpus"), short=1, long=1)
    words = ("prepare", "manifest", manifest, "--preset", preset, "--max-rejects", 1, "--json")
    train_split = asrctl(*words).succeeded().result["splits"]["train"]
    assert (train_split["utterances"], train_split["reasons"]) == (1, {"ctc-impossible": 1})


def test_a_checkpoint_that_does_not_say_what_it_is_is_refused_by_name(asrctl, ready: Path, preset: Path) -> None:
    path = preset.parent / "base" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(dict(config, conv_kernel=16)), encoding="utf-8")
    refused = train(asrctl, "--preset", preset, "--data", "some")
    assert refused.exit_code == 3
    assert "conv_kernel is no list of 1 to 64 numbers" in refused.stderr
