"""Clips too short for one frame of a model: heard as nothing, learned from as nothing, and never what an export shows.

`prepare` without a preset keeps what the usual encoder makes a frame of; the tones' model reaches four times as far.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Dict, List

import pytest
import soundfile

from ..helpers import tones
from ..helpers.program import copy_workspace, run_here

_NO_FRAME = 992  # samples; the tones' model wants 1632 for its first frame
_ONE_FRAME = 1640


def write_clip(folder: Path, name: str, samples: int) -> None:
    whole, rate = soundfile.read(str(folder / "000.wav"), dtype="int16")
    soundfile.write(str(folder / name), whole[:samples], rate)


@pytest.fixture(scope="module")
def short_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with spoken tones, a clip of eval without a frame, six clips of train that just have one."""
    folder = tmp_path_factory.mktemp("short")
    manifest = tones.write_corpus(folder / "corpus", train=16, held_out=4)
    rows = ["none.wav,a,eval", *(f"one{number}.wav,a,train" for number in range(6))]
    write_clip(manifest.parent, "none.wav", _NO_FRAME)
    for number in range(6):
        write_clip(manifest.parent, f"one{number}.wav", _ONE_FRAME + number)
    manifest.write_text(manifest.read_text(encoding="utf-8") + "\n".join(rows) + "\n", encoding="utf-8")
    workspace = folder / "workspace"
    run_here("prepare", "manifest", manifest, "--name", "tones", "--workspace", workspace).succeeded()
    (workspace / "presets").mkdir()
    (workspace / "presets" / "tones.yaml").write_text(json.dumps(tones.PRESET), encoding="utf-8")
    return workspace


@pytest.fixture
def ready(short_clips: Path, workspace: Path) -> Path:
    return copy_workspace(short_clips, workspace)


def train(asrctl, *settings: str) -> List[Dict]:
    """The lines of metrics.jsonl about the steps of the run `short`."""
    words = [word for setting in settings for word in ("--set", setting)]
    done = asrctl("train", "--preset", "tones", "--run", "short", "--device", "cpu", "--overwrite", "--json", *words)
    lines = (Path(done.succeeded().result["model"]).parent / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if entry["kind"] == "train"]


def hypotheses(asrctl, *words: str) -> Dict[str, str]:
    result = asrctl("eval", "--run", "short", "--device", "cpu", "--json", "--force", *words).succeeded().result
    rows = map(json.loads, Path(result["hypotheses"]).read_text(encoding="utf-8").splitlines())
    return {row["id"]: row["hypothesis"] for row in rows}


@pytest.mark.parametrize("engine", ["plain", "packed"])
def test_the_size_of_batches_changes_no_hypothesis(asrctl, ready: Path, engine: str) -> None:
    train(asrctl, "optim.max_steps=2", f"cpu.engine={engine}")
    together, alone = hypotheses(asrctl), hypotheses(asrctl, "--batch-s", "0.1")
    assert together == alone and len(together) == 5
    assert together["none.wav"] == ""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["hf", "onnx"])
def test_an_export_is_verified_on_what_its_model_hears(asrctl, ready: Path, kind: str) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
    train(asrctl, "optim.max_steps=2")
    planned = asrctl("export", "--run", "short", "--format", kind, "--dry-run", "--json").succeeded().result
    assert len(planned["verified_on"]) == 4 and "none.wav" not in planned["verified_on"]
    verified = asrctl("export", "--run", "short", "--format", kind, "--json").succeeded().result["verified"]
    assert sorted(verified["utterances"]) == sorted(planned["verified_on"])


@pytest.mark.parametrize("frozen", ["true", "false"])
def test_played_too_fast_for_a_frame_both_engines_learn_the_same(asrctl, ready: Path, frozen: str) -> None:
    """Alone in a micro-batch or among others: such an utterance has loss 0, and the others learn as ever."""
    settings = ("batches.augment.speed=0.5", "optim.max_steps=6", "run.log_every=1", "optim.global_batch=4")
    found = [
        train(asrctl, *settings, f"model.freeze_feature_encoder={frozen}", f"cpu.engine={engine}", f"cpu.{cut}")
        for engine in ("plain", "packed")
        for cut in ("micro_batch=1", "micro_batch=3")
    ]
    losses = [[entry["loss"] for entry in entries] for entries in found]
    for other in losses[1:]:
        assert other == pytest.approx(losses[0], rel=2e-3)


@pytest.mark.parametrize("engine", ["plain", "packed"])
def test_a_step_of_nothing_but_such_utterances_teaches_nothing(asrctl, ready: Path, engine: str) -> None:
    settings = ("batches.augment.speed=0.5", "optim.global_batch=1", "optim.max_steps=22", "run.log_every=1")
    entries = train(asrctl, *settings, f"cpu.engine={engine}")
    silent = [entry for entry in entries if entry["loss"] == 0]
    assert silent and all(entry["grad_norm"] == 0 for entry in silent)
    assert all(entry["loss"] > 0 for entry in entries if entry not in silent)
