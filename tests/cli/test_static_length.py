"""An utterance of exactly `audio.max_s` fits into static shapes, also where max_s times the rate is no whole number."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ..helpers.emulated import emulated_ipu, need_optimum
from ..helpers.ipu_tiny import TINY, TWO_IPUS
from ..helpers.tiny import QUIET

# 2.01 * 16000 is 32159.999999999996 in floating point.
_MAX_S, _LONGEST = 2.01, 32160
PRESET = {
    "model": dict(QUIET, config=TINY, ctc_zero_infinity=True),
    "audio": {"max_s": _MAX_S},
    "optim": {"global_batch": 4, "max_steps": 2, "max_grad_norm": None, "adam_bias_correction": False},
    "batches": {"shapes": "static", "drop_last": True, "max_labels": 8},
    "cpu": {"precision": "fp32"},
    "ipu": TWO_IPUS,
}


@pytest.fixture
def preset(tmp_path: Path, workspace: Path, asrctl) -> Path:
    """The preset's file; in the workspace five utterances, prepared by looser rules; each split holds a longest."""
    noise = np.random.default_rng(0)
    rows = ["path,text,split"]
    for number in range(5):
        samples = noise.normal(0, 0.1, _LONGEST if number >= 3 else 16000)
        soundfile.write(str(tmp_path / f"{number}.wav"), samples, 16000)
        rows.append(f"{number}.wav,abc,{'train' if number < 4 else 'eval'}")
    (tmp_path / "all.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    asrctl("prepare", "manifest", tmp_path / "all.csv").succeeded()
    (tmp_path / "static.yaml").write_text(json.dumps(PRESET), encoding="utf-8")
    return tmp_path / "static.yaml"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("device", ["cpu", "ipu-emulated"])
def test_the_longest_utterance_fits(asrctl, preset: Path, device: str) -> None:
    is_ipu = device != "cpu"
    if is_ipu:
        need_optimum()
    with emulated_ipu() if is_ipu else contextlib.nullcontext():
        trained = asrctl("train", "--preset", preset, "--device", device, "--json").succeeded()
        assert trained.result["steps"] == 2
        assert asrctl("eval", "--device", device, "--json").succeeded().result["utterances"] == 1


def test_one_sample_more_does_not(asrctl, preset: Path) -> None:
    refused = asrctl("train", "--preset", preset, "--device", "cpu", "--set", f"audio.max_s={_MAX_S - 1 / 16000}")
    assert refused.exit_code == 3
    assert "1 utterance of train is longer than audio.max_s" in refused.stderr
