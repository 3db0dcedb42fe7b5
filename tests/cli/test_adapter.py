"""A checkpoint with an adapter, which shortens the output: refused in a sentence by whatever would use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers 4.29 under newer torch


@pytest.fixture(scope="session")
def adapted(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers writes it: the model of a run, with an adapter of one layer."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    folder = tmp_path_factory.mktemp("adapted") / "m"
    run = honest / "workspace" / "runs" / "r" / "model"
    values = json.loads((run / "config.json").read_text())
    values.pop("model_type")
    values.update(add_adapter=True, num_adapter_layers=1, output_hidden_size=64)
    Wav2Vec2ForCTC(Wav2Vec2Config(**values)).save_pretrained(str(folder))
    for path in run.glob("*.json"):
        if path.name != "config.json":
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("command", ["eval", "export", "onnx", "train", "prepare", "plan"])
def test_a_checkpoint_with_an_adapter(command, adapted, honest, honest_workspace, asrctl, tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text(f"extends: {honest / 'tones.yaml'}\nmodel: {{checkpoint: {adapted}, config: {{}}}}\n")
    (tmp_path / "list.csv").write_text("path,text\n")
    words = {
        "eval": ("eval", "--model", adapted),
        "export": ("export", "--model", adapted, "--format", "hf", "--output", tmp_path / "out"),
        "onnx": ("export", "--model", adapted, "--format", "onnx", "--output", tmp_path / "out"),
        "train": ("train", "--preset", preset, "--device", "cpu", "--max-steps", 1),
        "prepare": ("prepare", "manifest", honest / "corpus" / "tones.csv", "--preset", preset, "--name", "again"),
        "plan": ("plan", "--preset", "base-4ipu", "--set", f"model.checkpoint={adapted}"),
    }
    refused = asrctl(*words[command], "--json")
    assert refused.exit_code == (5 if command in ("eval", "export", "onnx") else 3)
    assert "add_adapter is true, but an adapter shortens the output" in refused.error["message"]
    assert not (tmp_path / "out").exists()


def test_a_configuration_of_giants_is_refused_before_memory_is_taken(honest, honest_workspace, asrctl, tmp_path):
    """A stranger's config.json, as `model.checkpoint`."""
    folder = tmp_path / "giant"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "wav2vec2", "num_hidden_layers": 10**9}))
    for words in (("plan", "--preset", "base-4ipu"), ("train", "--preset", "base-4ipu", "--device", "cpu")):
        refused = asrctl(*words, "--set", f"model.checkpoint={folder}", "--json")
        assert refused.exit_code == 3 and "num_hidden_layers is 1000000000" in refused.error["message"]
