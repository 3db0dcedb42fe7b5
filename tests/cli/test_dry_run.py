"""Dry runs refuse what the real thing refuses, in the same words, and read no weights for that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
from safetensors.torch import load, save_file

from asrctl.storage.checksums import SUMS

HUB_NAME = "somebody/has-no-such-model"


@pytest.fixture
def model(tones: Path, tmp_path: Path) -> Path:
    """A folder with a model that could be trained on."""
    folder = tmp_path / "base"
    shutil.copytree(str(tones / "runs" / "learned" / "model"), str(folder))
    (folder / SUMS).unlink()
    return folder


def config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(dict(json.loads(path.read_text()), **values)), encoding="utf-8")


def weights(change: Callable[[Dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load((folder / "model.safetensors").read_bytes())
        change(tensors)
        save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})

    return apply


def whisper(folder: Path) -> None:
    config(folder, model_type="whisper", d_model=32)


def bert(folder: Path) -> None:
    config(folder, model_type="bert")


def transducer(folder: Path) -> None:
    config(folder, model_type="parakeet_tdt")


def other_order(folder: Path) -> None:
    path = folder / "vocab.json"
    tokens = sorted(json.loads(path.read_text()), reverse=True)
    path.write_text(json.dumps({token: index for index, token in enumerate(tokens)}))


def other_rate(folder: Path) -> None:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(dict(json.loads(path.read_text()), sampling_rate=8000)))


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def larger_vocabulary(folder: Path) -> None:
    def widen(tensors: Dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = torch.zeros(9, tensors["lm_head.weight"].shape[1])
        tensors["lm_head.bias"] = torch.zeros(9)

    weights(widen)(folder)
    tokens = [*"|abcxyz", "[UNK]", "[PAD]"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))


BROKEN: List[Tuple[Callable[[Path], Any], int, str]] = [
    (shutil.rmtree, 4, "there is no checkpoint folder {}"),
    (whisper, 3, "asrctl trains no models of type 'whisper': its text comes from a decoder, not from CTC"),
    (bert, 3, "asrctl trains no models of type 'bert'"),
    (transducer, 3, "asrctl trains no models of type 'parakeet_tdt': it is a transducer, whose text comes from"),
    (larger_vocabulary, 3, "the head of base does not fit the vocabulary: it has 9 outputs"),
    (other_order, 3, "the head of base does not fit the vocabulary: output "),
    (other_rate, 3, "the checkpoint hears 8000 samples per second, the data has 16000"),
    (cut, 5, "model.safetensors can not be read as weights"),
    (weights(lambda tensors: tensors.pop("lm_head.weight")), 3, "base has no CTC head"),
    (weights(lambda tensors: tensors.pop("wav2vec2.encoder.layer_norm.weight")), 5, "do not fit its configuration"),
    (lambda folder: config(folder, conv_stride=[8, 5]), 3, "must be equally long"),
    (lambda folder: (folder / "config.json").unlink(), 5, "config.json is missing"),
    (lambda folder: (folder / "model.safetensors").unlink(), 4, "holds no weights"),
]


@pytest.fixture(params=BROKEN, ids=[str(index) for index in range(len(BROKEN))])
def broken(request: Any, model: Path) -> Tuple[Path, int, str]:
    change, exit_code, said = request.param
    change(model)
    return model, exit_code, said.format(model)


def preset(model: Path) -> Path:
    """One that starts from a folder."""
    path = model.parent / "mine.yaml"
    path.write_text(f"name: mine\nmodel: {{checkpoint: {model}}}\ncpu: {{precision: fp32}}\n", encoding="utf-8")
    return path


def test_train_refuses_a_checkpoint_before_it_begins(asrctl: Any, tones: Path, broken: Any) -> None:
    folder, exit_code, said = broken
    words = ("train", "--preset", preset(folder), "--device", "cpu", "--run", "new", "--max-steps", 1, "--json")
    looked, real = asrctl(*words, "--dry-run"), asrctl(*words)
    assert looked.exit_code == real.exit_code == exit_code, looked.stderr
    assert looked.error == real.error and said in looked.error["message"]
    assert not (tones / "runs" / "new").exists()


@pytest.mark.parametrize("words", [("eval",), ("export",), ("export", "--format", "onnx")], ids=" ".join)
@pytest.mark.parametrize("change", [whisper, bert, transducer, larger_vocabulary, other_rate, cut])
def test_eval_and_export_do_too(words: Any, change: Any, asrctl: Any, model: Path) -> None:
    change(model)
    if change is larger_vocabulary:
        (model / "vocab.json").write_text('{"|": 0, "a": 1, "[PAD]": 2}')
    looked, real = (asrctl(*words, "--model", model, *more, "--json") for more in (("--dry-run",), ()))
    assert looked.exit_code == real.exit_code and looked.exit_code in (3, 5)
    assert looked.error == real.error


@pytest.mark.parametrize("place", [0, 1, 2, 3, 7, 8, 11, 12])
def test_a_preset_is_checked_with_its_checkpoint(place: int, asrctl: Any, model: Path) -> None:
    change, exit_code, said = BROKEN[place]
    path = preset(model)
    looked = asrctl("presets", "check", path, "--json")
    assert looked.exit_code == 0, looked.stderr
    change(model)
    failed = asrctl("presets", "check", path, "--json")
    assert failed.exit_code == exit_code and said.format(model) in failed.error["message"]


def test_a_preset_whose_checkpoint_hears_another_rate_is_refused(asrctl: Any, model: Path) -> None:
    other_rate(model)
    failed = asrctl("presets", "check", preset(model), "--json")
    assert failed.exit_code == 3 and failed.error["fix"] == "set audio.sample_rate: 8000"
    assert failed.error["message"] == "base hears 8000 samples per second, audio.sample_rate is 16000"


def test_a_preset_is_checked_without_torch(model: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from asrctl.cli.app import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, "presets", "check", str(preset(model))]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=str(tmp_path))
    assert "is a good preset" in done.stdout and "True" not in done.stdout


def test_a_new_head_is_no_reason_to_refuse(asrctl: Any, model: Path) -> None:
    larger_vocabulary(model)
    words = ("train", "--preset", preset(model), "--set", "model.head=reinit", "--device", "cpu", "--dry-run")
    asrctl(*words).succeeded()


def test_what_the_hub_would_have_to_give_is_not_looked_at(asrctl: Any, tones: Path, tmp_path: Path) -> None:
    path = tmp_path / "hub.yaml"
    path.write_text(f"name: hub\nmodel: {{checkpoint: {HUB_NAME}}}\ncpu: {{precision: fp32}}\n", encoding="utf-8")
    told = f"{HUB_NAME} is not in the hub's cache on this machine"
    assert told in asrctl("presets", "check", path).succeeded().stderr
    assert told in asrctl("train", "--preset", path, "--device", "cpu", "--dry-run").succeeded().stderr
    for words in (("eval",), ("export", "--output", tmp_path / "out")):
        done = asrctl(*words, "--model", HUB_NAME, "--dry-run").succeeded()
        assert told in done.stderr and f"would read model: {HUB_NAME}" in done.stdout
        result = asrctl(*words, "--model", HUB_NAME, "--dry-run", "--json").succeeded().result
        assert result["id"] is None and not result["unchanged"]
    failed = asrctl("train", "--preset", path, "--device", "cpu", "--json")
    assert failed.exit_code == 4 and not (tones / "runs" / "hub").exists()


# -- what it would take -----------------------------------------------------------------------------------------------


def test_the_first_lines_of_a_training_say_what_it_takes(asrctl: Any, tones: Path) -> None:
    words = ("train", "--device", "cpu", "--run", "again", "--max-minutes", 90, "--dry-run")
    lines = asrctl(*words).succeeded().stdout.splitlines()
    assert lines[0].startswith("run again on cpu (fp32): ")
    assert [line.split(":")[0] for line in lines[1:]] == ["time", "memory", "disk", "folder"]
    assert "as fast as run learned was" in lines[1] and "it stops after 90 min (--max-minutes)" in lines[1]
    assert lines[2].startswith("memory: at most ") and lines[4] == f"folder: {tones / 'runs' / 'again'}"
    told = asrctl(*words, "--verbose").succeeded().stdout.splitlines()
    keys = [line.split(" = ")[0] for line in told[5:]]
    assert [line for line in told[:5] if "time" not in line] == [line for line in lines if "time" not in line]
    assert "optim.learning_rate" in keys and "model.config.hidden_size" in keys and len(keys) > 80


def test_a_forecast_comes_true(asrctl: Any, tones: Path) -> None:
    words = ("train", "--device", "cpu", "--run", "learned", "--overwrite", "--dry-run", "--json")
    result = asrctl(*words).succeeded().result
    run = tones / "runs" / "learned"
    kept = sum(path.stat().st_size for path in run.rglob("*.safetensors"))
    assert kept <= result["disk_bytes"] <= 3 * kept
    info = json.loads((run / "run.json").read_text())
    assert info["seconds"] / 3 < result["time_s"] < info["seconds"] * 3
    assert result["time_from"] == "learned" and result["folder"] == str(run)
    assert result["memory_is"] == "at most" and 50_000_000 < result["memory_bytes"] < 4_000_000_000
    assert result["cache_bytes"] == 0 and result["recipe"]["name"] == "tones"


def test_a_model_that_nobody_has_trained_takes_unknown_time(asrctl: Any, tones: Path) -> None:
    words = ("train", "--device", "cpu", "--set", "model.config.num_hidden_layers=2", "--dry-run")
    assert "time: not known" in asrctl(*words).succeeded().stdout
    result = asrctl(*words, "--json").succeeded().result
    assert result["time_s"] is None and result["time_from"] is None
    (tones / "runs" / "learned" / "metrics.jsonl").unlink()
    assert asrctl("train", "--device", "cpu", "--dry-run", "--json").succeeded().result["time_s"] is None


def test_a_resumed_run_takes_the_time_of_its_rest(asrctl: Any, tones: Path) -> None:
    words = ("train", "--resume", "--run", "learned", "--device", "cpu", "--dry-run", "--json")
    whole = asrctl("train", "--device", "cpu", "--dry-run", "--json").result
    assert asrctl(*words).succeeded().result["time_s"] == 0
    half = asrctl(*words, "--max-steps", whole["steps"] * 3 // 2).succeeded().result
    assert half["time_s"] == pytest.approx(whole["time_s"] / 2, rel=0.05, abs=0.1)
    assert half["disk_bytes"] and half["memory_bytes"]


def test_a_frozen_encoders_output_is_forecast(asrctl: Any, tones: Path, model: Path) -> None:
    words = ("train", "--preset", preset(model), "--device", "cpu", "--set", "optim.epochs=2")
    words += ("--set", "model.freeze_feature_encoder=true")
    result = asrctl(*words, "--dry-run", "--json").succeeded().result
    assert result["cache_bytes"] > 100_000
    asrctl(*words).succeeded()
    frames = next((tones / "cache" / "features").glob("*/frames.bin"))
    assert frames.stat().st_size == result["cache_bytes"]
    off = asrctl(*words, "--set", "cpu.cache_features=false", "--dry-run", "--json").succeeded().result
    assert off["cache_bytes"] == 0


def test_what_is_not_here_is_not_forecast(asrctl: Any, tones: Path, tmp_path: Path) -> None:
    path = tmp_path / "hub.yaml"
    path.write_text(f"name: hub\nmodel: {{checkpoint: {HUB_NAME}}}\ncpu: {{precision: fp32}}\n", encoding="utf-8")
    shown = asrctl("train", "--preset", path, "--device", "cpu", "--dry-run").succeeded().stdout
    assert shown.count("not known before the checkpoint is fetched") == 2


def test_eval_and_export_say_what_they_take(asrctl: Any, tones: Path, tmp_path: Path) -> None:
    weights_bytes = (tones / "runs" / "learned" / "model" / "model.safetensors").stat().st_size
    lines = asrctl("eval", "--device", "cpu", "--force", "--dry-run").succeeded().stdout.splitlines()
    assert lines[1].startswith("time: at most about ") and lines[2].startswith("memory: at least ")
    result = asrctl("eval", "--device", "cpu", "--force", "--dry-run", "--json").succeeded().result
    assert 0 < result["memory_bytes"] <= weights_bytes and result["time_s"] > 0
    words = ("export", "--output", tmp_path / "out", "--dry-run")
    assert asrctl(*words).succeeded().stdout.splitlines()[1].startswith("disk: about ")
    assert asrctl(*words, "--json").succeeded().result["disk_bytes"] == 2 * result["memory_bytes"]


def test_prepare_says_first_what_it_writes_and_where(asrctl: Any, tones: Path) -> None:
    source = json.loads(next((tones / "manifests").glob("*/utterances.jsonl")).read_text().splitlines()[0])["audio"]
    shown = asrctl("prepare", "manifest", Path(source).parent / "tones.csv", "--dry-run").succeeded().stdout
    assert shown.splitlines()[0].startswith("disk: about ")
    assert shown.splitlines()[0].endswith(f" in {tones / 'prepared'}")
