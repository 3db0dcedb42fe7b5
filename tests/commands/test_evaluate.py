"""A model and a split become hypotheses and error rates, once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from asrctl.commands.evaluate import evaluate
from asrctl.commands.evaluate_request import EvaluateRequest
from asrctl.commands.evaluation_files import read_hypotheses
from asrctl.commands.gates import check_limit, enforce, judge
from asrctl.commands.select import alphabet_gap, find_model
from asrctl.data import collate
from asrctl.data.dataset import PreparedData
from asrctl.data.text import Vocabulary
from asrctl.errors import BadData, Locked, MissingArtifact, QualityGate, UsageError
from asrctl.evaluation import decoding, metrics
from asrctl.evaluation.metrics import shuffled_wer
from asrctl.events import Note
from asrctl.models import ctc
from asrctl.models.loading import load_recognizer, save_recognizer_atomically
from asrctl.models.model_files import model_digest
from asrctl.storage.workspace import Workspace

from ..helpers.sound_bf16 import SOUND_BF16

CPU = {"device": "cpu"}


def one_at_a_time(workspace: Workspace, split: str = "eval"):
    """{id: hypothesis} by a plain loop over single utterances."""
    recognizer = load_recognizer(workspace.run("learned") / "model")
    found = {}
    for utterance in PreparedData(workspace.resolve("prepared", "tones", fix="-")).split(split):
        batch = collate.collate([utterance.pcm], recognizer.features)
        ids = decoding.greedy_ids(*ctc.forward(recognizer.model, exact=True, **batch))[0]
        found[utterance.id] = recognizer.vocabulary.decode(ids.tolist())
    return found


def test_an_evaluation_says_what_a_plain_loop_says(tones: Path) -> None:
    workspace = Workspace(tones)
    result = evaluate(workspace, EvaluateRequest(**CPU))
    rows = read_hypotheses(result.hypotheses)
    split = PreparedData(workspace.resolve("prepared", "tones", fix="-")).split("eval")
    assert [row["id"] for row in rows] == [utterance.id for utterance in split]
    assert {row["id"]: row["hypothesis"] for row in rows} == one_at_a_time(workspace)
    assert [row["reference"] for row in rows] == [utterance.text for utterance in split]
    assert result.wer == sum(row["errors"] for row in rows) / sum(row["words"] for row in rows) < 0.5
    low, high = result.metrics.wer_interval
    assert low <= result.wer <= high
    assert result.metrics.emulated is False and result.metrics.precision == "fp32"


def test_the_batch_size_changes_no_result(tones: Path) -> None:
    workspace = Workspace(tones)
    whole = evaluate(workspace, EvaluateRequest(batch_s=1000, **CPU))
    single = evaluate(workspace, EvaluateRequest(batch_s=0.1, force=True, **CPU))
    assert whole.artifact.id == single.artifact.id
    assert whole.metrics == single.metrics
    assert whole.artifact.meta["files"] == single.artifact.meta["files"]


def test_the_same_evaluation_is_not_done_twice(tones: Path) -> None:
    workspace, notes = Workspace(tones), []
    first = evaluate(workspace, EvaluateRequest(**CPU))
    before = first.hypotheses.stat().st_mtime_ns
    again = evaluate(workspace, EvaluateRequest(**CPU), lambda event: notes.append(event))
    assert (first.unchanged, again.unchanged) == (False, True)
    assert again.hypotheses.stat().st_mtime_ns == before
    assert any("nothing has changed" in note.message for note in notes if isinstance(note, Note))
    forced = evaluate(workspace, EvaluateRequest(force=True, **CPU))
    assert not forced.unchanged and forced.as_dict()["wer"] == first.wer
    if SOUND_BF16:
        assert evaluate(workspace, EvaluateRequest(precision="bf16", **CPU)).artifact.id != first.artifact.id
    assert evaluate(workspace, EvaluateRequest(split="train", **CPU)).artifact.id != first.artifact.id


def test_the_latest_run_is_named_in_one_note(tones: Path) -> None:
    notes = []
    evaluate(Workspace(tones), EvaluateRequest(**CPU), lambda event: notes.append(event))
    about = [note.message for note in notes if isinstance(note, Note) and "learned" in note.message]
    assert len(about) == 1
    assert "the latest with a model" in about[0] and "tones" in about[0]


def test_a_copy_of_the_model_elsewhere_is_the_same_model(tones: Path, tmp_path: Path) -> None:
    workspace = Workspace(tones)
    shutil.copytree(str(workspace.run("learned") / "model"), str(tmp_path / "copy"))
    (tmp_path / "copy" / "README.md").write_text("a card", encoding="utf-8")
    assert model_digest(tmp_path / "copy") == find_model(workspace, "learned", None).digest
    first = evaluate(workspace, EvaluateRequest(**CPU))
    assert evaluate(workspace, EvaluateRequest(model=str(tmp_path / "copy"), **CPU)).artifact.id == first.artifact.id


def test_a_model_that_training_replaces_meanwhile_is_not_published_as_the_one_before(tones: Path) -> None:
    workspace = Workspace(tones)
    model = workspace.run("learned") / "model"
    first = find_model(workspace, "learned", None).digest
    recognizer = load_recognizer(model)
    with torch.no_grad():
        recognizer.model.lm_head.weight.mul_(-1)

    def replace(event) -> None:
        if isinstance(event, Note) and event.message.startswith("evaluating"):
            save_recognizer_atomically(recognizer, model)  # as training does

    with pytest.raises(Locked, match="training replaced"):
        evaluate(workspace, EvaluateRequest(**CPU), replace)
    assert evaluate(workspace, EvaluateRequest(**CPU)).metrics.model != first


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (EvaluateRequest(split="test"), MissingArtifact, "no split 'test'"),
        (EvaluateRequest(run="nobody"), MissingArtifact, "nobody"),
        (EvaluateRequest(model="./nowhere"), MissingArtifact, "nowhere"),
        (EvaluateRequest(data="nothing"), MissingArtifact, "nothing"),
        (EvaluateRequest(run="learned", model="x"), UsageError, "exclude"),
        (EvaluateRequest(precision="int3", device="cpu"), UsageError, "int3"),
        (EvaluateRequest(device="abacus"), UsageError, "abacus"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(tones: Path, request_, error, words) -> None:
    with pytest.raises(error, match=words):
        evaluate(Workspace(tones), request_)
    assert not list((tones / "evals").glob("*"))


def test_a_damaged_model_leaves_nothing_behind(tones: Path) -> None:
    weights = tones / "runs" / "learned" / "model" / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadData, match="is damaged"):
        evaluate(Workspace(tones), EvaluateRequest(**CPU))
    assert not list((tones / "evals").glob("*")) and not list((tones / ".tmp").glob("evals-*/*"))


def test_a_limit_is_a_fraction_and_a_gate(tones: Path) -> None:
    place = Workspace(tones)
    result = evaluate(place, EvaluateRequest(**CPU))
    enforce(result, judge(place, result, None))
    enforce(result, judge(place, result, result.wer))
    with pytest.raises(QualityGate, match="above the limit of 1.00 %"):
        enforce(result, judge(place, result, 0.01))
    for limit in (20, -0.1, float("nan")):
        with pytest.raises(UsageError, match="0.2 means 20 %|sensible"):
            check_limit(limit)


def vocabulary(letters: str) -> Vocabulary:
    return Vocabulary((*"|", *letters, "[UNK]", "[PAD]"))


def test_an_alphabet_that_can_not_be_right_is_refused() -> None:
    assert alphabet_gap(vocabulary("abcd"), vocabulary("abc")) == []
    assert alphabet_gap(vocabulary("abc"), vocabulary("abcé'")) == ["'", "é"]
    with pytest.raises(BadData, match="upper case"):
        alphabet_gap(vocabulary("ABC'"), vocabulary("abc'"))
    with pytest.raises(BadData, match="no letter in common"):
        alphabet_gap(vocabulary("абв"), vocabulary("abc"))


def test_shuffled_references_are_hardly_ever_right(tones: Path) -> None:
    rows = read_hypotheses(evaluate(Workspace(tones), EvaluateRequest(split="train", **CPU)).hypotheses)
    references, hypotheses = [row["reference"] for row in rows], [row["hypothesis"] for row in rows]
    assert shuffled_wer(references, hypotheses, seed=1) > 0.7
    assert metrics.word_error_rate(references, hypotheses) < 0.5
    places = metrics.derangement(len(rows), 1)
    assert not np.any(places == np.arange(len(rows)))
