"""Targets in pieces of words: the tokenizer of a checkpoint cuts the texts and puts hypotheses together."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, List, Tuple

import pytest
import transformers
import yaml

from asrctl.data import sentencepiece_model
from asrctl.data.subwords import Subwords
from asrctl.data.text import Vocabulary
from asrctl.errors import BadData

from ..helpers.corpora import corpus, opened, plain_rows
from ..helpers.program import run_here
from ..helpers.tones import PRESET, write_corpus

# As SentencePiece writes them: 2 is the piece for unknown characters.
PIECES: List[Tuple[str, int]] = [
    ("<unk>", 2), ("\u2581", 1), ("a", 1), ("b", 1), ("c", 1), ("ab", 1), ("\u2581ab", 1), ("\u2581c", 1), ("abc", 1),
]  # fmt: skip
UNIGRAM, BPE = 1, 2


def field(number: int, value: Any) -> bytes:
    """One of a protocol buffer."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value)
    return bytes([number << 3 | 2, len(value)]) + value


def sentencepiece(kind: int = BPE) -> bytes:
    pieces = [
        field(1, field(1, text.encode()) + field(2, -float(number)) + field(3, of))
        for number, (text, of) in enumerate(PIECES)
    ]
    return b"".join(pieces) + field(2, field(3, kind))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The tokenizer's files of a model with nine pieces and a blank that no file names, as NeMo has it."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(sentencepiece())
    (folder / "config.json").write_text(json.dumps({"vocab_size": len(PIECES) + 1}), encoding="utf-8")
    return folder


def as_json(folder: Path) -> None:
    """The same as tokenizer.json, with the blank among its tokens, as ParakeetForCTC has it."""
    text = sentencepiece_model.to_tokenizer_json(folder / "tokenizer.model", fix="")
    values = json.loads(text)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    values["added_tokens"].append({"id": len(PIECES), "content": "<pad>", "special": True, **flags})
    (folder / "tokenizer.model").unlink()
    (folder / "tokenizer.json").write_text(json.dumps(values), encoding="utf-8")
    config = {"tokenizer_class": "ParakeetTokenizer", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(BPE, ["\u2581ab", "c", "\u2581c", "\u2581", "b"]), (UNIGRAM, ["\u2581", "abc", "\u2581c", "\u2581", "b"])],
)
def test_a_sentencepiece_model_cuts_as_sentencepiece_does(tmp_path: Path, kind: int, expected: List[str]) -> None:
    (tmp_path / "m").write_bytes(sentencepiece(kind))
    tokenizer = Subwords(sentencepiece_model.to_tokenizer_json(tmp_path / "m", fix=""))
    tokens = tokenizer.tokens()
    assert tokens == tuple(text for text, _ in PIECES)
    cut = tokenizer.encode(" abc  c b")
    if kind == BPE:
        assert [tokens[index] for index in cut] == expected
    assert tokenizer.decode(cut) == "abc c b"


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x0a\x7f", sentencepiece(3), sentencepiece()[20:], b"{}"])
def test_a_file_that_is_no_such_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(BadData, match="no SentencePiece model"):
        sentencepiece_model.to_tokenizer_json(tmp_path / "m", fix="")


@pytest.mark.parametrize("content", ["", "{}", "[" * 5000, '{"model": {"type": "BPE"}}', "null"])
def test_a_tokenizer_that_is_none_is_refused(workspace: Path, model: Path, tmp_path: Path, content: str) -> None:
    as_json(model)
    (model / "tokenizer.json").write_text(content, encoding="utf-8")
    path = corpus(tmp_path / "corpus", plain_rows(3))
    refused = run_here("vocab", path, "--from", model, "--json")
    assert refused.exit_code == 5 and "tokenizer.json can not be read" in refused.error["message"]


@pytest.mark.parametrize("change", [None, as_json], ids=["sentencepiece", "json"])
def test_texts_are_cut_and_put_together_by_the_checkpoints_tokenizer(
    workspace: Path, model: Path, tmp_path: Path, change: Any
) -> None:
    if change is not None:
        change(model)
    rows = [dict(row, text="AB c abc") for row in plain_rows(3)]
    path = corpus(tmp_path / "corpus", rows)
    made = run_here("vocab", path, "--from", model, "--name", "pieces", "--json").succeeded().result
    assert made["tokens"] == [text for text, _ in PIECES] + ["<pad>"] and made["beyond"] == {}
    shown = run_here("prepare", path, "--vocab", "pieces", "--show", 1, "--json").succeeded().result["utterances"][0]
    assert shown["labels"] == [6, 7, 6, 4] and shown["decoded"] == "ab c abc"
    run_here("prepare", path, "--vocab", "pieces").succeeded()
    data = opened(workspace)
    assert data.split("train")[0].labels.tolist() == [6, 7, 6, 4]
    kept = data.vocabulary()
    assert kept.decode([9, 6, 6, 9, 7, 9, 7, 6, 4]) == "ab c c abc"
    assert (
        kept.digest
        == Vocabulary.load(Path(made["path"])).digest
        != Vocabulary(kept.tokens, None, "<unk>", "<pad>").digest
    )


def test_characters_that_no_piece_has_are_told(workspace: Path, model: Path, tmp_path: Path) -> None:
    rows = [dict(row, text="ab " * 40 + ("z" if n == 0 else "")) for n, row in enumerate(plain_rows(4))]
    path = corpus(tmp_path / "corpus", rows, seconds=3)
    done = run_here("vocab", path, "--from", model, "--name", "pieces", "--splits", "train,eval")
    assert "'z' U+007A x1" in done.succeeded().stderr
    shown = run_here("prepare", path, "--vocab", "pieces", "--show", 4, "--json").result["utterances"]
    assert [item["unknown"] for item in shown if item["unknown"]] == [{"z": 1}]
    many = corpus(tmp_path / "many", [dict(row, text="ab zz") for row in plain_rows(4)])
    refused = run_here("vocab", many, "--from", model, "--json")
    assert refused.exit_code == 5 and "not in the vocabulary" in refused.error["message"]


def test_a_model_is_trained_and_evaluated_and_exported(workspace: Path, model: Path, tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "tones", train=8, held_out=2)
    run_here("vocab", path, "--from", model, "--name", "pieces").succeeded()
    run_here("prepare", path, "--vocab", "pieces").succeeded()
    preset = tmp_path / "tones.yaml"
    preset.write_text(yaml.safe_dump(PRESET), encoding="utf-8")
    run_here("train", "--preset", preset, "--device", "cpu", "--max-steps", 1).succeeded()
    found = run_here("eval", "--device", "cpu", "--json").succeeded().result
    lines = [json.loads(line) for line in Path(found["hypotheses"]).read_text(encoding="utf-8").splitlines()]
    assert {line["reference"] for line in lines} <= {opened(workspace).split("eval").text(n) for n in range(2)}
    assert all("\u2581" not in line["hypothesis"] for line in lines)
    if hasattr(transformers, "ParakeetTokenizer"):
        exported = run_here("export", "--format", "hf", "--output", tmp_path / "out", "--json").succeeded().result
        assert exported["verified"]["transcripts_equal"] == 2
        again = run_here("eval", "--model", tmp_path / "out", "--device", "cpu", "--json").succeeded().result
        assert again["wer"] == found["wer"]
