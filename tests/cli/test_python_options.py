"""Python started with `-O`, `-OO` or PYTHONOPTIMIZE, without asserts or docstrings: help is whole, stages work."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("flags", [["-O"], ["-OO"]])
def test_help_is_whole(asrctl, flags) -> None:
    for words in (["--help"], ["train", "--help"], ["presets", "--help"]):
        command = [sys.executable, *flags, "-m", "asrctl", *words]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
        assert done.stdout == asrctl(*words).stdout


@pytest.mark.slow
@pytest.mark.parametrize("level", ["1", "2"])
def test_every_stage_works(asrctl_process, learned_tones, workspace, level: str) -> None:
    env = {"PYTHONOPTIMIZE": level, "ASRCTL_WORKSPACE": str(workspace)}
    preset = learned_tones.parent / "tones.yaml"
    corpus = learned_tones.parent / "corpus" / "tones.csv"
    asrctl_process("prepare", "manifest", corpus, "--preset", preset, "--name", "tones", env=env).succeeded()
    words = ("--preset", preset, "--run", f"level{level}", "--max-steps", 1, "--device", "cpu", "--json")
    run = asrctl_process("train", *words, env=env).result["run"]
    exported = asrctl_process("export", "--run", run, "--json", env=env).result
    assert exported["verified"]["utterances"]
