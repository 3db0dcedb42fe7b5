"""Phoneme targets: `--phonemes VOICE`, from the transcript to a phone error rate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import pytest
import yaml

from asrctl.commands.select import alphabet_gap
from asrctl.data import phonemes
from asrctl.data.text import TextRules, Vocabulary
from asrctl.errors import BadData
from asrctl.models.processor import PHONEME_CLASS

from ..helpers.corpora import corpus, opened, plain_rows
from ..helpers.ipu_tiny import TINY
from ..helpers.program import run_here
from ..helpers.tiny import QUIET

pytest.importorskip("espeakng_loader")
TEXT = "Hello, the judge's child!"
SPOKEN = "h ə l oʊ  ð ə  dʒ ʌ dʒ ᵻ z  tʃ aɪ l d"
SMALL: Dict[str, Any] = {
    "model": dict(QUIET, config=TINY, ctc_zero_infinity=True),
    "optim": {"global_batch": 4, "max_steps": 1},
    "cpu": {"precision": "fp32"},
}


def test_a_phoneme_is_a_label_and_stress_and_punctuation_are_none() -> None:
    rules = TextRules(phonemes="EN-us")
    assert rules.apply(TEXT) == SPOKEN == rules.apply(TEXT)
    assert rules.units(SPOKEN)[:6] == ["h", "ə", "l", "oʊ", " ", "ð"]
    assert phonemes.joined(rules.units(SPOKEN)) == SPOKEN
    assert TextRules(phonemes="de").apply("ein meeting") == "aɪ n  m eː t ɪ ŋ"
    assert "(" not in TextRules(phonemes="de").apply("das handy und the weather")
    assert TextRules(phonemes="en-us", replace={"&": "and"}).apply("&") == "æ n d"
    assert TextRules(phonemes="en-us").apply("?!") == ""


def test_what_a_model_writes_is_read_as_words_of_phonemes() -> None:
    vocabulary = Vocabulary(("|", "aɪ", "ɡ", "<u>", "<p>"), "|", "<u>", "<p>", phones=True)
    assert vocabulary.decode([0, 1, 1, 4, 1, 0, 4, 0, 2, 0]) == "aɪ aɪ  ɡ"
    assert vocabulary.encoder()("aɪ  x") == ([1, 0, 3], {"x": 1})


@pytest.fixture
def spoken(workspace: Path, tmp_path: Path) -> Path:
    path = corpus(tmp_path / "corpus", [dict(r, text=TEXT) for r in plain_rows(3) + plain_rows(2, "eval")], seconds=1.5)
    run_here("prepare", path, "--phonemes", "en-us", "--name", "spoken").succeeded()
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    return tmp_path


def test_the_way_from_texts_to_a_phone_error_rate(spoken: Path, workspace: Path) -> None:
    data = opened(workspace)
    assert set(data.vocabulary().tokens) == {*phonemes.units(SPOKEN), "|", "[UNK]", "[PAD]"} - {" "}
    assert data.split("eval").text(0) == SPOKEN
    trained = run_here("train", "--preset", spoken / "small.yaml", "--device", "cpu").succeeded()
    assert "best PER" in trained.stdout and "WER" not in trained.stdout
    found = run_here("eval", "--device", "cpu", "--json").succeeded().result
    assert found["words"] == 2 * 15 and found["per"] == found["wer"] and found["phones"] is True
    assert found["raw"] is None and "phonemes" in found["raw_missing"] and found["normalized"] is None
    shown = run_here("eval", "--device", "cpu").succeeded().stdout
    assert "PER" in shown and "phonemes" in shown and "word" not in shown
    refused = run_here("eval", "--device", "cpu", "--max-wer", "0.0", "--json")
    assert refused.exit_code == 8 and "the phone error rate" in refused.error["message"]
    told = run_here("status").succeeded().stdout
    assert "PER" in told and "WER" not in told
    exported = run_here("export", "--format", "hf", "--output", spoken / "out", "--json").succeeded().result
    assert exported["verified"]["transcripts_equal"] == 2
    card = (spoken / "out" / "README.md").read_text(encoding="utf-8")
    assert "PER %" in card and "WER" not in card and "writes phonemes" in card
    again = run_here("eval", "--model", spoken / "out", "--data", "spoken", "--device", "cpu", "--json").result
    assert again["per"] == found["per"]


def test_letters_and_phonemes_do_not_go_together() -> None:
    letters, phones = Vocabulary(("|", "a", "[UNK]", "[PAD]")), Vocabulary(("|", "a", "[UNK]", "[PAD]"), phones=True)
    assert letters.digest != phones.digest
    for pair in ((letters, phones), (phones, letters)):
        with pytest.raises(BadData, match="one of the model and the data has phonemes"):
            alphabet_gap(*pair)


def test_it_is_shown_before_any_work(workspace: Path, tmp_path: Path) -> None:
    path = corpus(tmp_path / "corpus", [dict(row, text="So [noise]?") for row in plain_rows(3)])
    shown = run_here("prepare", path, "--phonemes", "en-us", "--show", 1, "--json").result["utterances"][0]
    assert shown["normalized"] == shown["decoded"] == "s oʊ  n ɔɪ z"
    assert shown["lost"] == {} and shown["unknown"] == {}
    told = run_here("vocab", path, "--phonemes", "en-us").succeeded()
    assert "learned as words: [noise]" in told.stderr
    assert "ɔɪ" in told.stdout


def test_a_checkpoint_of_phonemes_needs_texts_of_phonemes(workspace: Path, tmp_path: Path) -> None:
    """As facebook/wav2vec2-lv-60-espeak-cv-ft is laid out: no border of words."""
    path = corpus(tmp_path / "corpus", [dict(row, text="so see") for row in plain_rows(4)], seconds=0.5)
    model = tmp_path / "model"
    model.mkdir()
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "s", "oʊ", "iː", "aɪ"]
    (model / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}), encoding="utf-8")
    config = {"tokenizer_class": PHONEME_CLASS, "pad_token": "<pad>", "unk_token": "<unk>", "do_phonemize": True}
    (model / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    words = ("vocab", path, "--from", model, "--name", "theirs")
    refused = run_here(*words, "--json")
    assert refused.exit_code == 2 and "--phonemes en-us" in refused.error["fix"]
    assert run_here(*words, "--phonemes", "en-us", "--json").succeeded().result["beyond"] == {}
    run_here("prepare", path, "--vocab", "theirs").succeeded()
    assert opened(workspace).split("train")[0].labels.tolist() == [4, 5, 4, 6]


@pytest.mark.parametrize("voice", ["en_us", "elvish", "(x"])
def test_a_voice_that_is_none_is_refused_before_any_work(workspace: Path, tmp_path: Path, voice: str) -> None:
    refused = run_here("vocab", tmp_path, "--phonemes", voice, "--json")
    assert refused.exit_code == 2 and "en-us" in refused.error["fix"]


def test_another_voice_is_other_data(workspace: Path, tmp_path: Path) -> None:
    path = corpus(tmp_path / "corpus", [dict(row, text="see") for row in plain_rows(3)], seconds=0.3)
    results = [
        run_here("prepare", path, *more, "--name", name, "--json").succeeded().result
        for name, more in (("a", ("--phonemes", "en-us")), ("b", ("--phonemes", "en-gb")), ("c", ()))
    ]
    assert len({result["id"] for result in results}) == 3
    meta = json.loads((Path(results[0]["path"]) / "meta.json").read_text(encoding="utf-8"))
    assert meta["parameters"]["speaker"].startswith("espeak 1.")
