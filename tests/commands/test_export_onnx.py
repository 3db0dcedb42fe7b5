"""ONNX: any batch, any length, the same logits; and a wrong graph is caught."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
pytest.importorskip("onnx", reason="the extra `onnx` is not installed")

from asrctl.commands.evaluate import evaluate  # noqa: E402
from asrctl.commands.evaluate_request import EvaluateRequest  # noqa: E402
from asrctl.commands.evaluation_files import read_hypotheses  # noqa: E402
from asrctl.commands.export import ExportRequest, export  # noqa: E402
from asrctl.data import collate  # noqa: E402
from asrctl.data.text import Vocabulary  # noqa: E402
from asrctl.errors import BadData, MissingDependency  # noqa: E402
from asrctl.export import onnx  # noqa: E402
from asrctl.storage.workspace import Workspace  # noqa: E402

from .test_export import noise, random_recognizer, tones_data  # noqa: E402


def transcripts(folder: Path, utterances):
    """What a program hears that has nothing of asrctl but the exported folder: {id: text}."""
    about = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
    ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    tokens = sorted(ids, key=ids.get)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    longest = max(len(utterance.pcm) for utterance in utterances)
    values, mask = np.zeros((len(utterances), longest), np.float32), np.zeros((len(utterances), longest), np.int64)
    for row, utterance in enumerate(utterances):
        samples = utterance.pcm.astype(np.float32) * np.float32(about["int16_scale"])
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + about["variance_floor"])
        values[row, : len(samples)], mask[row, : len(samples)] = samples, 1
    (logits,) = session.run(None, {"input_values": values, "attention_mask": mask})
    found = {}
    for row, utterance in enumerate(utterances):
        frames = len(utterance.pcm)
        for kernel, stride in zip(about["kernels"], about["strides"]):
            frames = (frames - kernel) // stride + 1
        best = logits[row, :frames].argmax(-1)
        kept = [tokens[b] for a, b in zip([-1, *best[:-1]], best) if b not in (a, about["blank"])]
        found[utterance.id] = "".join(kept).replace("|", " ").strip()
    return found


def test_a_learned_model_hears_the_same_in_one_batch_of_all(tones: Path, capfd: pytest.CaptureFixture) -> None:
    workspace = Workspace(tones)
    evaluated = evaluate(workspace, EvaluateRequest(device="cpu"))
    result = export(workspace, ExportRequest(format="onnx"))
    assert capfd.readouterr().out == ""
    assert evaluated.wer < 0.5
    parity = json.loads((result.folder / "parity.json").read_text(encoding="utf-8"))
    assert parity == result.verified
    assert parity["agreement"] == 1.0 and parity["largest_logit_difference"] < 1e-3
    assert parity["batches"] == [1, 1, 1, 1, 1, 1, 4] and parity["frames"] > 100
    heard = transcripts(result.folder, list(tones_data(workspace).split("eval")))
    assert heard == {row["id"]: row["hypothesis"] for row in read_hypotheses(evaluated.hypotheses)}
    assert set(result.files) == {
        "README.md",
        "model.onnx",
        "parity.json",
        "preprocessing.json",
        "vocab.json",
        "special_tokens.json",
        "SHA256SUMS",
    }
    content = (result.folder / "model.onnx").read_bytes()
    assert b"site-packages" not in content and str(Path(onnx.__file__).parent).encode() not in content


def test_padding_changes_nothing_and_a_wrong_graph_is_caught(tmp_path: Path) -> None:
    recognizer = random_recognizer("wav2vec2", "group")
    onnx.write_graph(recognizer, tmp_path / "model.onnx")
    speech = noise(400, 5000, 24001)
    parity = onnx.compare(recognizer, tmp_path / "model.onnx", [[item] for item in speech] + [speech])
    assert parity.near_ties == 0 and parity.largest_logit_difference < 1e-4
    alone, together = (
        onnx.run(onnx.session(tmp_path / "model.onnx"), collate.collate([pcm for _, pcm in group], recognizer.features))
        for group in (speech[:1], speech)
    )
    assert np.abs(together[0, : alone.shape[1]] - alone[0]).max() < 1e-5
    with torch.no_grad():
        recognizer.model.lm_head.bias[3] += 0.01
    with pytest.raises(BadData, match="logits differ by 0.01"):
        onnx.compare(recognizer, tmp_path / "model.onnx", [speech])
    (tmp_path / "model.onnx").write_bytes((tmp_path / "model.onnx").read_bytes()[:1000])
    with pytest.raises(BadData, match="does not compute"):
        onnx.compare(recognizer, tmp_path / "model.onnx", [speech])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "norm"), [("hubert", "group"), ("wavlm", "layer"), ("data2vec-audio", "layer")])
def test_other_architectures(kind: str, norm: str, tmp_path: Path) -> None:
    if kind == "wavlm" and "onnxscript" not in onnx.packages():
        pytest.skip(f"torch {torch.__version__} has only the exporter that traces, which can not do WavLM")
    recognizer, speech = random_recognizer(kind, norm), noise(400, 5000, 24001)
    onnx.write_graph(recognizer, tmp_path / "model.onnx")
    assert onnx.compare(recognizer, tmp_path / "model.onnx", [speech[2:], speech]).agreement == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "norm"), [("wav2vec2", "group"), ("data2vec-audio", "layer")])
def test_the_exporter_of_older_torch_does_it_too(kind: str, norm: str, tmp_path: Path) -> None:
    recognizer, speech = random_recognizer(kind, norm), noise(400, 5000, 24001)
    onnx.write_graph(recognizer, tmp_path / "model.onnx", traced=True)
    assert onnx.compare(recognizer, tmp_path / "model.onnx", [speech[2:], speech]).agreement == 1.0


def test_a_missing_extra_is_named(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    with pytest.raises(MissingDependency, match="onnxruntime") as caught:
        export(Workspace(tones), ExportRequest(format="onnx"))
    assert caught.value.fix.endswith(" -m pip install 'asrctl[onnx]'") and caught.value.exit_code == 6
    assert not (tones / "exports").exists()


def test_frames_may_only_differ_where_two_labels_are_as_good_as_equal() -> None:
    ours = np.array([[1.0, 0.9999, 0.0], [3.0, 1.0, 0.0]], dtype=np.float32)
    theirs = np.array([[0.9999, 1.0, 0.0], [3.0, 1.0, 0.0]], dtype=np.float32)
    assert onnx.near_ties(ours, theirs, 1e-4) == 1
    assert onnx.near_ties(ours, ours, 1e-4) == 0
    with pytest.raises(BadData, match="more than rounding"):
        onnx.near_ties(ours, theirs[:, [0, 2, 1]][::-1], 1e-5)


def test_a_vocabulary_travels_with_the_graph(tmp_path: Path) -> None:
    recognizer = random_recognizer("wav2vec2", "layer")
    onnx.write_description(recognizer, tmp_path)
    assert Vocabulary.load(tmp_path) == recognizer.vocabulary
    about = json.loads((tmp_path / "preprocessing.json").read_text(encoding="utf-8"))
    assert (about["blank"], about["vocabulary"], about["sample_rate"]) == (11, 12, 16000)
