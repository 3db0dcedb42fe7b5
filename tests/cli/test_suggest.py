"""`asrctl presets suggest`: by hours, language and device, with reasons; what it says to type works."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, List, Optional

import pytest

from asrctl.commands.suggest_preset import Facts, candidates
from asrctl.config import presets
from asrctl.models import library

from ..helpers.program import run_here


def first(hours: float, language: Optional[str], gpu_gb: Optional[float], **more: Any) -> "tuple[str, List[str]]":
    reasons: List[str] = []
    facts = Facts(**{"hours": hours, "longest_s": 15.0, "sample_rate": 16000, **more}, language=language, gpu_gb=gpu_gb)
    found = candidates(facts, reasons)
    assert all(candidate.gb(15.0, recomputed=True) <= gpu_gb for candidate in found)
    return (found[0].preset if found else "", reasons)


@pytest.mark.parametrize(
    ("hours", "language", "gpu_gb", "preset", "reason"),
    [
        (100, "en", 24, "wavlm-large", "English alone"),
        (2, "en-US", 7, "wavlm-large", "English alone"),
        (3, "tr", 16, "xlsr-300m", "three letters"),
        (3, "tr", 4, "", "not xlsr-300m: it takes about 6 GB"),
        (100, "tr", None, "", "without a GPU"),
    ],
)
def test_by_hours_language_and_device(hours: float, language: str, gpu_gb: Optional[float], preset: str, reason: str):
    found, reasons = first(hours, language, gpu_gb)
    assert found == preset or (preset == "" and found in ("", "lora-xlsr"))
    assert any(reason in said for said in reasons), reasons


@pytest.mark.skipif(not library.has_model("wav2vec2-bert"), reason="this transformers has no wav2vec2-bert")
def test_what_a_newer_library_adds():
    assert first(20, "tr", 24)[0] == "w2v-bert-2"
    assert first(3, "tur", 24)[0] == "mms-1b-adapter"
    assert first(3, None, 80, pieces=True)[0] == "parakeet-ctc"
    assert first(20, "tr", 24, sample_rate=8000)[0] == ""


def test_every_preset_that_is_suggested_can_be_named():
    from asrctl.commands import suggest_preset

    named = (*suggest_preset.ENGLISH, *suggest_preset.MUCH, *suggest_preset.ANY, suggest_preset.ADAPTER)
    for candidate in (*named, suggest_preset.PIECES):
        assert presets.load(candidate.preset).recipe.model.checkpoint
    assert presets.load(suggest_preset.SCRATCH).recipe.model.checkpoint is None


def test_what_it_says_to_type_works(honest_workspace: Path):
    for words in ((), ("--gpu-gb", 24, "--language", "tr")):
        found = run_here("presets", "suggest", "--data", "tones", *words, "--json").result
        assert found["facts"]["language"] == (words[3] if words else None)
        typed = shlex.split(found["command"])
        assert typed[:4] == ["asrctl", "train", "--preset", found["preset"]] and "tones" in typed
        run_here(*typed[1:], "--device", "cpu", "--dry-run").succeeded()
        plain = run_here("presets", "suggest", *words).succeeded().stdout.splitlines()
        assert plain[0] == found["preset"] and plain[-1] == f"next: {found['command']}"
        assert plain[1:-1] == [f"- {reason}" for reason in found["reasons"]]
    # Few recordings: fewer steps than were published, and a warm-up that leaves room for them.
    assert any(override.startswith("optim.max_steps=") for override in found["overrides"])
    assert "optim.warmup_share=0.1" in found["overrides"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--data", "tonez"), 4, "tonez"),
        (("--language", "nowhere"), 2, "--language"),
        (("--gpu-gb", "much"), 2, "--gpu-gb"),
    ],
)
def test_what_can_not_be_meant_is_refused(honest_workspace: Path, words: Any, code: int, said: str):
    refused = run_here("presets", "suggest", *words, "--json")
    assert refused.exit_code == code
    assert said in refused.error["message"] + refused.error["fix"]
