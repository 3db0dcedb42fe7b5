"""Exports compute what the model computes, say what they are, and never damage anybody's folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
import soundfile
import soxr
import torch
import transformers
import yaml
from safetensors.torch import load, load_file, save_file

from asrctl.commands.evaluate import evaluate
from asrctl.commands.evaluate_request import EvaluateRequest
from asrctl.commands.evaluation_files import read_hypotheses
from asrctl.commands.export import ExportRequest, choose_utterances, export, plan
from asrctl.data.collate import FeatureRules, to_float
from asrctl.data.dataset import PreparedData
from asrctl.data.text import Vocabulary
from asrctl.errors import BadData, UsageError
from asrctl.evaluation.metrics import EvaluationMetrics, Tally
from asrctl.export import card, delivery, hf, usage
from asrctl.models import frame_counts
from asrctl.models.loading import Recognizer, load_recognizer
from asrctl.runtime import compat
from asrctl.storage import files
from asrctl.storage.workspace import Workspace
from asrctl.training.run_info import RunInfo

from ..helpers.program import ROOT
from ..helpers.tiny import noise as noise_of


def tones_data(workspace: Workspace) -> PreparedData:
    return PreparedData(workspace.resolve("prepared", "tones", fix="-"))


def noise(*lengths: int):
    return [(f"u{len(samples)}", samples) for samples in noise_of(*lengths, seed=3)]


def random_recognizer(kind: str, norm: str) -> Recognizer:
    """A small model with random weights of one of the architectures that asrctl knows."""
    vocabulary = Vocabulary(tuple("|abcdefgh'") + ("[UNK]", "[PAD]"))
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=len(vocabulary),
        pad_token_id=vocabulary.blank_id,
        bos_token_id=None,
        eos_token_id=None,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    torch.manual_seed(0)
    with compat.quiet_transformers():
        model = transformers.AutoModelForCTC.from_config(config).eval()
    return Recognizer(model, vocabulary, FeatureRules(16000, True, norm == "layer"))


# -- Hugging Face -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_plain_transformers_hears_what_eval_heard(tones: Path, tmp_path: Path) -> None:
    workspace = Workspace(tones)
    evaluated = evaluate(workspace, EvaluateRequest(device="cpu"))
    result = export(workspace, ExportRequest(format="hf", output=tmp_path / "out"))
    assert evaluated.wer < 0.5 and result.folder == tmp_path / "out"
    pipe = transformers.pipeline("automatic-speech-recognition", model=str(tmp_path / "out"), device=-1)
    heard = {
        utterance.id: pipe({"raw": to_float(utterance.pcm), "sampling_rate": 16000})["text"]
        for utterance in tones_data(workspace).split("eval")
    }
    assert heard == {row["id"]: row["hypothesis"] for row in read_hypotheses(evaluated.hypotheses)}


def test_a_folder_holds_fp32_weights_and_a_tokenizer_without_surplus(tones: Path) -> None:
    folder = export(Workspace(tones), ExportRequest(format="hf")).folder
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Wav2Vec2ForCTC"]
    assert {tensor.dtype for tensor in load_file(str(folder / "model.safetensors")).values()} == {torch.float32}
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    assert type(tokenizer).__name__ == "Wav2Vec2CTCTokenizer"
    assert len(tokenizer) == config["vocab_size"] and max(tokenizer.get_vocab().values()) < config["vocab_size"]
    assert tokenizer.pad_token_id == config["pad_token_id"]


@pytest.mark.parametrize(
    ("kind", "norm"),
    [
        ("wav2vec2", "group"),
        ("wav2vec2", "layer"),
        ("hubert", "group"),
        ("wavlm", "group"),
        ("data2vec-audio", "layer"),
    ],
)
def test_every_architecture_survives_the_way_through_a_folder(kind: str, norm: str, tmp_path: Path) -> None:
    recognizer, speech = random_recognizer(kind, norm), noise(400, 4000, 16001)
    hf.write(recognizer, tmp_path / "out", "a card\n")
    found = hf.verify(recognizer, tmp_path / "out", speech)
    assert found["transcripts_equal"] == 3 and found["largest_logit_difference"] < 1e-4
    assert hf.verify(load_recognizer(tmp_path / "out"), tmp_path / "out", speech)["transcripts_equal"] == 3


def test_a_folder_that_hears_something_else_is_refused(tmp_path: Path) -> None:
    recognizer, speech = random_recognizer("wav2vec2", "group"), noise(4000)
    hf.write(recognizer, tmp_path / "out", "a card\n")
    weights = load((tmp_path / "out" / "model.safetensors").read_bytes())
    weights["lm_head.bias"][3] += 0.01
    save_file(weights, str(tmp_path / "out" / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(BadData, match="logits for u4000 differ"):
        hf.verify(recognizer, tmp_path / "out", speech)


def test_a_token_without_an_output_is_refused(tmp_path: Path) -> None:
    recognizer = random_recognizer("wav2vec2", "group")
    hf.write(recognizer, tmp_path / "out", "a card\n")
    path = tmp_path / "out" / "tokenizer_config.json"
    values = dict(json.loads(path.read_text(encoding="utf-8")), bos_token="<s>")
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(BadData, match="knows 13 tokens, the model has 12 outputs"):
        hf.verify(recognizer, tmp_path / "out", noise(4000))


# -- the card ---------------------------------------------------------------------------------------------------------


def front_matter(text: str):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_card_tells_data_result_and_command(tones: Path) -> None:
    workspace = Workspace(tones)
    before = export(workspace, ExportRequest(format="hf"))
    assert "Not evaluated by itself" in (before.folder / "README.md").read_text(encoding="utf-8")
    wer = evaluate(workspace, EvaluateRequest(device="cpu")).wer
    after = export(workspace, ExportRequest(format="hf"))
    assert after.artifact.id != before.artifact.id
    text = (after.folder / "README.md").read_text(encoding="utf-8")
    assert f"| tones | eval | 12 | 30 | {100 * wer:.2f} |" in text
    assert "| train | 96 |" in text and "preset: `tones`" in text
    assert front_matter(text)["model-index"][0]["results"][0]["metrics"][0]["value"] == round(100 * wer, 2)
    assert str(tones.parent) not in text


def test_the_card_names_the_data_of_each_evaluation() -> None:
    nothing = dataclasses.replace(Tally(0).scores(), utterances=5, words=9, wer=0.5, cer=0.2)
    known = ("eval", "fp32", "cpu", "greedy", "0" * 64, "0" * 12, 9.5, "cpu", False)
    found = EvaluationMetrics(*vars(nothing).values(), *known)
    evaluations = [("own", found), ("other", dataclasses.replace(found, wer=0.9, device="cuda"))]
    text = card.render(card.CardFacts("name", "hubert", 1000, 16000, 30, data_name="own", evaluations=evaluations))
    assert "| other | eval | 5 | 9 | 90.00 | - | 20.00 | cuda | fp32 |" in text
    named = {
        result["dataset"]["name"]: result["metrics"][0]["value"]
        for result in front_matter(text)["model-index"][0]["results"]
    }
    assert named == {"own": 50.0, "other": 90.0}


def test_the_card_names_an_emulation_and_hides_paths() -> None:
    run = RunInfo(
        preset="base-4ipu",
        base="/home/somebody/models/base",
        device="ipu-emulated",
        emulated=True,
        command=("asrctl", "train", "--set", "model.checkpoint=/home/somebody/models/base", "--preset", "~/p.yaml"),
        versions={"torch": "2"},
    )
    text = card.render(card.CardFacts('odd: "name"', "hubert", 1000, 16000, 30, run=run))
    assert "emulated IPU" in text and "No IPU took part" in text
    assert "somebody" not in text and "model.checkpoint=base --preset p.yaml" in text
    assert "base_model" not in front_matter(text)
    hub = dataclasses.replace(run, base="facebook/wav2vec2-base", device="cuda", emulated=False)
    text = card.render(card.CardFacts("name", "hubert", 1000, 16000, 30, run=hub))
    assert front_matter(text)["base_model"] == "facebook/wav2vec2-base" and "mulat" not in text


# -- the programs of README files ------------------------------------------------------------------------------------


def shown_program(text: str) -> str:
    """The Python that a README shows: fenced, or indented as in asrctl's own."""
    if "```python\n" in text:
        return text.split("```python\n")[1].split("```")[0]
    block = text[text.index("    import soundfile\n") :].split("\n\n")[0]
    return "\n".join(line[4:] for line in block.splitlines())


def output_of(program: str, folder: Path, recording: Path, capsys: pytest.CaptureFixture) -> str:
    """What `program` prints for a recording, with only the two names in it replaced."""
    for name, path in ((usage.FOLDER, folder), ("my-model", folder), (usage.RECORDING, recording)):
        program = program.replace(f'"{name}', f'"{path}')
    capsys.readouterr()
    exec(compile(program.replace('"hello.wav"', f'"{recording}"'), "README.md", "exec"), {})
    return capsys.readouterr().out.strip()


@pytest.fixture
def recordings(tones: Path, tmp_path: Path) -> Callable[[int, int], Path]:
    """One evaluated utterance as a recording of some rate and number of channels."""
    utterance = tones_data(Workspace(tones)).split("eval")[1]

    def write(rate: int, channels: int) -> Path:
        samples = soxr.resample(to_float(utterance.pcm), 16000, rate)
        path = tmp_path / f"{rate}-{channels}.wav"
        soundfile.write(str(path), np.stack([samples] * channels, axis=1), rate)
        return path

    return write


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["hf", "onnx", "asrctl's own"])
def test_the_program_of_a_readme_hears_any_recording(
    kind: str, tones: Path, recordings: Callable[[int, int], Path], capsys: pytest.CaptureFixture
) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    workspace = Workspace(tones)
    expected = read_hypotheses(evaluate(workspace, EvaluateRequest(device="cpu")).hypotheses)[1]["hypothesis"]
    folder = export(workspace, ExportRequest(format="onnx" if kind == "onnx" else "hf")).folder
    readme = (ROOT if kind == "asrctl's own" else folder) / "README.md"
    program = shown_program(readme.read_text(encoding="utf-8"))
    for rate, channels in ((16000, 1), (8000, 2), (22050, 1), (44100, 2)):
        assert output_of(program, folder, recordings(rate, channels), capsys) == expected != ""


# -- folders of users -------------------------------------------------------------------------------------------------


def test_checksums_hold_and_nothing_else_is_delivered(tones: Path, tmp_path: Path) -> None:
    result = export(Workspace(tones), ExportRequest(format="hf", output=tmp_path / "deep" / "out"))
    listed = dict(reversed(line.split("  ")) for line in (result.folder / "SHA256SUMS").read_text().splitlines())
    present = {path.name for path in result.folder.iterdir()}
    assert present == set(listed) | {"SHA256SUMS"} == set(result.files)
    assert all(hashlib.sha256((result.folder / name).read_bytes()).hexdigest() == listed[name] for name in listed)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_export_that_is_there_is_copied_again(tones: Path, tmp_path: Path) -> None:
    workspace = Workspace(tones)
    assert not export(workspace, ExportRequest(format="hf", output=tmp_path / "one")).unchanged
    assert export(workspace, ExportRequest(format="hf", output=tmp_path / "two")).unchanged
    assert files.file_digests(tmp_path / "one") == files.file_digests(tmp_path / "two")


def test_a_folder_with_other_files_is_never_replaced(tones: Path, tmp_path: Path) -> None:
    workspace, target = Workspace(tones), tmp_path / "out"
    export(workspace, ExportRequest(format="hf", output=target))
    (target / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="not empty"):
        export(workspace, ExportRequest(format="hf", output=target))
    export(workspace, ExportRequest(format="hf", output=target, force=True))
    assert json.loads((target / "config.json").read_text(encoding="utf-8"))
    (target / "thesis.txt").write_text("ten years of work", encoding="utf-8")
    with pytest.raises(UsageError, match="no export wrote"):
        export(workspace, ExportRequest(format="hf", output=target, force=True))
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="is a file"):
        delivery.check_target(tmp_path / "file", force=True)
    assert (target / "thesis.txt").read_text(encoding="utf-8") == "ten years of work"


@pytest.mark.parametrize("inside", [False, True])
def test_an_export_that_is_there_already_stays_as_it_is(tones: Path, tmp_path: Path, inside: bool) -> None:
    workspace, target = Workspace(tones), (tones if inside else tmp_path) / "out"
    first, again = ExportRequest(format="hf", output=target), ExportRequest(format="hf", output=target)
    assert not export(workspace, first).unchanged
    (target / ".git").mkdir()
    before = {path: path.stat().st_mtime_ns for path in [target, *target.rglob("*")]}
    assert list(plan(workspace, again).writes) == ["export"]
    assert export(workspace, again).unchanged
    assert {path: path.stat().st_mtime_ns for path in [target, *target.rglob("*")]} == before
    shutil.rmtree(str(tones / "exports"))
    for refuses in (plan, export):  # before any work: what it would write is not known yet
        with pytest.raises(UsageError, match="not empty"):
            refuses(workspace, again)
    assert not (tones / "exports").exists()


def test_a_list_of_somebody_elses_is_not_that_of_an_export(tones: Path, tmp_path: Path) -> None:
    export(Workspace(tones), ExportRequest(format="hf"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "SHA256SUMS").write_bytes(b"\xff\x00 nothing of ours")
    with pytest.raises(UsageError, match="not empty"):
        export(Workspace(tones), ExportRequest(format="hf", output=tmp_path / "out"))


def test_a_failed_copy_leaves_the_old_folder(tones: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    result = export(Workspace(tones), ExportRequest(format="hf", output=target))
    before = files.file_digests(target)
    broken = tmp_path / "broken"
    shutil.copytree(str(result.artifact.path), str(broken))
    (broken / "vocab.json").unlink()
    with pytest.raises(BadData):
        delivery.deliver(broken, delivery.Target(target, replace=False))
    assert files.file_digests(target) == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_the_check_hears_short_and_long_utterances(tones: Path) -> None:
    data = tones_data(Workspace(tones))
    lengths = [len(pcm) for _, pcm in choose_utterances(data, frame_counts.of_values({"model_type": "wav2vec2"}, None))]
    every = data.split("eval").num_samples
    assert len(lengths) == 6 and lengths[0] == every.min() and lengths[-1] == every.max()
    assert lengths == sorted(lengths)


def test_an_unknown_format_is_refused(tones: Path) -> None:
    with pytest.raises(UsageError, match="'tflite'"):
        export(Workspace(tones), ExportRequest(format="tflite"))
