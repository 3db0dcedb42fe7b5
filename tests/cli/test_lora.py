"""A run of LoRA, from the command: trained, resumed, evaluated, exported beside its base and merged."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any, Callable

import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from asrctl.errors import MissingDependency
from asrctl.models import lora

from ..helpers.hub_folders import heard, save
from ..helpers.program import run_here
from ..helpers.tones import write_corpus

# What transformers 4.29 says on current torch.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
PRESET = {
    "name": "lora",
    "model": {"head": "reinit", "ctc_zero_infinity": True, "lora": {"rank": 2, "dropout": 0.2}},
    "optim": {"global_batch": 4, "learning_rate": 1e-2, "max_steps": 3, "schedule": "constant"},
    "run": {"eval_every": 2, "save_every": 2},
    "cpu": {"precision": "fp32"},
}


def works() -> bool:
    try:
        lora.require()
    except MissingDependency:
        return False
    return True


needs_peft = pytest.mark.skipif(not works(), reason="needs a peft that works with this transformers")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint `base`, the preset `lora.yaml`, and a workspace with tones prepared. Read only."""
    folder = tmp_path_factory.mktemp("lora")
    save(folder / "base", config={"num_hidden_layers": 2})
    model = {**PRESET["model"], "checkpoint": str(folder / "base")}  # type: ignore[dict-item]
    (folder / "lora.yaml").write_text(yaml.safe_dump({**PRESET, "model": model}), encoding="utf-8")
    corpus = write_corpus(folder / "corpus", train=10, held_out=3)
    run_here("prepare", "manifest", corpus, "--workspace", folder / "ws").succeeded()
    return folder


@pytest.fixture
def asr(prepared: Path, tmp_path: Path) -> Callable[..., Any]:
    shutil.copytree(str(prepared / "ws"), str(tmp_path / "ws"))

    def run(command: str, *words: Any) -> Any:
        preset = ("--preset", prepared / "lora.yaml") if command == "train" and "--resume" not in words else ()
        device = ("--device", "cpu") if command in ("train", "eval") else ()
        return run_here(command, *preset, *device, *words, "--workspace", tmp_path / "ws", "--json")

    return run


@needs_peft
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_a_run_is_resumed_bit_for_bit_evaluated_and_exported(precision: str, prepared, asr, tmp_path) -> None:
    exact = ("--set", f"cpu.precision={precision}", "--set", f"model.lora.base={precision}")
    straight = Path(asr("train", *exact, "--run", "straight").result["model"]).parent
    assert json.loads((straight / "run.json").read_text())["engine"] == "plain"
    kept = load_file(str(straight / "checkpoints" / "step-00000003" / "model.safetensors"))
    assert all(".lora_" in name or name.startswith("lm_head") for name in kept)
    asr("train", *exact, "--run", "resumed", "--max-steps", 2).succeeded()
    asr("train", "--resume", "--run", "resumed", "--max-steps", 3, *exact[:2]).succeeded()
    resumed = load_file(str(straight.with_name("resumed") / "checkpoints" / "step-00000003" / "model.safetensors"))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in kept.items())
    if precision == "bf16":
        return

    heard_here = asr("eval", "--run", "straight").result
    texts = [json.loads(line)["hypothesis"] for line in Path(heard_here["hypotheses"]).read_text().splitlines()]
    beside = asr("export", "--run", "straight", "--output", tmp_path / "beside").result
    assert "peft" in beside["verified"] and not (tmp_path / "beside" / "model.safetensors").exists()
    asr("export", "--run", "straight", "--output", tmp_path / "merged", "--merge").succeeded()
    # Again into the same place: what asrctl wrote is known as its own.
    asr("export", "--run", "straight", "--output", tmp_path / "beside", "--force").succeeded()
    recordings = [
        soundfile.read(str(path), dtype="float32")[0] for path in sorted((prepared / "corpus").glob("01*.wav"))
    ]
    assert any(texts)
    assert [heard(tmp_path / "merged", samples)[1] for samples in recordings] == texts
    assert [heard_beside(tmp_path / "beside", samples) for samples in recordings] == texts
    again = asr("eval", "--model", tmp_path / "beside").result
    assert Path(again["hypotheses"]).read_text() == Path(heard_here["hypotheses"]).read_text()


def heard_beside(folder: Path, samples: Any) -> str:
    """What the program in the export's README hears."""
    import transformers
    from peft import PeftModel

    settings = json.loads((folder / "adapter_config.json").read_text())
    outputs = len(json.loads((folder / "vocab.json").read_text()))
    assert settings["modules_to_save"] == ["lm_head"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = transformers.AutoModelForCTC.from_pretrained(
            settings["base_model_name_or_path"], vocab_size=outputs, ignore_mismatched_sizes=True
        )
        model = PeftModel.from_pretrained(base, str(folder)).eval()
        inputs = transformers.AutoFeatureExtractor.from_pretrained(str(folder))(
            samples, sampling_rate=16000, return_tensors="pt"
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
        with torch.no_grad():
            return str(tokenizer.decode(model(**inputs).logits[0].argmax(-1)))


@needs_peft
def test_what_does_not_fit_together_is_told(prepared, asr, tmp_path) -> None:
    told = {
        ("--set", "model.checkpoint=null"): "needs model.checkpoint",
        ("--set", "model.language=deu"): "exclude each other",
        ("--set", "model.freeze_feature_encoder=false"): "must be true",
        ("--set", "model.lora.base=bf16"): "training is in fp32",
        ("--set", "model.lora.targets=[q_prj]"): "no linear layer",
    }
    for words, sentence in told.items():
        refused = asr("train", *words, "--dry-run")
        assert refused.exit_code == 3 and sentence in str(refused.error), refused.error
    forecast = asr("train", "--dry-run").result
    assert forecast["disk_bytes"] < (prepared / "base" / "model.safetensors").stat().st_size

    asr("train", "--run", "r", "--max-steps", 1).succeeded()
    from_run = asr("train", "--from-run", "r", "--dry-run")
    assert "can not be a base itself" in from_run.error["message"] and "--merge" in from_run.error["fix"]
    # All of the weights may go on from there.
    asr("train", "--from-run", "r", "--set", "model.lora.rank=0", "--max-steps", 1).succeeded()
    assert "nothing to merge" in asr("export", "--merge").error["message"]


@pytest.mark.skipif(works(), reason="peft works here")
def test_without_peft_nothing_begins(prepared, asr) -> None:
    for words in (("train", "--dry-run"), ("presets", "check", prepared / "lora.yaml")):
        refused = asr(*words)
        assert refused.exit_code == 6 and "peft" in refused.error["message"]
