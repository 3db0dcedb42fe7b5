"""`batches.augment` from the command line: the same run when resumed, and folders that change or are not there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
import soundfile

from ..helpers.tones import RATE


@pytest.fixture
def noises(tmp_path: Path) -> Path:
    folder = tmp_path / "noises"
    folder.mkdir()
    for name, seed in (("street.wav", 1), ("rain.flac", 2)):
        hiss = np.random.default_rng(seed).normal(0, 0.1, 2 * RATE)
        soundfile.write(str(folder / name), hiss, RATE)
    return folder


def words(folder: Path, run: str, *values: str) -> List[object]:
    sets = [part for value in values for part in ("--set", f"batches.augment.{value}")]
    return ["train", "--preset", folder / "tones.yaml", "--run", run, "--device", "cpu", *sets]


@pytest.fixture
def preset(learned_tones: Path) -> Path:
    return learned_tones.parent


def weights(workspace: Path, run: str) -> bytes:
    return (workspace / "runs" / run / "model" / "model.safetensors").read_bytes()


def test_a_resumed_run_is_bit_for_bit_the_straight_one(tones: Path, preset: Path, noises: Path, asrctl: Any) -> None:
    values = (f"noise_files={noises}", "noise_snr_db=5", "reverb_share=0.5", "codec_share=0.5", "codecs=[telephone]")
    asrctl(*words(preset, "straight", *values), "--max-steps", 6).succeeded()
    asrctl(*words(preset, "parts", *values), "--max-steps", 6, "--max-minutes", 0).succeeded()
    asrctl("train", "--resume", "--run", "parts", "--device", "cpu", "--max-steps", 6).succeeded()
    assert weights(tones, "straight") == weights(tones, "parts")
    asrctl(*words(preset, "plain"), "--max-steps", 6).succeeded()
    assert weights(tones, "plain") != weights(tones, "straight")

    elsewhere = shutil.move(str(noises), str(noises.with_name("moved")))
    command = words(preset, "", *(value.replace(str(noises), elsewhere) for value in values))
    command = [*command[:3], *command[5:], "--max-steps", 6, "--if-new", "--json"]
    assert asrctl(*command).result["new"] is False, "the same files elsewhere are the same inputs"
    (Path(elsewhere) / "rain.flac").unlink()
    assert asrctl(*command, "--dry-run").result["new"] is True


def test_a_folder_that_changes_ends_exactness_and_is_told(tones: Path, preset: Path, noises: Path, asrctl: Any) -> None:
    values = (f"noise_files={noises}", "noise_snr_db=5")
    asrctl(*words(preset, "parts", *values), "--max-steps", 6, "--max-minutes", 0).succeeded()
    shutil.copy(str(noises / "rain.flac"), str(noises / "more.flac"))
    again = ("train", "--resume", "--run", "parts", "--device", "cpu", "--json")
    refused = asrctl(*again)
    assert refused.exit_code == 3
    assert refused.error["problems"] == ["batches.augment.noise_files: the folder holds other files now"]
    shutil.rmtree(str(noises))
    refused = asrctl(*again)
    assert refused.exit_code == 3
    assert refused.error["message"].startswith("batches.augment.noise_files is") and str(noises) in refused.stdout


@pytest.mark.parametrize(
    "value, said",
    [
        ("noise_files=here", "needs batches.augment.noise_snr_db"),
        ("reverb_files=here", "needs batches.augment.reverb_share"),
        ("codecs=[telefone]", "telephone"),
        ("codec_share=2", "codec_share"),
    ],
)
def test_what_does_not_go_together(tones: Path, preset: Path, asrctl: Any, value: str, said: str) -> None:
    refused = asrctl(*words(preset, "r", value), "--dry-run", "--json")
    assert refused.exit_code == 3
    assert said in refused.stdout


def test_static_shapes_take_what_leaves_lengths_alone(tones: Path, preset: Path, asrctl: Any) -> None:
    static = ("--set", "batches.shapes=static", "--set", "batches.max_labels=60", "--set", "audio.max_s=4")
    refused = asrctl(*words(preset, "r", "speed=0.1"), *static, "--json")
    assert refused.exit_code == 3
    assert "changes lengths" in refused.stdout
    asrctl(*words(preset, "r", "reverb_share=1", "low_pass_share=1"), *static, "--max-steps", 1).succeeded()
