"""Models of many languages (MMS): one language's adapter and head are trained beside a base, and kept alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Callable

import pytest
import soundfile
import yaml
from safetensors.torch import load_file

from asrctl.models import processor, weights

from ..helpers import many_languages
from ..helpers.program import run_here
from ..helpers.tones import write_corpus

# transformers 4.29 under newer torch.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
adapters = pytest.mark.skipif(not many_languages.knows_adapters(), reason="transformers has adapters from 4.30 on")
PRESET = {
    "name": "mms",
    "model": {"ctc_zero_infinity": True, "final_dropout": 0.1, "language": "deu"},
    "optim": {"global_batch": 4, "learning_rate": 1e-2, "max_steps": 3, "schedule": "constant"},
    "run": {"eval_every": 2, "save_every": 2},
    "cpu": {"precision": "fp32"},
}
Train = Callable[..., Any]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the base `mms`, the preset `mms.yaml`, and a workspace with tones prepared for it. Read only."""
    folder = tmp_path_factory.mktemp("many")
    corpus = write_corpus(folder / "corpus", train=10, held_out=3)
    model = {**PRESET["model"], "checkpoint": str(folder / "mms")}  # type: ignore[dict-item]
    (folder / "mms.yaml").write_text(yaml.safe_dump({**PRESET, "model": model}), encoding="utf-8")
    if many_languages.knows_adapters():
        many_languages.save(folder / "mms")
    words = ("vocab", "manifest", corpus, "--workspace", folder / "ws")
    if many_languages.knows_adapters():
        words += ("--from", folder / "mms", "--from-language", "azj-script_latin")
    run_here(*words).succeeded()
    run_here("prepare", "manifest", corpus, "--workspace", folder / "ws").succeeded()
    return folder


@pytest.fixture
def train(many: Path, tmp_path: Path) -> Train:
    """`train(*words)` with the preset, in a copy of that workspace."""
    shutil.copytree(str(many / "ws"), str(tmp_path / "ws"))

    def run(*words: Any, command: str = "train") -> Any:
        options = ("--preset", many / "mms.yaml", "--device", "cpu") if command == "train" else ()
        return run_here(command, *options, *words, "--workspace", tmp_path / "ws", "--json")

    return run


def learned(run: Path, step: int) -> bytes:
    return (run / "checkpoints" / f"step-{step:08d}" / "model.safetensors").read_bytes()


@adapters
def test_a_language_is_trained_resumed_evaluated_and_loaded_by_plain_transformers(many, train, tmp_path) -> None:
    language = ("--set", "model.language=azj-script_latin")
    straight = Path(train(*language, "--run", "straight").result["model"])
    kept = {path.name for path in straight.iterdir()}
    assert "adapter.azj-script_latin.safetensors" in kept and "base.json" in kept
    assert not any(name.startswith(("model", "pytorch")) for name in kept)

    before = load_file(str(many / "mms" / "adapter.azj-script_latin.safetensors"))
    after = load_file(str(straight / "adapter.azj-script_latin.safetensors"))
    assert set(after) == set(before)  # as plain transformers names them
    assert not any((before[name] == after[name]).all() for name in after if name.endswith("weight"))
    checkpoint = straight.parent / "checkpoints" / "step-00000003"
    assert set(load_file(str(checkpoint / "model.safetensors"))) == set(before)

    train(*language, "--run", "resumed", "--max-steps", 2).succeeded()
    train("--resume", "--run", "resumed", *language, "--max-steps", 3).succeeded()
    assert learned(straight.parent.with_name("resumed"), 3) == learned(straight.parent, 3)

    heard = train("--run", "straight", command="eval").result
    exported = Path(train("--run", "straight", "--output", tmp_path / "out", command="export").result["output"])
    texts = [json.loads(line)["hypothesis"] for line in Path(heard["hypotheses"]).read_text("utf-8").splitlines()]
    recordings = [soundfile.read(str(path), dtype="float32")[0] for path in sorted((many / "corpus").glob("01*.wav"))]
    assert any(texts)
    for chosen in (None, "azj-script_latin"):
        assert [many_languages.heard(exported, samples, chosen) for samples in recordings] == texts
    # And beside the base, among the others.
    beside = Path(shutil.copytree(str(many / "mms"), str(tmp_path / "beside")))
    refused = train("--run", "straight", "--beside", beside, command="export")
    assert refused.exit_code == 2 and "has an adapter of azj-script_latin already" in refused.error["message"]
    train("--run", "straight", "--beside", beside, "--force", command="export").succeeded()
    assert [many_languages.heard(beside, samples, "azj-script_latin") for samples in recordings] == texts
    other = many_languages.heard(many / "mms", recordings[0], "eng")
    assert many_languages.heard(beside, recordings[0], "eng") == other
    assert set(json.loads((beside / "vocab.json").read_text())) == set(many_languages.LANGUAGES)
    elsewhere = train("--run", "straight", "--beside", exported, "--force", command="export")
    assert "does not hold the base that azj-script_latin was trained on" in elsewhere.error["message"]


@adapters
def test_a_new_language_starts_from_another_or_anew(many, train) -> None:
    new = ("--set", "model.language=swe", "--max-steps", 1, "--dry-run")
    refused = train(*new).error
    assert "no adapter of the language 'swe'; it has azj-script_latin, deu, eng" in refused["message"]
    assert "--set model.language_from=" in refused["fix"]
    assert "did you mean 'deu'" in train("--set", "model.language=deuu", "--dry-run").error["fix"]

    start = ("--set", "model.language_from=eng")
    assert "--from-language eng" in train(*new, *start).error["fix"]  # its head is for other letters
    train(*new, *start, "--set", "model.head=reinit").succeeded()
    idle = (*new[:-1], "--set", "optim.learning_rate=1.0e-12")
    starts = {"eng": (*start, "--set", "model.head=reinit"), "scratch": ("--set", "model.language_from=scratch")}
    parts = {}
    for name, words in starts.items():
        model = Path(train(*idle, *words, "--run", name).result["model"])
        parts[name] = load_file(str(model / "adapter.swe.safetensors"))
        assert processor.read_vocabulary(model).tokens == ("[PAD]", "[UNK]", "|", "a", "b", "c")
        assert processor.language_of(model) == "swe"
    theirs = load_file(str(many / "mms" / "adapter.eng.safetensors"))
    name = "wav2vec2.encoder.layers.0.adapter_layer.linear_1.weight"
    norm = "wav2vec2.encoder.layers.0.adapter_layer.norm.weight"
    assert parts["eng"][name].allclose(theirs[name], atol=1e-6)
    assert not parts["scratch"][name].allclose(theirs[name], atol=1e-2)
    assert (parts["scratch"][norm] - 1).abs().max() < 1e-6


@adapters
def test_what_does_not_fit_together_is_told(many, train, tmp_path) -> None:
    alone = ("--set", "model.language=null", "--set", "model.language_from=eng")
    told = {
        ("--set", "model.checkpoint=null"): "needs model.checkpoint",
        alone: "needs model.language",
        ("--set", "model.language=../x"): "not the code of a language",
    }
    for words, sentence in told.items():
        refused = train(*words, "--dry-run")
        assert refused.exit_code == 3 and sentence in str(refused.error["problems"]), refused.error
    plain = many_languages.save(tmp_path / "plain", adapter_attn_dim=None, plain=True)
    words = ("--set", f"model.checkpoint={plain}", "--set", "model.language=deu")
    preset = tmp_path / "mine.yaml"
    preset.write_text(f"extends: {many / 'mms.yaml'}\nmodel: {{checkpoint: {plain}}}\n", encoding="utf-8")
    for refused in (train(*words, "--dry-run"), train("check", preset, command="presets")):
        assert refused.exit_code == 3 and "plain has no adapters of languages" in refused.error["message"]
    anew = ("--set", "model.config.adapter_attn_dim=4", "--set", "model.language_from=scratch", "--dry-run")
    train("--set", f"model.checkpoint={plain}", *anew).succeeded()


@adapters
def test_a_run_without_its_base_is_told_so(many, train, tmp_path) -> None:
    base = shutil.copytree(str(many / "mms"), str(tmp_path / "mms"))
    words = ("--set", f"model.checkpoint={base}", "--set", "model.language=azj-script_latin", "--run", "r")
    train(*words, "--max-steps", 1).succeeded()
    other = many_languages.save(tmp_path / "other", hidden_size=32, seed=8)
    shutil.copy(str(other / "model.safetensors"), base)
    commands = {"eval": (), "export": ("--format", "hf"), "train": ("--resume", *words[:4], "--max-steps", 2)}
    for command, more in commands.items():
        refused = train("--run", "r", *more, command=command)
        assert "are not those that this model was trained on top of" in refused.error["message"]
    shutil.rmtree(base)
    assert str(base) in train("--run", "r", command="eval").error["message"]


@adapters
def test_an_adapter_that_is_not_whole_is_none(many, tmp_path) -> None:
    from safetensors.torch import save_file

    from asrctl.errors import BadData

    folder = Path(shutil.copytree(str(many / "mms"), str(tmp_path / "mms")))
    path = folder / "adapter.eng.safetensors"
    found = load_file(str(path))
    changes = {"lm_head.bias is missing": {"lm_head.bias": None}, "x belongs to no": {"x": found["lm_head.bias"] + 1}}
    for told, change in changes.items():
        save_file({name: tensor for name, tensor in {**found, **change}.items() if tensor is not None}, str(path))
        with pytest.raises(BadData, match=told):
            weights.read_shapes(folder, "eng")


@pytest.mark.skipif(many_languages.knows_adapters(), reason="this transformers has adapters")
def test_a_transformers_without_adapters_is_told(many, train, tmp_path) -> None:
    folder = tmp_path / "mms"
    folder.mkdir()
    values = {"model_type": "wav2vec2", "adapter_attn_dim": 4, "do_stable_layer_norm": True}
    (folder / "config.json").write_text(json.dumps(values))
    refused = train("--set", f"model.checkpoint={folder}", "--dry-run")
    assert refused.exit_code == 3 and "from 4.30 on" in refused.error["message"] + refused.error["fix"]
